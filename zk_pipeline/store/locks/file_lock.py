"""Lock of a DuckDB file between threads and processes, on side files: a fair file lock with known holders.

The database file itself is never opened here: closing any descriptor of it would drop DuckDB's own lock.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from zk_pipeline.runtime.file_lock import AcquiredLock, FairFileLock, LockFileError, LockMode, LockTimeout
from zk_pipeline.runtime.processes import check_for_end
from zk_pipeline.store.errors import NestedHold, StoreBusy, StoreUnusable
from zk_pipeline.store.locks.lock_holders import LockHolders
from zk_pipeline.store.locks.network_mounts import network_file_system

# Operation of each lock by process, thread and lock. A child made by `fork` has another process number.
_held_by_thread: dict[tuple[int, int, str], str] = {}


@dataclass(frozen=True)
class HeldLock:
    """A lock with its wait time and its start (monotonic seconds). `tell` replaces the operation that waiting processes
    see in their error message. `is_wanted`: True if another process or thread waits for it, or if that is unknown.
    """

    waited_seconds: float
    since: float
    tell: Callable[[str], None]
    is_wanted: Callable[[], bool] = field(default=lambda: True, kw_only=True)


@contextmanager
def single_lock_per_thread(lock: str, purpose: str) -> Iterator[None]:
    """Raises NestedHold if this thread already holds the lock of that name."""
    key = (os.getpid(), threading.get_ident(), lock)
    if key in _held_by_thread:
        raise NestedHold(
            f'nested lock: this thread already holds the store for "{_held_by_thread[key]}" (requested for "{purpose}")'
        )
    _held_by_thread[key] = purpose
    try:
        yield
    finally:
        del _held_by_thread[key]


class StoreFileLock:
    """Lock files `<path>.lock` and `<path>.turnstile`; `<path>.holders` names the holders, for messages."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FairFileLock(
            path.with_name(f"{path.name}.lock"), path.with_name(f"{path.name}.turnstile"), is_proven=False
        )
        self._holders = LockHolders(path.with_name(f"{path.name}.holders"))

    @contextmanager
    def hold(self, mode: LockMode, purpose: str, *, wait_seconds: float) -> Iterator[HeldLock]:
        """Hold the lock; the error message of processes that time out names `purpose`.

        Raises StoreBusy, naming the holders, after `wait_seconds`; StoreUnusable if the file system does not lock
        files; NestedHold at once if this thread already holds the lock.
        """
        with single_lock_per_thread(str(self._lock.main.absolute()), purpose):
            if not self._lock.is_proven:
                self._refuse_network_mount()
            started = time.monotonic()
            with (
                self._acquired(mode, started + wait_seconds) as lock,
                self._holders.register(purpose, alone=mode == "exclusive") as tell,
            ):
                now = time.monotonic()
                yield HeldLock(waited_seconds=now - started, since=now, tell=tell, is_wanted=lock.is_wanted)

    @contextmanager
    def _acquired(self, mode: LockMode, deadline: float) -> Iterator[AcquiredLock]:
        lock = self._lock.hold(mode, remaining=lambda: deadline - time.monotonic(), check=check_for_end)
        with ExitStack() as stack:
            try:
                acquired = stack.enter_context(lock)
            except LockTimeout:
                raise StoreBusy(self._timeout_message()) from None
            except LockFileError as error:
                raise StoreUnusable(str(error)) from error
            yield acquired

    def _refuse_network_mount(self) -> None:
        file_system = network_file_system(self._path)
        if file_system:
            raise StoreUnusable(
                f"ZK_PIPELINE_DATABASE: {self._path.parent} is on a network file system ({file_system}), where locks "
                "cannot be relied on: put the store on a local disk"
            )

    def _timeout_message(self) -> str:
        holders = self._holders.describe()
        who = " and ".join(holders) or "a process that did not sign"
        return (
            f"waited too long for the store: {who} still {'hold' if len(holders) > 1 else 'holds'} it; "
            "end that work or try again"
        )
