"""Data model of terminals: device registration, terminal info, log position, and a reading with its frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from zk_pipeline.data_libraries import np, pd

Protocol = Literal["auto", "tcp", "udp"]
Direction = Literal["in", "out"]
ReadingMode = Literal["full", "incremental", "unchanged"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """One registered terminal. `site` defaults to the name; devices of one site share their users."""

    name: str
    ip_address: str
    port: int = 4370
    protocol: Protocol = "auto"
    timezone: str = "UTC"
    site: str = ""
    enabled: bool = True
    polled: bool = True  # whether polls connect to it; False: it only pushes
    live: bool = False  # whether `zk-pipeline live` captures its punches
    trust_punch_states: bool = False  # whether worked minutes are computed from its in, out and break states
    direction: Direction | None = None  # of every punch: an entry or exit gate
    comm_key_env: str | None = None  # name of the environment variable with the comm key, never the key
    encoding: str = "UTF-8"
    id: int | None = None
    serial_number: str | None = None
    last_transport: Literal["tcp", "udp"] | None = None  # the one that worked last, tried first for `auto`
    log_layout: str | None = None  # of the last reading, as in LogPosition: used if the records prove no other
    last_sync: datetime | None = None
    pushes: bool = False  # whether a terminal was adopted that connects to the receiver
    last_contact: datetime | None = None  # last successful poll, or connection to the receiver
    keypad_locked_at: datetime | None = None  # since when the pipeline has locked it; None after a confirmed unlock
    created_at: datetime | None = None
    updated_at: datetime | None = None

    def __post_init__(self) -> None:
        if not self.site:
            object.__setattr__(self, "site", self.name)

    @property
    def is_polled(self) -> bool:
        """True for a device that scheduled polls read."""
        return self.enabled and self.polled

    @property
    def connection(self) -> str:
        """Way by which its punches arrive: "polled", "pushes", "polled, pushes" or (only imported files) "files"."""
        ways = [word for word, is_used in (("polled", self.polled), ("pushes", self.pushes)) if is_used]
        return ", ".join(ways) or "files"


@dataclass(frozen=True, kw_only=True)
class TerminalInfo:
    """Identity, versions, counters, capacities and clock drift of a terminal, as it reports them."""

    serial_number: str
    firmware_version: str
    platform: str
    device_name: str
    mac: str
    user_count: int
    user_capacity: int
    record_count: int
    record_capacity: int
    clock_local: datetime | None  # naive, the terminal's own wall clock; None for an impossible date
    clock_drift_seconds: float | None  # terminal minus true time, corrected by half the round trip; None likewise
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
# Columns of Reading.rejected: records that cannot be a punch, each with its bytes as received.
REJECTED_COLUMNS = ["record_index", "raw", "reason"]
# Columns of Reading.users.
USER_COLUMNS = ["user_id", "uid", "name", "privilege", "card"]


def punches_frame(**columns: Any) -> pd.DataFrame:
    """A frame like Reading.punches, from columns or one value for all rows; missing columns are null in every row."""
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
    """End of the last reading of a log: where an incremental reading continues.

    Stored unchanged; `read_terminal` checks whether it still matches the terminal.
    """

    serial_number: str
    layout: str  # a name of `record_layouts.LOG_LAYOUTS`, such as "40" or "8-MA300"
    record_count: int  # records in the log when it was read, including rejected ones
    total_bytes: int  # of these records
    overlap: bytes = field(repr=False)  # the last few of these records, as received
    user_count: int  # the terminal's user counter at the last request of its user list; -1: request it next time


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One complete reading of one terminal: the whole log, or (`mode`) its new records.

    `punches`: `user_id` str, `uid` Int32, `punched_at_local` datetime64[s] (naive, the terminal's wall clock), `status`
    (the byte with that name in pyzk: the verification, the state in 16-byte records, both in those of MA300),
    `punch_state`, `verify_type` uint8, `work_code` Int64 (NA if the layout has none), `raw` bytes; columns
    PUNCH_COLUMNS, duplicates kept. A record of 8 bytes names only a slot of the terminal: its `user_id` is None, `uid`
    is the slot and `raw` the record; for all others `uid` is NA and `raw` None. The store resolves slots, from the user
    lists of earlier readings.
    `rejected`: `record_index` int64 (in the whole log), `raw` bytes, `reason` str.
    `users`: `user_id` str, `uid` int64, `name` str, `privilege` int64, `card` int64; None if the terminal refused
    its list, or an incremental reading did not need it.
    `position`: where the next reading continues; None if that has to be a full one.
    `warnings`: one line per problem that did not fail the reading.
    """

    info: TerminalInfo
    record_count_after: int  # the terminal's own counter, read again after the log
    layout: int | None  # bytes per record, None if the log was empty
    log_layout: str | None = None  # name of the layout, as in LogPosition
    bytes_read: int  # all bytes received, including failed attempts
    punches: pd.DataFrame = field(repr=False)
    rejected: pd.DataFrame = field(repr=False)
    users: pd.DataFrame | None = field(repr=False)
    mode: ReadingMode = "full"
    position: LogPosition | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
