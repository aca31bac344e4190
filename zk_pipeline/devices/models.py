"""What a terminal is, to this project: its registration, and the frames that a reading of it brings.

No sockets, no storage: those are in `terminal_info`, `transport` and the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd

Protocol = Literal["auto", "tcp", "udp"]
ReadingMode = Literal["full", "incremental", "unchanged"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """One registered terminal. `site` defaults to the name; devices of one site share their people."""

    name: str
    ip_address: str
    port: int = 4370
    protocol: Protocol = "auto"
    timezone: str = "UTC"
    site: str = ""
    enabled: bool = True
    live: bool = False  # whether `zk-pipeline live` listens to it
    trust_punch_states: bool = False  # whether minutes worked are taken from its in, out and break states
    comm_key_env: str | None = None  # name of the environment variable that holds the comm key, never the key
    encoding: str = "UTF-8"
    id: int | None = None
    serial_number: str | None = None
    last_transport: Literal["tcp", "udp"] | None = None  # what `auto` found, tried first
    log_layout: str | None = None  # of the last reading, a name as in LogTail: taken where records prove no other
    last_sync: datetime | None = None
    keypad_locked_at: datetime | None = None  # when we locked it for a reading, until it confirms that it is unlocked
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def __post_init__(self) -> None:
        if not self.site:
            object.__setattr__(self, "site", self.name)


@dataclass(frozen=True, kw_only=True)
class TerminalInfo:
    """What a terminal says of itself, and how far its clock is from ours."""

    serial_number: str
    firmware_version: str
    platform: str
    device_name: str
    mac: str
    user_count: int
    user_capacity: int
    record_count: int
    record_capacity: int
    clock_local: datetime | None  # naive, the terminal's own wall clock; None when it encodes no real date
    clock_drift_seconds: float | None  # terminal minus true time, half the round trip taken out; None likewise
    round_trip_ms: float
    transport: Literal["tcp", "udp"]


# Columns of Reading.punches, in log order (oldest first, as the terminal sent them).
PUNCH_TYPES = {
    "user_id": "object",
    "uid": "Int32",
    "punched_at_local": "datetime64[s]",
    "status": "uint8",
    "punch_state": "uint8",
    "verify_type": "uint8",
    "work_code": "Int64",
    "raw": "object",
}
PUNCH_COLUMNS = list(PUNCH_TYPES)
# Columns of Reading.rejected: records that cannot be a punch, each with the bytes as they came.
REJECTED_COLUMNS = ["record_index", "raw", "reason"]
# Columns of Reading.users.
USER_COLUMNS = ["user_id", "uid", "name", "privilege", "card"]


def punches_frame(**columns: Any) -> pd.DataFrame:
    """A frame as Reading.punches, from columns or one value for all rows; what is left out is null in every row."""
    index = pd.RangeIndex(len(columns["punched_at_local"]))
    series = {
        name: pd.Series(columns[name] if name in columns else _nulls(len(index), kind), index, kind, copy=False)
        for name, kind in PUNCH_TYPES.items()
    }
    return pd.DataFrame(series, copy=False)


def _nulls(rows: int, kind: str) -> Any:
    if kind == "object":
        return np.full(rows, None, dtype=object)
    return pd.arrays.IntegerArray(np.zeros(rows, dtype=kind.lower()), np.ones(rows, dtype=bool))


@dataclass(frozen=True, kw_only=True)
class LogPosition:
    """Where the last reading of a log ended, and what stood there: all that a reading of only new records needs.

    Worth storing as it is; whether it still fits a terminal is for `read_terminal` to find out.
    """

    serial_number: str
    layout: str  # a name of `record_layouts.LOG_LAYOUTS`, such as "40" or "8-MA300"
    record_count: int  # records in the log when it was read, the rejected ones included
    total_bytes: int  # of these records
    overlap: bytes = field(repr=False)  # the last few of them, as they came
    user_count: int  # the terminal's counter of users, when its user list was last asked for; -1: it is to be asked for


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One complete reading of one terminal: of the whole log, or (`mode`) of what is new in it.

    `punches`: `user_id` str, `uid` Int32, `punched_at_local` datetime64[s] (naive, the terminal's wall clock), `status`
    (the byte that pyzk calls so: the verification, the state in 16-byte records, both in those of MA300),
    `punch_state`, `verify_type` uint8, `work_code` Int64 (NA where the layout has none), `raw` bytes; columns
    PUNCH_COLUMNS, duplicates kept as they came. A record of 8 bytes names only a slot of the terminal: its `user_id` is
    None, `uid` is the slot and `raw` the record; of all others `uid` is NA and `raw` None. Who held the slot is for the
    store to say, which knows the user lists of earlier readings.
    `rejected`: `record_index` int64 (in the whole log), `raw` bytes, `reason` str.
    `users`: `user_id` str, `uid` int64, `name` str, `privilege` int64, `card` int64; None when the terminal refused
    its list, and where a reading of what is new had no need of it.
    `tail`: for the next reading; None where only a full one will do.
    `warnings`: a line for each problem that did not fail the reading.
    """

    info: TerminalInfo
    record_count_after: int  # the terminal's own counter, asked again after the log was read
    layout: int | None  # bytes per record, None when the log was empty
    log_layout: str | None = None  # its name, as in LogTail
    bytes_read: int  # everything that arrived, failed attempts included
    punches: pd.DataFrame = field(repr=False)
    rejected: pd.DataFrame = field(repr=False)
    users: pd.DataFrame | None = field(repr=False)
    mode: ReadingMode = "full"
    tail: LogPosition | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
