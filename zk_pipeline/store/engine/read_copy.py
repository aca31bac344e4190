"""Private copy of the store's file, from which the API reads under load.

Readers of the file itself wait for its writers, and open it for each read. A process with many reads in progress copies
the file instead, keeps the copy open, and reads it without a lock. The copy has no name once it is open: the kernel
frees it when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.engine.attached_file import NAME
from zk_pipeline.store.engine.engine import ONE_THREAD_BELOW
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.locks.file_lock import StoreFileLock
from zk_pipeline.store.schema.file_copy import copy_file, temporary_name, wal_path
from zk_pipeline.store.schema.migrations_runner import literal, newest_version, read_version

Connection = duckdb.DuckDBPyConnection
T = TypeVar("T")

MAX_AGE_SECONDS = 60.0  # of a copy of a store that has changed since
PURPOSE = "copy the store for the API"
_BUSY_READS = 4  # reads in progress from which a copy is made
_MIN_PAUSE_SECONDS, _PAUSE_PER_LOCK = 5.0, 10.0  # writers wait for copies during at most an eleventh of the time
_LOCK_WAIT_SECONDS = 30.0
_STOP_SECONDS = 5.0
_READS = 3  # at once on a copy, and on the store itself: more threads than that only delay each other
_TURN_SECONDS = 20.0  # then a request reads the store in any case
_MEMORY_LIMIT = "1GB"  # of DuckDB, for blocks of the copy
_MAX_RESULTS = 64  # kept per copy, those that were requested last: a page may have a thousand rows
_SLOW_SECONDS, _MAX_SLOW = 0.2, 8
_log = logging.getLogger(__name__)


@dataclass
class _Copy:
    """`version`: that of the file, of which the copy has every commit before `since` (monotonic seconds);
    `lock_seconds`: how long writers waited for it.

    `results`: of reads that are executed once; `slow`: those of them to be executed again on the next copy, before it
    replaces this one; `repeated`: those that were so executed on this one, and are `slow` once they are requested.
    """

    instance: Connection
    version: object
    since: float
    lock_seconds: float
    results: dict[Hashable, Future[Any]] = field(default_factory=dict)
    repeated: dict[Hashable, Callable[[], Any]] = field(default_factory=dict)
    slow: dict[Hashable, Callable[[], Any]] = field(default_factory=dict)
    users: int = 0
    is_replaced: bool = False


@dataclass
class Reader:
    """A client of the API during one request, `name` once it is identified.

    `age_seconds`: age of the oldest copy that was read, 0 for one equal to the store; None without a copy.
    """

    may_use_copy: bool
    name: str | None = None
    age_seconds: float | None = None
    copy: _Copy | None = None  # in use
    has_slot: bool = False  # of those for reads of a copy


@dataclass(frozen=True)
class _SharedRead:
    """A read of the store itself, executed by one request, for others as well; `began`: monotonic seconds."""

    by: Reader
    began: float
    result: Future[Any] = field(default_factory=Future)


reader: ContextVar[Reader | None] = ContextVar("reader", default=None)


def identify_reader(name: str) -> None:
    """Name the client of the current request, which may read a copy from now on."""
    current = reader.get()
    if current is not None:
        current.name = name


def _wants_copy() -> bool:
    current = reader.get()
    return current is not None and current.may_use_copy and current.name is not None


def current_client() -> str | None:
    """The client of the current request; None until it is identified, and outside requests."""
    current = reader.get()
    return None if current is None else current.name


@dataclass
class FairSlots:
    """A semaphore that gives its slots in the order in which they were requested.

    `threading.Semaphore` lets a new thread overtake those that wait, which then wait again, behind all others.
    """

    free: int
    _waiting: deque[threading.Lock] = field(default_factory=deque)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> None:
        with self._guard:
            if self.free:
                self.free -= 1
                return
            own = threading.Lock()
            own.acquire()
            self._waiting.append(own)
        own.acquire()  # until `__exit__` of another thread passes its slot on

    def __exit__(self, *_: object) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self.free += 1


@dataclass(eq=False)
class ReadCopy:
    """The copies of one store's file in this process, at most one at a time and one that is being replaced.

    Files below `smallest_bytes` are not copied: a read of the file itself takes milliseconds. Thread-safe.
    """

    path: Path
    smallest_bytes: int = ONE_THREAD_BELOW
    busy_reads: int = _BUSY_READS
    monotonic: Callable[[], float] = time.monotonic
    _current: _Copy | None = None
    _reads: int = 0
    _next_at: float = 0.0
    _copying: threading.Thread | None = None
    _changed_at: dict[str, float] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _slots: FairSlots = field(default_factory=lambda: FairSlots(_READS))
    _direct_reads: int = 0  # of the store itself, by requests that may use a copy
    _shared: dict[Hashable, _SharedRead] = field(default_factory=dict)
    _turns: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self._turns = threading.Condition(self._guard)

    @contextmanager
    def read(self) -> Iterator[Connection | None]:
        """A connection to the copy, or None if this request must read the store itself."""
        with ExitStack() as stack:
            copy = stack.enter_context(self._in_use())
            if copy is None and _wants_copy():
                copy = stack.enter_context(self._turn())
            if copy is None:
                yield None
                return
            stack.enter_context(self._slot())
            connection = copy.instance.cursor()
            stack.callback(connection.close)
            connection.execute(f"USE {NAME}; SET TimeZone = 'UTC'")
            yield connection

    def once(self, key: Hashable, read: Callable[[], T]) -> T:
        """The result of `read`, which is executed once per copy: equal reads wait for it and share its result."""
        with self._in_use() as copy:
            return self._share(key, read) if copy is None else self._result(copy, key, read)

    def once_per_copy(self, key: Hashable, read: Callable[[], T]) -> T | None:
        """The same inside a read, with its connection; None if that reads the store itself."""
        current = reader.get()
        if current is None or current.copy is None:
            return None
        return self._result(current.copy, key, read, is_repeatable=False)

    def _result(self, copy: _Copy, key: Hashable, read: Callable[[], T], *, is_repeatable: bool = True) -> T:
        with self._guard:
            known: Future[T] | None = copy.results.pop(key, None)
            result = copy.results[key] = Future() if known is None else known  # now the last one
            if len(copy.results) > _MAX_RESULTS:
                del copy.results[next(iter(copy.results))]
            if key in copy.repeated:
                copy.slow[key] = copy.repeated[key]
        if known is None:
            with self._slot():
                self._execute(copy, key, read, result, is_repeatable=is_repeatable)
        elif known.done():
            with self._slot():  # in the order of the requests: else those that need no query delay the others
                pass
        return result.result()

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Wait for a slot, unless the request has one: inside a read it needs no second one."""
        current = reader.get()
        if current is None or current.has_slot:
            yield
            return
        with self._slots:
            current.has_slot = True
            try:
                yield
            finally:
                current.has_slot = False

    @contextmanager
    def _turn(self) -> Iterator[_Copy | None]:
        """Wait until few requests read the store itself, or for a new copy, which is then given."""
        with self._turns:
            before = self._current
            self._turns.wait_for(
                lambda: self._direct_reads < _READS or self._current is not before, timeout=_TURN_SECONDS
            )
            self._direct_reads += 1
        try:
            with self._in_use() as copy:
                yield copy
        finally:
            with self._turns:
                self._direct_reads -= 1
                self._turns.notify()

    def _share(self, key: Hashable, read: Callable[[], T]) -> T:
        """The result of a read of the store itself, shared by equal ones at the same time: no writer commits while one
        of them has the lock.
        """
        current = reader.get()
        if current is None or not _wants_copy():
            return read()
        with self._guard:
            shared = self._shared.get(key)
            is_first = shared is None
            if shared is None:
                shared = self._shared[key] = _SharedRead(current, self.monotonic())
            # It may have found a copy, which is at most a minute old.
            has_changed = self._changed_at.get(current.name or "", float("-inf")) >= shared.began - MAX_AGE_SECONDS
        if not is_first:
            if has_changed:
                return read()
            value: T = shared.result.result()
            if shared.by.age_seconds is not None:
                current.age_seconds = max(shared.by.age_seconds, current.age_seconds or 0.0)
            return value
        try:
            value = read()
        except BaseException as error:
            shared.result.set_exception(error)
            raise
        else:
            shared.result.set_result(value)
            return value
        finally:
            with self._guard:
                del self._shared[key]

    def _execute(
        self, copy: _Copy, key: Hashable, read: Callable[[], T], result: Future[T], *, is_repeatable: bool = True
    ) -> None:
        began = self.monotonic()
        try:
            result.set_result(read())
        except BaseException as error:
            with self._guard:
                copy.results.pop(key, None)
            result.set_exception(error)
        else:
            if is_repeatable and self.monotonic() - began > _SLOW_SECONDS and len(copy.slow) < _MAX_SLOW:
                copy.slow[key] = read

    def _repeat_slow_reads(self, new: _Copy) -> None:
        """Execute the slow reads of the present copy on the new one, so that no request waits for them."""
        token = reader.set(Reader(may_use_copy=True, copy=new))
        try:
            for key, read in [] if self._current is None else list(self._current.slow.items()):
                result: Future[Any] = Future()
                self._execute(new, key, read, result)
                if result.exception() is None:  # otherwise the next request for it gets the error
                    new.results[key], new.repeated[key] = result, read
        finally:
            reader.reset(token)
        new.slow = {}

    def note_change(self, client: str) -> None:
        """Let a client that has changed something read the store itself until there is a newer copy."""
        with self._guard:
            self._changed_at[client] = self.monotonic()

    def close(self) -> None:
        """Close the copy and make no other one; waits up to five seconds for one that is being made."""
        self._next_at = float("inf")
        copying = self._copying
        if copying is not None:
            copying.join(_STOP_SECONDS)
        self._replace(None)

    def _replace(self, new: _Copy | None) -> None:
        with self._guard:
            old, self._current = self._current, new
            if old is not None:
                old.is_replaced = True
                if not old.users:
                    old.instance.close()
            self._turns.notify_all()

    @contextmanager
    def _in_use(self) -> Iterator[_Copy | None]:
        """The copy for this request, which stays open; a read inside another one uses the same copy."""
        current = reader.get()
        if current is None or current.name is None or not current.may_use_copy or current.copy is not None:
            yield None if current is None else current.copy
            return
        version = _file_version(self.path)
        with self._guard:
            self._reads += 1
            copy = current.copy = self._usable(current, current.name, version)
            if copy is not None:
                copy.users += 1
            self._copy_if_busy(version)
        try:
            yield copy
        finally:
            with self._guard:
                current.copy = None
                self._reads -= 1
                if copy is not None:
                    copy.users -= 1
                    if copy.is_replaced and not copy.users:
                        copy.instance.close()

    def _usable(self, current: Reader, name: str, version: object) -> _Copy | None:
        copy = self._current
        if copy is None:
            return None
        age = 0.0 if copy.version == version else self.monotonic() - copy.since
        if age > MAX_AGE_SECONDS or (age and self._changed_at.get(name, 0.0) >= copy.since):
            return None
        current.age_seconds = max(age, current.age_seconds or 0.0)
        return copy

    def _copy_if_busy(self, version: object) -> None:
        is_current = self._current is not None and self._current.version == version
        if is_current or self._reads < self.busy_reads or self._copying or self.monotonic() < self._next_at:
            return
        self._copying = threading.Thread(target=self._copy, name="copy of the store", daemon=True)
        self._copying.start()

    def _copy(self) -> None:
        """Replace the copy, then pause; a failure is logged, and the store itself is read."""
        pause = _MIN_PAUSE_SECONDS
        try:
            new = self._copied()
            if new is not None:
                self._repeat_slow_reads(new)
                pause = max(pause, _PAUSE_PER_LOCK * new.lock_seconds)
                self._replace(new)
        except (ZkPipelineError, OSError, duckdb.Error) as error:
            _log.warning("the store is read without a copy: %s", error)
            pause = MAX_AGE_SECONDS
        finally:
            with self._guard:
                self._next_at = max(self._next_at, self.monotonic() + pause)
                self._copying = None

    def _copied(self) -> _Copy | None:
        """A new copy; None if the file is small, or while another process copies it."""
        with _only_copier(self.path) as is_alone:
            if not is_alone or self.path.stat().st_size < self.smallest_bytes:
                return None
            self._check_space()
            with temporary_name(_named(self.path)) as part:
                with StoreFileLock(self.path).hold("shared", PURPOSE, wait_seconds=_LOCK_WAIT_SECONDS):
                    since, version = self.monotonic(), _file_version(self.path)
                    copy_file(self.path, part)
                    lock_seconds = self.monotonic() - since
                return _Copy(_opened(part, f"{self.path}.tmp"), version, since, lock_seconds)

    def _check_space(self) -> None:
        needed, free = self.path.stat().st_size, shutil.disk_usage(self.path.parent).free
        if free < 2 * needed:
            raise StoreBusy(
                f"a copy needs {needed / 1e6:,.0f} MB, and {self.path.parent} has {free / 1e6:,.0f} MB left"
            )


