"""How assets, CLI and API reach terminals: settings bound to the functions that do it. No protocol here."""

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
from zk_pipeline.devices.errors import Busy
from zk_pipeline.devices.keypad_lock import KeypadLocks, unlock_left, unlocking_seconds
from zk_pipeline.devices.live import KEEP_ALIVE_SECONDS, live_punches
from zk_pipeline.devices.models import Device, LogPosition, Reading, TerminalInfo
from zk_pipeline.devices.protocol.connection import Connector
from zk_pipeline.devices.protocol.events import LiveEvent
from zk_pipeline.devices.reading import read_terminal
from zk_pipeline.devices.terminal_info import ClockChange, probe_terminal, read_users, set_clock
from zk_pipeline.errors import UsageError

MAX_COMM_KEY = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class TerminalGateway:
    """Reaches terminals within limits, in seconds: `timeout` for one answer, `deadline` for one device.

    With a folder for `locks`, all gateways of a machine that share it, whatever thread or process they are in, hold one
    connection per terminal at a time: who comes second waits, until the deadline, and then raises Busy.

    `keypad_locks` remembers terminals while they are locked. One that a killed process or a broken connection left
    locked is unlocked before anything else is done with it, by every method; where that fails, the log says so and
    the method goes on.

    Every method raises TerminalError for what went wrong with the terminal, UsageError for a comm key or a folder that
    is not set right, and what `keypad_locks` raises.
    """

    timeout: float
    deadline: float
    comm_keys: Callable[[Device], int]
    clock: Clock = SYSTEM_CLOCK
    locks: Path | None = None
    keypad_locks: KeypadLocks | None = None

    def read(self, device: Device, tail: LogPosition | None = None, *, lock_while_reading: bool = False) -> Reading:
        """Everything the terminal holds, or everything since `tail`, see `read_terminal`."""
        with self._turn(device) as turn:
            return read_terminal(
                device,
                comm_key=turn.comm_key,
                timeout=self.timeout,
                deadline=turn.seconds,
                tail=tail,
                lock_while_reading=lock_while_reading,
                keypad_locks=self.keypad_locks,
                clock=self.clock,
            )

    def probe(self, device: Device) -> TerminalInfo:
        """What the terminal says of itself, see `probe_terminal`."""
        with self._turn(device) as turn:
            return probe_terminal(
                device, comm_key=turn.comm_key, timeout=self.timeout, deadline=turn.seconds, clock=self.clock
            )

    def users(self, device: Device) -> pd.DataFrame:
        """The terminal's user list, see `read_users`."""
        with self._turn(device) as turn:
            return read_users(
                device, comm_key=turn.comm_key, timeout=self.timeout, deadline=turn.seconds, clock=self.clock
            )

    def set_clock(self, device: Device) -> ClockChange:
        """Set the terminal's clock to the true time, see `set_clock`."""
        with self._turn(device) as turn:
            return set_clock(
                device, comm_key=turn.comm_key, timeout=self.timeout, deadline=turn.seconds, clock=self.clock
            )

    def clear_log(self, device: Device, verified: Callable[[Reading], bool]) -> Reading:
        """Clear the terminal's log once `verified` has proven all of it safe, see `clear_log`."""
        with self._turn(device) as turn:
            return clear_log(
                device,
                comm_key=turn.comm_key,
                timeout=self.timeout,
                deadline=turn.seconds,
                verified=verified,
                keypad_locks=self.keypad_locks,
                clock=self.clock,
            )

    def live_punches(
        self, device: Device, stop: threading.Event, *, keep_alive: float = KEEP_ALIVE_SECONDS
    ) -> Iterator[LiveEvent]:
        """Punches as they happen until `stop` is set, see `live_punches`.

        It lets others have the terminal when they wait for it, and listens again afterwards: each Heartbeat that comes
        first on a connection has `record_count` to show what happened meanwhile.
        """
        while not stop.is_set():
            try:
                with self._turn(device, is_cancelled=stop.is_set) as turn:
                    yield from live_punches(
                        device,
                        comm_key=turn.comm_key,
                        timeout=self.timeout,
                        stop=stop,
                        clock=self.clock,
                        deadline=self.deadline,
                        keep_alive=keep_alive,
                        is_wanted=turn.is_wanted,
                    )
            except Busy:
                if not stop.is_set():
                    raise

    @contextmanager
    def _turn(self, device: Device, *, is_cancelled: Callable[[], bool] = lambda: False) -> Iterator[_Turn]:
        comm_key = self.comm_keys(device)
        deadline = Deadline.after(self.deadline, self.clock)
        if self.locks is None:
            self._unlock(device, comm_key, deadline)
            yield _Turn(comm_key, deadline.remaining())
            return
        with exclusive_access(self.locks, device, deadline, is_cancelled) as hold:
            # The device was looked up before its turn came: who had the terminal meanwhile may have left it locked.
            self._unlock(device, comm_key, deadline, may_have_changed=hold.has_waited)
            yield _Turn(comm_key, deadline.remaining(), hold.is_wanted)

    def _unlock(self, device: Device, comm_key: int, deadline: Deadline, *, may_have_changed: bool = False) -> None:
        """Unlock a terminal that was left locked; costs nothing for others."""
        if self.keypad_locks is None or (device.keypad_locked_at is None and not may_have_changed):
            return
        if self.keypad_locks.is_noted(device):
            seconds = unlocking_seconds(self.timeout, deadline.remaining())
            connector = Connector.within(device, comm_key, timeout=self.timeout, deadline=seconds, clock=self.clock)
            unlock_left(connector, self.keypad_locks)


@dataclass(frozen=True)
class _Turn:
    """Our turn with a terminal: what opens its session, the seconds left of the deadline, whether others wait."""

    comm_key: int = field(repr=False)
    seconds: float
    is_wanted: Callable[[], bool] = lambda: False


def comm_keys_from(environ: Mapping[str, str]) -> Callable[[Device], int]:
    """A source of comm keys: the variables in `environ` that devices name; 0 where one names none.

    It raises UsageError, naming the variable and never its value, when that is not set or is no number from 0
    to 2**32 - 1.
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
