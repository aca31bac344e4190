"""Fair shared and exclusive locks between threads and processes of one machine, on two files per lock.

Plain `flock` lets a stream of readers starve writers. Here every process first locks the queue file and keeps that lock
while it waits for the main one: a process that waits there comes before all that ask later, readers included.
The kernel releases both locks when a process dies.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

LockMode = Literal["shared", "exclusive"]
_FLAGS = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX}


class LockTimeout(Exception):
    """The lock was not free in time."""


class LockFileError(Exception):
    """A lock file cannot be opened, or the file system does not lock it. The message names the file."""


@dataclass(frozen=True)
class AcquiredLock:
    """A lock while it is held. `has_waited`: another process or thread had it when it was asked for."""

    has_waited: bool
    _queue: Path = field(repr=False)

    def is_wanted(self) -> bool:
        """Whether another process or thread waits for the lock."""
        descriptor = os.open(self._queue, os.O_RDWR | os.O_CLOEXEC)
        try:
            return not _try_lock(descriptor, "exclusive")
        finally:
            os.close(descriptor)


@dataclass
class FairFileLock:
    """A lock on the file `main`, with the waiting line on the file `queue`; both are created with `permissions`.

    With `is_proven` False, the first use checks that the file system enforces locks.
    """

    main: Path
    queue: Path
    permissions: int = 0o664
    is_proven: bool = True

    @contextmanager
    def hold(
        self, mode: LockMode, *, remaining: Callable[[], float], check: Callable[[], None], check_seconds: float = 0.2
    ) -> Iterator[AcquiredLock]:
        """Hold the lock while the block runs.

        `remaining` gives the seconds left to wait. `check` is called every `check_seconds` of a wait and cancels it by
        raising. Raises LockTimeout or LockFileError.
        """

        def acquire(path: Path, mode: LockMode) -> tuple[int, bool]:
            descriptor = self._open(path)
            try:
                if _try_lock(descriptor, mode):
                    return descriptor, False
                _wait_for_lock(descriptor, mode, remaining, check, check_seconds)
            except OSError as error:
                os.close(descriptor)
                raise LockFileError(f"{path}: this file system does not support locks ({error.strerror})") from error
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor, True

        queue, has_queued = acquire(self.queue, "exclusive")
        try:
            if not self.is_proven:
                self._prove()
            main, has_waited = acquire(self.main, mode)
        finally:
            os.close(queue)
        try:
            yield AcquiredLock(has_queued or has_waited, self.queue)
        finally:
            os.close(main)

    def _open(self, path: Path) -> int:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self.permissions)
        except OSError as error:
            raise LockFileError(f"cannot open the lock file {path}: {error.strerror}") from error

    def _prove(self) -> None:
        """With the queue locked, a second attempt must fail."""
        second = self._open(self.queue)
        try:
            self.is_proven = not _try_lock(second, "shared")
        finally:
            os.close(second)
        if not self.is_proven:
            raise LockFileError(f"{self.queue}: locks on this file system have no effect: use a local disk")


def _try_lock(descriptor: int, mode: LockMode) -> bool:
    try:
        fcntl.flock(descriptor, _FLAGS[mode] | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for_lock(
    descriptor: int, mode: LockMode, remaining: Callable[[], float], check: Callable[[], None], check_seconds: float
) -> None:
    """Wait in the kernel's queue, which is fair, with a timeout, which `flock` itself does not offer.

    A thread waits on a duplicate of the descriptor; if the wait was abandoned, it unlocks again.
    """
    duplicate = os.dup(descriptor)
    state = threading.Lock()
    done = threading.Event()
    is_abandoned = False
    failures: list[OSError] = []

    def wait() -> None:
        try:
            fcntl.flock(duplicate, _FLAGS[mode])
        except OSError as error:
            failures.append(error)
        with state:
            if is_abandoned:
                # The lock belongs to the open file, shared by both descriptors: unlock it, do not only close.
                fcntl.flock(duplicate, fcntl.LOCK_UN)
            os.close(duplicate)
            done.set()

    threading.Thread(target=wait, name="file-lock-wait", daemon=True).start()
    try:
        while not done.wait(max(0.0, min(check_seconds, remaining()))) and remaining() > 0:
            check()
    finally:
        with state:
            is_abandoned = not done.is_set()
    if failures:
        raise failures[0]
    if is_abandoned:
        raise LockTimeout