def _file_version(path: Path) -> object:
    """A value that changes with each commit: writers change the file or its log before they release the lock."""
    return _stamp(path), _stamp(wal_path(path))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _named(path: Path) -> Path:
    return path.with_name(f"{path.name}.api-copy")


@contextmanager
def _only_copier(path: Path) -> Iterator[bool]:
    """Try to lock the copying of the file: False while another process copies it. Removes files of a killed copier."""
    descriptor = os.open(_named(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        for left in path.parent.glob(f".{_named(path).name}.*"):
            left.unlink(missing_ok=True)
        yield True
    finally:
        os.close(descriptor)


def _opened(part: Path, temp_directory: str) -> Connection:
    """An instance with the copy attached for reading. Raises ZkPipelineError unless it has the newest schema."""
    # One thread per query: queries of several requests run side by side, and a second thread of each costs CPU.
    instance = duckdb.connect(
        ":memory:", config={"memory_limit": _MEMORY_LIMIT, "temp_directory": temp_directory, "threads": 1}
    )
    try:
        instance.execute(f"ATTACH {literal(str(part))} AS {NAME} (TYPE duckdb, READ_ONLY); USE {NAME}")
        if read_version(instance, part) != newest_version():
            raise ZkPipelineError(f"{part} is not at the newest version of the store")
    except BaseException:
        instance.close()
        raise
    return instance
