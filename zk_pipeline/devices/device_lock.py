"""Device lock: one connection per terminal at a time, between threads and processes of one machine, by file locks.

The terminal itself is not contacted; its keypad is locked in `keypad_lock`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from zk_pipeline.devices.clock import Deadline
from zk_pipeline.devices.errors import Busy
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import UsageError

RETRY_SECONDS = 0.05


@dataclass(frozen=True)
class DeviceLock:
    """The lock of one terminal, held by the caller."""

    _queue: int
    has_waited: bool  # another process or thread had the lock when this one requested it

    def is_wanted(self) -> bool:
        """Whether another process or thread waits for the lock."""
        if not _try(self._queue):
            return True
        fcntl.flock(self._queue, fcntl.LOCK_UN)
        return False


@contextmanager
def exclusive_access(
    folder: Path, device: Device, deadline: Deadline, is_cancelled: Callable[[], bool] = lambda: False
) -> Iterator[DeviceLock]:
    """Lock the terminal at the device's address while the block runs. The kernel releases the lock of a dead process.

    Waits until the deadline; a waiting process comes before one that releases the lock and requests it again. Raises
    Busy after the deadline or as soon as `is_cancelled`, and UsageError if the folder is not writable.
    """
    queue, held = _open(folder, device, "queue"), _open(folder, device, "lock")
    try:
        # The first waiter locks the queue file, so that the previous lock holder cannot take the lock again first.
        waits = [_wait(one, device, deadline, is_cancelled) for one in (queue, held)]
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield DeviceLock(queue, has_waited=any(waits))
    finally:
        os.close(held)
        os.close(queue)


def _open(folder: Path, device: Device, kind: str) -> int:
    address = quote(device.ip_address.lower(), safe="")
    path = folder / f"{address}_{device.port}.{kind}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"lock file {path} of {device.name} cannot be opened: {error.strerror}") from None


def _wait(descriptor: int, device: Device, deadline: Deadline, is_cancelled: Callable[[], bool]) -> bool:
    """Lock the file; returns whether another process or thread had locked it."""
    has_waited = False
    while not _try(descriptor):
        has_waited = True
        if is_cancelled():
            raise Busy(device, "waiting for the device lock", "it was canceled while another process held the lock")
        if deadline.remaining() <= 0:
            problem = f"another process held the lock for {deadline.seconds:.3g} s"
            raise Busy(device, "waiting for the device lock", problem)
        deadline.clock.sleep(RETRY_SECONDS)
    return has_waited


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
