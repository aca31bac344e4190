"""A fair lock between processes and threads, on side files beside the database.

Plain shared/exclusive `flock` lets a stream of readers starve writers. Here everybody first takes a second lock, the
turnstile, and holds it while waiting for the main one: whoever waits there stops all who came later, readers included.
The database file itself is never opened here: closing any descriptor of it would drop DuckDB's own lock.
The kernel releases both locks when a process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zk_pipeline.store.errors import StoreBusy, StoreUnusable

Mode = Literal["shared", "exclusive"]
_FLAG = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX}


@dataclass(frozen=True)
class Held:
    """How long the lock was waited for, and since when (monotonic seconds) it is held."""

    waited_seconds: float
    since: float


class FairLock:
    """Lock files `<path>.lock` and `<path>.turnstile`; `<path>.holder` says who holds it exclusively, for messages."""

    def __init__(self, path: Path) -> None:
        self._main = path.with_name(f"{path.name}.lock")
        self._turnstile = path.with_name(f"{path.name}.turnstile")
        self._holder = path.with_name(f"{path.name}.holder")

    @contextmanager
    def hold(self, mode: Mode, purpose: str, *, wait_seconds: float) -> Iterator[Held]:
        """Hold the lock; `purpose` is told to those who wait for it in vain.

        Raises StoreBusy, naming the holder, after `wait_seconds`; StoreUnusable where the side files cannot be used.
        """
        started = time.monotonic()
        deadline = started + wait_seconds
        turnstile = self._acquire(self._turnstile, "exclusive", deadline)
        try:
            main = self._acquire(self._main, mode, deadline)
        finally:
            os.close(turnstile)
        try:
            if mode == "exclusive":
                self._sign(purpose)
            else:
                self._unsign()  # what a holder that was killed left: nobody holds it exclusively now
            now = time.monotonic()
            yield Held(waited_seconds=now - started, since=now)
        finally:
            if mode == "exclusive":
                self._unsign()
            os.close(main)

    def holder(self) -> str | None:
        """Who holds the lock exclusively, in words; None when unknown (readers do not sign)."""
        try:
            signed = json.loads(self._holder.read_text())
            return f"process {signed['pid']} ({signed['purpose']}, for {time.time() - signed['since']:.0f} s)"
        except (OSError, ValueError, KeyError):
            return None

    def _sign(self, purpose: str) -> None:
        with suppress(OSError):  # a message for people; a full disk is reported by the write itself
            self._holder.write_text(json.dumps({"pid": os.getpid(), "purpose": purpose, "since": time.time()}))

    def _unsign(self) -> None:
        with suppress(OSError):
            self._holder.unlink()

    def _acquire(self, path: Path, mode: Mode, deadline: float) -> int:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        except OSError as error:
            raise StoreUnusable(f"cannot open the lock file {path}: {error.strerror}") from error
        try:
            try:
                fcntl.flock(descriptor, _FLAG[mode] | fcntl.LOCK_NB)
            except BlockingIOError:
                _wait_for(descriptor, mode, deadline, self.holder)
        except OSError as error:
            os.close(descriptor)
            raise StoreUnusable(f"{path}: this file system does not support locks ({error.strerror})") from error
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _wait_for(descriptor: int, mode: Mode, deadline: float, holder: object) -> None:
    """Wait in the kernel's queue, which is fair, with a limit, which `flock` itself does not offer.

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
        finished = done.wait(max(0.0, deadline - time.monotonic()))
    except BaseException:
        with state:
            abandoned = not done.is_set()
        raise
    if not finished:
        with state:
            abandoned = not done.is_set()
        if abandoned:
            who = holder() if callable(holder) else None
            raise StoreBusy(
                f"waited too long for the store: {who or 'readers in other processes'} still "
                f"{'holds' if who else 'hold'} it; end that work or try again"
            )
    if failure:
        raise failure[0]
