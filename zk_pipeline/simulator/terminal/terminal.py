"""State of one emulated terminal: definition, users, log, clock, keypad lock. No sockets.

A terminal belongs to one thread. If a `Fleet` serves it, use the methods of the fleet.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import pandas as pd

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import (
    PUNCH_COLUMNS,
    Punch,
    concat_punches,
    encode_punch,
    encode_punches,
    encode_user,
    punches_frame,
)


class PunchStore(Protocol):
    """Persistence of a terminal's log. Called before a client can read the change."""

    def append(self, punch: Punch) -> None: ...

    def clear(self) -> None: ...


class TerminalLockedError(ZkPipelineError):
    """A punch at a terminal whose keypad a client has locked (CMD_DISABLEDEVICE)."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class EmulatedTerminal:
    """One terminal: `definition` is immutable; log, clock offset and keypad lock change.

    `log`: punches recorded so far, oldest first, columns PUNCH_COLUMNS. `clock` returns the true time, aware.
    Raises ValueError for users or punches that the record layout cannot encode.
    """

    def __init__(
        self,
        definition: TerminalDefinition,
        *,
        log: pd.DataFrame | None = None,
        clock: Callable[[], datetime] = utc_now,
        store: PunchStore | None = None,
    ) -> None:
        self.definition = definition
        self.clock_offset_seconds = float(definition.clock_offset_seconds)
        self.is_enabled = True
        self._clock = clock
        self._store = store
        self._zone = ZoneInfo(definition.timezone)
        self._uids = {user.user_id: user.uid for user in definition.users}
        self._initial = punches_frame([]) if log is None else log[PUNCH_COLUMNS]
        self._later: list[Punch | bytes] = []
        self._records = bytearray()
        if log is not None:
            self._records += encode_punches(log, definition.layout, self._uids, is_ma300=definition.is_ma300)
        self._listeners: list[Callable[[Punch], None]] = []
        self._options = definition.factory_options()

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def record_count(self) -> int:
        """The record counter that the terminal reports: number of records in its log."""
        return len(self._records) // self.definition.layout

    def uid_of(self, user_id: str) -> int:
        """The terminal's own number of an enrolled user (slot). Raises KeyError."""
        return self._uids[user_id]

    def true_now_local(self) -> datetime:
        """True wall clock of the terminal's time zone, naive."""
        return self._clock().astimezone(self._zone).replace(tzinfo=None)

    def now_local(self) -> datetime:
        """Wall clock that the terminal shows, including its error, naive."""
        return self.true_now_local() + timedelta(seconds=self.clock_offset_seconds)

    def set_clock(self, wall_clock_local: datetime) -> None:
        """Set the clock, which runs on from this time."""
        self.clock_offset_seconds = (wall_clock_local - self.true_now_local()).total_seconds()

    def punch(
        self,
        user_id: str,
        punched_at_local: datetime | None = None,
        verify_type: int = 1,
        punch_state: int = 0,
        work_code: int = 0,
    ) -> Punch:
        """Record a punch, by default at the time that the terminal shows, and notify the listeners.

        A full log drops its oldest record, as terminals with cyclic deletion do. Raises KeyError for a user who is not
        enrolled, TerminalLockedError while a client has locked the terminal.
        """
        if not self.is_enabled:
            raise TerminalLockedError(f"terminal {self.name!r} is locked by a client and accepts no punches")
        at_local = (self.now_local() if punched_at_local is None else punched_at_local).replace(microsecond=0)
        punch = Punch(user_id, at_local, verify_type, punch_state, work_code)
        definition = self.definition
        record = encode_punch(punch, definition.layout, self._uids[user_id], is_ma300=definition.is_ma300)
        if self._store is not None:
            self._store.append(punch)
        self._append(punch, record)
        for listener in tuple(self._listeners):
            listener(punch)
        return punch

    def append_raw(self, record: bytes) -> None:
        """Append a record to the log byte for byte, such as one with an impossible date."""
        if len(record) != self.definition.layout:
            raise ValueError(f"record of {len(record)} bytes in a log of {self.definition.layout}-byte records")
        self._append(record, record)

    def discard_oldest(self, count: int) -> None:
        """Drop the oldest records, like a log that wraps."""
        del self._records[: count * self.definition.layout]
        from_initial = min(count, len(self._initial))
        self._initial = self._initial.iloc[from_initial:]
        del self._later[: count - from_initial]

    def option(self, name: str) -> str | None:
        """A configuration value by its protocol name, such as `~SerialNumber`."""
        return self._options.get(name)

    def set_option(self, name: str, value: str) -> bool:
        """Change a configuration value; False for factory options, which begin with `~`."""
        if not name or name.startswith("~"):
            return False
        self._options[name] = value
        return True

    def clear_log(self) -> None:
        if self._store is not None:
            self._store.clear()
        self.discard_oldest(self.record_count)

    def punches(self) -> pd.DataFrame:
        """The log as punches, oldest first, columns PUNCH_COLUMNS, without raw records and work codes."""
        later = [punch for punch in self._later if isinstance(punch, Punch)]
        rows = [(p.user_id, p.punched_at_local, p.verify_type, p.punch_state) for p in later]
        return concat_punches([self._initial, punches_frame(rows)])

    def encoded_log(self) -> bytes:
        """The records of the log as bytes."""
        return bytes(self._records)

    def encoded_users(self) -> bytes:
        definition = self.definition
        size, encoding = definition.user_record_size, definition.encoding
        return b"".join(encode_user(user, size, encoding) for user in definition.users)

    @property
    def listener_count(self) -> int:
        """Number of sessions registered for live events."""
        return len(self._listeners)

    def listen(self, listener: Callable[[Punch], None]) -> Callable[[], None]:
        """Call `listener` with each new punch until the returned function is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _append(self, entry: Punch | bytes, record: bytes) -> None:
        if self.record_count >= self.definition.record_capacity:
            self.discard_oldest(1)
        self._records += record
        self._later.append(entry)
