"""`python -m zk_pipeline` is `zk-pipeline`."""

from __future__ import annotations

import atexit
import os
import signal


def main() -> None:
    """Run the command line and exit with its code.

    SIGINT and SIGTERM before and after the work end the process at once; during the work they end it in order
    (`processes.end_in_order`). They are ignored while the interpreter shuts down, after its handlers are removed.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
        atexit.register(signal.signal, number, signal.SIG_IGN)  # hooks run in reverse order: these last
    from zk_pipeline.cli.main import main as run_and_exit  # noqa: PLC0415 (slow to import: signals may arrive)

    run_and_exit()


def _leave(number: int, _: object) -> None:
    try:
        os.write(2, b"zk-pipeline: interrupted\n")
    finally:
        os._exit(128 + number)


if __name__ == "__main__":
    main()
