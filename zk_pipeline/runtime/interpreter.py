"""Settings of the Python interpreter for the processes of this package."""

from __future__ import annotations

import atexit
import gc
import os


def reduce_startup_cost() -> None:
    """Make garbage collection rare and numpy start no threads; call it before the slow imports.

    A process that imports Dagster and pandas creates some hundred thousand objects that stay: searching them for
    cycles, again and again and once more at exit, is 40 % of the CPU time of a short process. Garbage without cycles is
    freed as ever. No rule uses linear algebra, for which numpy starts a thread per core.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
