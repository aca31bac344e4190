"""Log of an emulated pushing terminal: a ring of limited capacity with a position of the upload."""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime
from typing import NamedTuple

from zk_pipeline.simulator.push.profiles import StampForm
from zk_pipeline.simulator.terminal.records import Punch

_FIRST_COUNTER = 82_983_982  # opaque to receivers
_CONSTANT_STAMP = "9999"
SEND_ALL = frozenset({"", "0", "None"})


class LogEntry(NamedTuple):
    """One record. `number` counts all records since the first; `event` is a code of security terminals.

    `utc_offset_seconds` is the terminal's UTC offset at that time.
    """

    number: int
    punch: Punch
    event: int = 0
    utc_offset_seconds: int = 0


class DeviceLog:
    """Records, oldest first; a full log drops its oldest record, uploaded or not. `lost_count` counts the latter."""

    def __init__(self, capacity: int, stamp_form: StampForm) -> None:
        self.capacity = capacity
        self.entries: list[LogEntry] = []
        self.lost_count = 0
        self._stamp_form = stamp_form
        self._next_number = 1
        self._next_upload = 1

    @property
    def next_number(self) -> int:
        """Number of the record that will be appended next."""
        return self._next_number

    @property
    def next_upload(self) -> int:
        """Number of the first record that no receiver has acknowledged."""
        return self._next_upload

    @property
    def pending_count(self) -> int:
        """Number of records to upload."""
        return self._next_number - self._next_upload

    def append(self, punch: Punch, event: int, utc_offset_seconds: int) -> LogEntry:
        entry = LogEntry(self._next_number, punch, event, utc_offset_seconds)
        self._next_number += 1
        self.entries.append(entry)
        self._drop(len(self.entries) - self.capacity)
        return entry

    def pending(self, count: int) -> list[LogEntry]:
        """At most `count` records to upload, oldest first."""
        start = self._index(self._next_upload)
        return self.entries[start : start + count]

    def acknowledge(self, entries: list[LogEntry]) -> None:
        """Advance the upload position behind these records, unless it is already there."""
        self._next_upload = max(self._next_upload, entries[-1].number + 1)

    def between(self, first_local: datetime, last_local: datetime) -> list[LogEntry]:
        """Records with a time from `first_local` to `last_local`, both included."""
        return [one for one in self.entries if first_local <= one.punch.punched_at_local <= last_local]

    def stamp(self, entry: LogEntry) -> str:
        """Stamp of an upload whose last record is `entry`."""
        if self._stamp_form == "constant":
            return _CONSTANT_STAMP
        if self._stamp_form == "time":
            return entry.punch.punched_at_local.isoformat()
        return str(_FIRST_COUNTER + entry.number)

    def resume(self, stamp: str) -> None:
        """Take the receiver's stamp: upload from there on, everything for `0`, `None` or none.

        Firmware with constant stamps keeps its own position, except for `0`. A time is the least one that is sent
        again: other records may have the same second. A stamp that no record has skips everything older, unsent
        records included, as in the firmware.
        """
        if stamp == "0" or (self._stamp_form != "constant" and stamp in SEND_ALL):
            self._next_upload = self._first_number()
        elif self._stamp_form == "counter":
            counter = int(stamp) if stamp.isdecimal() else 0
            self._next_upload = self._bounded(counter - _FIRST_COUNTER + 1)
        elif self._stamp_form == "time":
            newer = (one.number for one in self.entries if one.punch.punched_at_local.isoformat() >= stamp)
            self._next_upload = next(newer, self._next_number)

    def _first_number(self) -> int:
        return self.entries[0].number if self.entries else self._next_number

    def _bounded(self, number: int) -> int:
        return min(max(number, self._first_number()), self._next_number)

    def _index(self, number: int) -> int:
        return bisect_left(self.entries, number, key=lambda one: one.number)

    def _drop(self, count: int) -> None:
        if count <= 0:
            return
        del self.entries[:count]
        first = self._first_number()
        self.lost_count += max(0, first - self._next_upload)
        self._next_upload = max(self._next_upload, first)
