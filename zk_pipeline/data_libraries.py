"""numpy, pandas and pyarrow, each imported at its first use, for modules that short commands import as well.

The three take 0.9 s of CPU time to import. Modules import them from here as `np`, `pd`, `pa` and `pc`. Type aliases
belong under TYPE_CHECKING there, and Arrow schemas into functions: their evaluation imports the library.

DuckDB imports pandas for the first parameter that it binds, to compare it with pandas' null values. In
`bindings_without_pandas` it does not find pandas and binds without it; it looks again for the next parameter.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

__all__ = ["bindings_without_pandas", "np", "pa", "pc", "pd"]


class _Library:
    """A library as its module has it, imported for the first attribute."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        with _pandas_found():
            found = getattr(import_module(self._name), attribute)
        self.__dict__[attribute] = found
        return found


if not TYPE_CHECKING:
    np, pd, pa, pc = map(_Library, ("numpy", "pandas", "pyarrow", "pyarrow.compute"))


class _Hidden(threading.local):
    """State of one thread: True while its imports do not find pandas."""

    is_hidden = False


_thread = _Hidden()


class _Finder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 (importlib's signature)
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname == "pandas" and _thread.is_hidden:
            raise ModuleNotFoundError("pandas is not imported while the store is open", name=fullname)
        return None


_finder = _Finder()


@contextmanager
def bindings_without_pandas() -> Iterator[None]:
    """Let DuckDB bind parameters in this thread without importing pandas, unless pandas is imported already."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    before, _thread.is_hidden = _thread.is_hidden, True
    try:
        yield
    finally:
        _thread.is_hidden = before


@contextmanager
def _pandas_found() -> Iterator[None]:
    before, _thread.is_hidden = _thread.is_hidden, False
    try:
        yield
    finally:
        _thread.is_hidden = before
