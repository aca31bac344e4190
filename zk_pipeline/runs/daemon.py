"""Dagster's daemon, which asks the code server less often and ends after the ticks that it has begun:
`python -m zk_pipeline.runs.daemon`, as `dagster-daemon`.
"""

from __future__ import annotations

import sys

from zk_pipeline.defs.dagster_internals import run_daemon, wait_for_ticks


def main() -> None:
    """Run the command `dagster-daemon` with the arguments of this process."""
    wait_for_ticks()
    run_daemon(sys.argv[1:])


if __name__ == "__main__":
    main()
