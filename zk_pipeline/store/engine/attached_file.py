"""Attachment of a DuckDB file to an in-memory instance that this process keeps.

A new instance costs 8 to 12 ms of CPU for DuckDB's own catalog; attaching and detaching a store costs 4 ms. Small files
have instances of their own, with one thread.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from zk_pipeline.store.engine.engine import ONE_THREAD_BELOW
from zk_pipeline.store.schema.migrations_runner import literal

Connection = duckdb.DuckDBPyConnection

NAME = "store"  # of the attached database
STORAGE_VERSION = "v1.2.0"  # of new files: read by DuckDB 1.2 and later; the default takes 3 ms more to attach
_MAX_IDLE = 2


@dataclass
class _Attachment:
    instance: Connection
    is_small: bool
    read_only: bool
    users: int = 0
    has_failed: bool = False


_idle: dict[bool, deque[Connection]] = {True: deque(), False: deque()}  # by whether the file is small
_attached: dict[Path, _Attachment] = {}
_guard = threading.Lock()
_inherited: list[object] = []  # of the parent process: their threads do not exist here, so they are never closed


@contextmanager
def attached_file(path: Path, *, read_only: bool) -> Iterator[Connection]:
    """Open a connection in UTC whose current database is the file, under the store lock; creates a missing file.

    Concurrent readers share one attachment: closing a second file descriptor would drop the process's lock on the
    file. After an error the instance is not used again. Raises duckdb.Error.
    """
    attachment = _attach(path, read_only=read_only)
    connection = attachment.instance.cursor()
    try:
        connection.execute(f"USE {NAME}")
        yield connection
    except BaseException:
        attachment.has_failed = True
        raise
    finally:
        connection.close()
        _detach(path, attachment)


def needs_one_thread(*files: Path) -> bool:
    """True if the files together are too small for a second thread to save time; a missing file has no size."""
    return sum(file.stat().st_size for file in files if file.exists()) < ONE_THREAD_BELOW


def _attach(path: Path, *, read_only: bool) -> _Attachment:
    with _guard:
        attachment = _attached.get(path)
        if attachment is None:
            is_small = needs_one_thread(path)
            instance = _instance(f"{path}.tmp", is_small=is_small)
            try:
                mode = ", READ_ONLY" if read_only else ""
                instance.execute(f"ATTACH {literal(str(path))} AS {NAME} (TYPE duckdb{mode})")
            except BaseException:
                instance.close()
                raise
            attachment = _attached[path] = _Attachment(instance, is_small, read_only)
        assert attachment.read_only == read_only, "the store lock excludes readers while a file is written"
        attachment.users += 1
        return attachment


def _instance(temp_directory: str, *, is_small: bool) -> Connection:
    if _idle[is_small]:
        instance = _idle[is_small].pop()
        try:
            instance.execute(f"SET temp_directory = {literal(temp_directory)}")
        except duckdb.NotImplementedException:  # it cannot be changed after DuckDB has written to it
            instance.close()
        else:
            return instance
    threads = {"threads": 1} if is_small else {}
    instance = duckdb.connect(":memory:", config={"temp_directory": temp_directory, **threads})
    instance.execute("SET GLOBAL TimeZone = 'UTC'")  # of all its cursors
    return instance


def _detach(path: Path, attachment: _Attachment) -> None:
    with _guard:
        attachment.users -= 1
        if attachment.users:
            return
        del _attached[path]
        idle = _idle[attachment.is_small]
        if not attachment.has_failed and len(idle) < _MAX_IDLE:
            attachment.instance.execute(f"DETACH {NAME}")
            idle.append(attachment.instance)
        else:
            attachment.instance.close()


def _forget_after_fork() -> None:
    global _guard  # noqa: PLW0603 (another thread of the parent may have held it)
    _guard = threading.Lock()
    _inherited.extend([*_idle[True], *_idle[False], *_attached.values()])
    for idle in _idle.values():
        idle.clear()
    _attached.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
