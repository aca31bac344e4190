"""A write that other processes may store in their transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import duckdb

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class SharedWrite(Generic[Item, Result]):
    """One `item`, and how to store it together with those of other processes.

    `kind` names the encoding of the items: processes only store items of the same kind, so that two versions of the
    program can use one store. `store` is called in a transaction and returns one result per item, in order; if it
    raises an exception for any item, each process stores its own.
    """

    item: Item
    kind: str
    encode: Callable[[Item], bytes]
    decode: Callable[[bytes], Item]
    store: Callable[[duckdb.DuckDBPyConnection, Sequence[Item]], list[Result]]
    encode_result: Callable[[Result], str]
    decode_result: Callable[[str], Result]
