"""Garbage collection of the Python interpreter in the processes of this package.

A process that imports Dagster and pandas creates some hundred thousand objects that stay: searching them for cycles,
again and again and once more at exit, is 40 % of the CPU time of a short process. Garbage without cycles is freed as
ever.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def collect_garbage_rarely() -> None:
    """Make garbage collection rare in this process, and skip it at exit."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)


@contextmanager
def slow_imports() -> Iterator[None]:
    """Import without garbage collection, exclude what is imported from later collections, and skip that at exit."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
        atexit.register(gc.freeze)
