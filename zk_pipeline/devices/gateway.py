"""Terminal gateway of assets, CLI and API: device lock, comm key, timeouts and keypad unlock for each operation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from zk_pipeline.devices.clear_log import clear_log
from zk_pipeline.devices.clock import SYSTEM_CLOCK, Clock, Deadline
from zk_pipeline.devices.device_lock import exclusive_access
from zk_pipeline.devices.errors import Busy, check_polled
from zk_pipeline.devices.keypad_lock import KeypadLocks, unlock_left_locked, unlock_reserve_seconds
from zk_pipeline.devices.live import KEEP_ALIVE_SECONDS, live_punches
from zk_pipeline.devices.models import Device, LogPosition, Reading, TerminalInfo
from zk_pipeline.devices.networks import Network, device_to_reach
from zk_pipeline.devices.protocol.connection import Connector
from zk_pipeline.devices.protocol.events import LiveEvent
from zk_pipeline.devices.reading import read_terminal
from zk_pipeline.devices.terminal_info import ClockChange, probe_terminal, read_users, set_clock
from zk_pipeline.errors import UsageError

MAX_COMM_KEY = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class TerminalGateway:
    """Operations on terminals. Time limits in seconds: `timeout` for one answer, `deadline` for one device.

    With a folder for `locks`, all gateways of a machine that share it, across threads and processes, open one
    connection per terminal at a time: a second caller waits for the device lock until its deadline, then raises Busy.

    `keypad_locks` records terminals with a locked keypad. Every method first unlocks a terminal that a killed process
    or a broken connection left locked; if that fails, it logs a warning and continues.

    With `networks`, it connects only to addresses inside: a host name is resolved once per operation, and the operation
    connects to the address that was checked.

    Every method raises TerminalError for failures of the terminal, OnlyPushes for a device that is not polled,
    UsageError for a wrong comm key or lock folder, and the errors of `keypad_locks`.
    """

    timeout: float
    deadline: float
    comm_keys: Callable[[Device], int]
    clock: Clock = SYSTEM_CLOCK
    locks: Path | None = None
    keypad_locks: KeypadLocks | None = None
    networks: tuple[Network, ...] | None = None

    def read(self, device: Device, position: LogPosition | None = None, *, lock_while_reading: bool = False) -> Reading:
        """The terminal's whole log, or the records since `position`, see `read_terminal`."""
        with self._access(device) as access:
            return read_terminal(
                access.device,
                comm_key=access.comm_key,
                timeout=self.timeout,
                deadline=access.seconds,
                position=position,
                lock_while_reading=lock_while_reading,
                keypad_locks=self.keypad_locks,
                clock=self.clock,
            )

    def probe(self, device: Device) -> TerminalInfo:
        """Serial number, versions, counters and clock of the terminal, see `probe_terminal`."""
        with self._access(device) as access:
            return probe_terminal(
                access.device, comm_key=access.comm_key, timeout=self.timeout, deadline=access.seconds, clock=self.clock
            )

    def users(self, device: Device) -> pd.DataFrame:
        """The terminal's user list, see `read_users`."""
        with self._access(device) as access:
            return read_users(
                access.device, comm_key=access.comm_key, timeout=self.timeout, deadline=access.seconds, clock=self.clock
            )

    def set_clock(self, device: Device) -> ClockChange:
        """Set the terminal's clock to the true time, see `set_clock`."""
        with self._access(device) as access:
            return set_clock(
                access.device, comm_key=access.comm_key, timeout=self.timeout, deadline=access.seconds, clock=self.clock
            )

    def clear_log(self, device: Device, verified: Callable[[Reading], bool]) -> Reading:
        """Clear the terminal's log after `verified` has confirmed that it is stored, see `clear_log`."""
        with self._access(device) as access:
            return clear_log(
                access.device,
                comm_key=access.comm_key,
                timeout=self.timeout,
                deadline=access.seconds,
                verified=verified,
                keypad_locks=self.keypad_locks,
                clock=self.clock,
            )

    def live_punches(
        self, device: Device, stop: threading.Event, *, keep_alive: float = KEEP_ALIVE_SECONDS
    ) -> Iterator[LiveEvent]:
        """Live events until `stop` is set, see `live_punches`.

        The device lock is released when another caller waits for it, and taken again afterwards: `record_count` of the
        first Heartbeat of each connection shows the punches in between.
        """
        while not stop.is_set():
            try:
                with self._access(device, is_cancelled=stop.is_set) as access:
                    yield from live_punches(
                        access.device,
                        comm_key=access.comm_key,
                        timeout=self.timeout,
                        stop=stop,
                        clock=self.clock,
                        deadline=self.deadline,
                        keep_alive=keep_alive,
                        is_wanted=access.is_wanted,
                    )
            except Busy:
                if not stop.is_set():
                    raise

    @contextmanager
    def _access(self, device: Device, *, is_cancelled: Callable[[], bool] = lambda: False) -> Iterator[_DeviceAccess]:
        check_polled([device])
        comm_key = self.comm_keys(device)
        deadline = Deadline.after(self.deadline, self.clock)
        if self.locks is None:
            reached = device_to_reach(device, self.networks)
            self._unlock(reached, comm_key, deadline)
            yield _DeviceAccess(reached, comm_key, deadline.remaining())
            return
        with exclusive_access(self.locks, device, deadline, is_cancelled) as lock:
            # `device` was read before the wait for the lock: the previous lock holder may have left the keypad locked.
            reached = device_to_reach(device, self.networks)
            self._unlock(reached, comm_key, deadline, may_have_changed=lock.has_waited)
            yield _DeviceAccess(reached, comm_key, deadline.remaining(), lock.is_wanted)

    def _unlock(self, device: Device, comm_key: int, deadline: Deadline, *, may_have_changed: bool = False) -> None:
        """Unlock the keypad of a terminal that was left locked; no connection for others."""
        if self.keypad_locks is None or (device.keypad_locked_at is None and not may_have_changed):
            return
        if self.keypad_locks.is_noted(device):
            seconds = unlock_reserve_seconds(self.timeout, deadline.remaining())
            connector = Connector.within(device, comm_key, timeout=self.timeout, deadline=seconds, clock=self.clock)
            unlock_left_locked(connector, self.keypad_locks)


@dataclass(frozen=True)
class _DeviceAccess:
    """Exclusive access to a terminal: the device with the address to connect to, its comm key, seconds left of the
    deadline, whether another caller waits.
    """

    device: Device
    comm_key: int = field(repr=False)
    seconds: float
    is_wanted: Callable[[], bool] = lambda: False


def comm_keys_from(environ: Mapping[str, str]) -> Callable[[Device], int]:
    """A function that reads a device's comm key from the variable it names in `environ`; 0 if it names none.

    The function raises UsageError, with the variable's name and never its value, if the variable is not set or not a
    number from 0 to 2**32 - 1.
    """
    return partial(_comm_key, environ)


def _comm_key(environ: Mapping[str, str], device: Device) -> int:
    variable = device.comm_key_env
    if variable is None:
        return 0
    value = environ.get(variable, "").strip()
    if not value:
        raise UsageError(f"comm key of {device.name}: the variable {variable} is not set")
    if not (value.isascii() and value.isdigit() and len(value) <= 10 and int(value) <= MAX_COMM_KEY):
        raise UsageError(f"comm key of {device.name}: the variable {variable} is not a number from 0 to {MAX_COMM_KEY}")
    return int(value)
