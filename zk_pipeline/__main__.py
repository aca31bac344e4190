"""Entry point of `python -m zk_pipeline`, the same as `zk-pipeline`."""

from __future__ import annotations

import atexit
import os
import signal


def main() -> None:
    """Run the command line and exit with its code.

    SIGINT and SIGTERM end the process immediately before and after the command, and by graceful shutdown during it
    (`processes.run_with_graceful_shutdown`). During interpreter finalization they are ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_now)
        atexit.register(signal.signal, number, signal.SIG_IGN)  # atexit hooks run in reverse order: these run last
    from zk_pipeline.cli.main import main as run_and_exit  # noqa: PLC0415 (slow; the handlers must be set before it)
    from zk_pipeline.runtime.interpreter import collect_garbage_rarely  # noqa: PLC0415

    collect_garbage_rarely()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no rule uses linear algebra, for which numpy starts threads
    run_and_exit()


def _exit_now(number: int, _: object) -> None:
    try:
        os.write(2, b"zk-pipeline: interrupted\n")
    finally:
        os._exit(128 + number)


if __name__ == "__main__":
    main()
