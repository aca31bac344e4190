"""Settings of the Python interpreter for the processes of this package."""

from __future__ import annotations

import atexit
import gc


def collect_garbage_rarely() -> None:
    """Make garbage collection rare; call it before the slow imports.

    A process that imports Dagster and pandas creates some hundred thousand objects that stay: searching them for
    cycles, again and again and once more at exit, is 40 % of the CPU time of a short process. Garbage without cycles is
    freed as ever.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)
