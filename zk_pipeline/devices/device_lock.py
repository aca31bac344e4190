"""Device lock: one connection per terminal at a time, between threads and processes of one machine.

The terminal itself is not contacted; its keypad is locked in `keypad_lock`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from zk_pipeline.devices.clock import Deadline
from zk_pipeline.devices.errors import Busy
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.file_lock import AcquiredLock, FairFileLock, LockFileError, LockTimeout

_CHECK_SECONDS = 0.05


@contextmanager
def exclusive_access(
    folder: Path, device: Device, deadline: Deadline, is_cancelled: Callable[[], bool] = lambda: False
) -> Iterator[AcquiredLock]:
    """Hold the lock of the terminal at the device's address. The kernel releases it when the process dies.

    Waits until the deadline, in order of arrival. Raises Busy after the deadline or if `is_cancelled` returns True, and
    UsageError if the folder is not writable.
    """

    def check() -> None:
        if is_cancelled():
            raise Busy(device, "waiting for the device lock", "it was canceled while another process held the lock")

    lock = _file_lock(folder, device).hold(
        "exclusive", remaining=deadline.remaining, check=check, check_seconds=_CHECK_SECONDS
    )
    with ExitStack() as stack:
        try:
            acquired = stack.enter_context(lock)
        except LockTimeout:
            problem = f"another process held the lock for {deadline.seconds:.3g} s"
            raise Busy(device, "waiting for the device lock", problem) from None
        except LockFileError as error:
            raise UsageError(f"device lock of {device.name}: {error}") from None
        yield acquired


def _file_lock(folder: Path, device: Device) -> FairFileLock:
    name = f"{quote(device.ip_address.lower(), safe='')}_{device.port}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"device lock of {device.name}: cannot create {folder} for {name}.lock: {error.strerror}"
        ) from None
    return FairFileLock(folder / f"{name}.lock", folder / f"{name}.queue", permissions=0o666)
