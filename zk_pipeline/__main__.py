"""`python -m zk_pipeline` is `zk-pipeline`."""

from zk_pipeline.cli.main import main

main()
