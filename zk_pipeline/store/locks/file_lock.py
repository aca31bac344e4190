"""A fair lock between processes and threads, on side files beside the database.

Plain shared/exclusive `flock` lets a stream of readers starve writers. Here everybody first takes a second lock, the
turnstile, and holds it while waiting for the main one: whoever waits there stops all who came later, readers included.
The database file itself is never opened here: closing any descriptor of it would drop DuckDB's own lock.
The kernel releases both locks when a process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zk_pipeline.runtime.processes import check_for_end
from zk_pipeline.store.errors import NestedHold, StoreBusy, StoreUnusable
from zk_pipeline.store.locks.lock_holders import LockHolders
from zk_pipeline.store.locks.network_mounts import network_file_system

Mode = Literal["shared", "exclusive"]
_FLAG = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX}
_LOOK_EVERY = 0.2  # seconds of a wait between two looks whether the command is to end

# What each thread holds, by process, thread and lock. A child made by `fork` has another process number.
_held_by_thread: dict[tuple[int, int, str], str] = {}


@dataclass(frozen=True)
class HeldLock:
    """How long the lock was waited for, and since when (monotonic seconds) it is held. `tell` replaces what those who
    wait are told that the holder does.
    """

    waited_seconds: float
    since: float
    tell: Callable[[str], None]


@contextmanager
def single_lock_per_thread(lock: str, purpose: str) -> Iterator[None]:
    """Raises NestedHold where this thread holds the lock of that name already."""
    key = (os.getpid(), threading.get_ident(), lock)
    if key in _held_by_thread:
        holding = _held_by_thread[key]
        raise NestedHold(f"this thread holds the store already ({holding}) and would wait for itself ({purpose})")
    _held_by_thread[key] = purpose
    try:
        yield
    finally:
        del _held_by_thread[key]


class FairFileLock:
    """Lock files `<path>.lock` and `<path>.turnstile`; `<path>.holders` says who holds it, for messages."""

    def __init__(self, path: Path) -> None:
        self._main = path.with_name(f"{path.name}.lock")
        self._turnstile = path.with_name(f"{path.name}.turnstile")
        self._holders = LockHolders(path.with_name(f"{path.name}.holders"))
        self._is_proven = False

    @contextmanager
    def hold(self, mode: Mode, purpose: str, *, wait_seconds: float) -> Iterator[HeldLock]:
        """Hold the lock; `purpose` is told to those who wait for it in vain.

        Raises StoreBusy, naming the holders, after `wait_seconds`; StoreUnusable where locks do not work; NestedHold
        at once where this thread holds it already.
        """
        with single_lock_per_thread(str(self._main.absolute()), purpose):
            started = time.monotonic()
            main = self._queue(mode, started + wait_seconds)
            try:
                with self._holders.signed(purpose, alone=mode == "exclusive") as tell:
                    now = time.monotonic()
                    yield HeldLock(waited_seconds=now - started, since=now, tell=tell)
            finally:
                os.close(main)

    def _queue(self, mode: Mode, deadline: float) -> int:
        turnstile = self._acquire(self._turnstile, "exclusive", deadline)
        try:
            if not self._is_proven:
                self._prove_locks()
            return self._acquire(self._main, mode, deadline)
        finally:
            os.close(turnstile)

    def _prove_locks(self) -> None:
        """With the turnstile held: nobody else can have it, or locks are only for show here."""
        network = network_file_system(self._main)
        if network:
            raise StoreUnusable(
                f"ZK_PIPELINE_DATABASE: {self._main.parent} is on a network file system ({network}), where locks "
                "cannot be relied on: put the store on a local disk"
            )
        second = os.open(self._turnstile, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            self._is_proven = True
            return
        finally:
            os.close(second)
        raise StoreUnusable(
            f"{self._turnstile}: locks on this file system exclude nobody: put the store on a local disk"
        )

    def _acquire(self, path: Path, mode: Mode, deadline: float) -> int:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        except OSError as error:
            raise StoreUnusable(f"cannot open the lock file {path}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, _FLAG[mode] | fcntl.LOCK_NB)
            except BlockingIOError:
                if not _wait_for(descriptor, mode, deadline):
                    raise StoreBusy(self._in_vain()) from None
        except OSError as error:
            os.close(descriptor)
            raise StoreUnusable(f"{path}: this file system does not support locks ({error.strerror})") from error
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _in_vain(self) -> str:
        holders = self._holders.words()
        who = " and ".join(holders) or "a process that did not sign"
        return (
            f"waited too long for the store: {who} still {'hold' if len(holders) > 1 else 'holds'} it; "
            "end that work or try again"
        )


def _wait_for(descriptor: int, mode: Mode, deadline: float) -> bool:
    """Wait in the kernel's queue, which is fair, with a limit, which `flock` itself does not offer. Whether it came.

    A thread waits on a duplicate of the descriptor; one that comes too late finds the wait abandoned and lets go.
    """
    duplicate = os.dup(descriptor)
    state = threading.Lock()
    done = threading.Event()
    abandoned = False
    failure: list[OSError] = []

    def wait() -> None:
        try:
            fcntl.flock(duplicate, _FLAG[mode])
        except OSError as error:
            failure.append(error)
        with state:
            if abandoned:
                # The lock belongs to the open file, shared by both descriptors: unlock it, do not only close.
                fcntl.flock(duplicate, fcntl.LOCK_UN)
            os.close(duplicate)
            done.set()

    threading.Thread(target=wait, name="store-lock-wait", daemon=True).start()
    try:
        while not done.wait(max(0.0, min(_LOOK_EVERY, deadline - time.monotonic()))) and time.monotonic() < deadline:
            check_for_end()
    finally:
        with state:
            abandoned = not done.is_set()
    if failure:
        raise failure[0]
    return not abandoned
