"""`python -m zk_pipeline` is `zk-pipeline`."""

from __future__ import annotations

import atexit
import os
import signal


def main() -> None:
    """Run the command line and exit with its code. Until its work begins and after that has ended, SIGINT and SIGTERM
    end the process at once; in between, in order (`processes.end_in_order`). In the last moments, when the interpreter
    has given up handlers and takes itself apart, they change nothing.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
        atexit.register(signal.signal, number, signal.SIG_IGN)  # hooks are called in reverse order: these at last
    from zk_pipeline.cli.main import main as run_and_exit  # noqa: PLC0415 (takes time, in which signals may come)

    run_and_exit()


def _leave(number: int, _: object) -> None:
    try:
        os.write(2, b"zk-pipeline: interrupted\n")
    finally:
        os._exit(128 + number)


if __name__ == "__main__":
    main()
