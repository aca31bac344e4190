"""Dagster's daemon, which asks the code server less often: `python -m zk_pipeline.runs.daemon`, as `dagster-daemon`."""

from __future__ import annotations

import sys

from zk_pipeline.defs.dagster_internals import run_daemon

if __name__ == "__main__":
    run_daemon(sys.argv[1:])
