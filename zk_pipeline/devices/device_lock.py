"""One connection per terminal at a time, between threads and processes of one machine: advisory locks on files.

Nothing here speaks to the terminal. Locking its keys is another matter, see `keypad_lock`.
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
    """A terminal that is ours for the time being."""

    _queue: int
    has_waited: bool  # another process or thread had it since this one asked for it

    def is_wanted(self) -> bool:
        """Whether somebody waits for it."""
        if not _try(self._queue):
            return True
        fcntl.flock(self._queue, fcntl.LOCK_UN)
        return False


@contextmanager
def exclusive_access(
    folder: Path, device: Device, deadline: Deadline, is_cancelled: Callable[[], bool] = lambda: False
) -> Iterator[DeviceLock]:
    """Hold the terminal at the device's address while the block runs. The kernel lets go of it when a process dies.

    Waits until the deadline; whoever waits first comes before one who lets go and wants it again. Raises Busy after the
    deadline or once `is_cancelled` says so, and UsageError where the folder cannot be written.
    """
    queue, held = _open(folder, device, "queue"), _open(folder, device, "lock")
    try:
        # Whoever waits holds the queue. So one who lets go and comes back at once does not get ahead of it.
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
    """Lock the file; whether another had it."""
    has_waited = False
    while not _try(descriptor):
        has_waited = True
        if is_cancelled():
            raise Busy(device, "waiting for its turn", "it was called off while another process was reading it")
        if deadline.remaining() <= 0:
            problem = f"another process is reading it, for {deadline.seconds:.3g} s now"
            raise Busy(device, "waiting for its turn", problem)
        deadline.clock.sleep(RETRY_SECONDS)
    return has_waited


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
