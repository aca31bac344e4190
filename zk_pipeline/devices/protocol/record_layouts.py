"""Record layouts of the terminals' tables as numpy dtypes, and their time encoding.

Sources: zk-protocol and pyzk for 8, 40, 28 and 72 bytes; the maker's 2006 manual and js_zklib issue #50 for 16 bytes
(state before verification, reversed in pyzk's names); the manual's compressed form and pyzk issues #56,
#92, #99, #100 and #187 for the order of MA300 and ZEM500; pyzk issue #174 and pull request #247 for 49 bytes (the
40-byte record and nine more).
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from zk_pipeline.data_libraries import np

if TYPE_CHECKING:
    import numpy.typing as npt

DAY_SECONDS = 86_400
FIRST_YEAR = 2000
LAST_YEAR = 2099  # the maker's formula takes the year modulo 100


@dataclass(frozen=True)
class Layout:
    """Layout of the records of a table.

    Fields of a log: the user (`user_id` text, `number` or `uid`), `time`, `status` (the byte with that name in pyzk),
    `state` and `verify`, some of which are the same byte, and an optional `work_code`.
    """

    name: str
    size: int  # bytes per record
    fields: tuple[tuple[str, str, int], ...]  # name, numpy type, offset in bytes
    has_bit_field: bool = False  # state and verification share a byte: bits 0-2 and 3-4

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """Structured type of one record."""
        names, formats, offsets = (list(column) for column in zip(*self.fields, strict=True))
        spec = {"names": names, "formats": formats, "offsets": offsets, "itemsize": self.size}
        return np.dtype(spec)  # type: ignore[call-overload]

    @property
    def names_users(self) -> bool:
        """Whether a log's records have the user id, not only the terminal's own number of the user (slot)."""
        return all(name != "uid" for name, _, _ in self.fields)

    def records(self, table: bytes) -> npt.NDArray[np.void]:
        """The records in a table, a whole number of them."""
        return np.frombuffer(table, self.dtype)

    def states(self, records: npt.NDArray[np.void]) -> npt.NDArray[np.uint8]:
        """In/out state of each record of a log."""
        states: npt.NDArray[np.uint8] = records["state"]
        return np.bitwise_and(states, np.uint8(7)) if self.has_bit_field else states

    def verify_types(self, records: npt.NDArray[np.void]) -> npt.NDArray[np.uint8]:
        """Verification type of each record of a log."""
        types: npt.NDArray[np.uint8] = records["verify"]
        return np.bitwise_and(types >> np.uint8(3), np.uint8(3)) if self.has_bit_field else types


def _layout(name: str, size: int, fields: dict[str, tuple[str, int]], *, has_bit_field: bool = False) -> Layout:
    return Layout(name, size, tuple((field, *place) for field, place in fields.items()), has_bit_field)


_BYTES_8 = {"uid": ("<u2", 0), "status": ("u1", 2), "verify": ("u1", 2), "time": ("<u4", 3), "state": ("u1", 7)}
# Bit 5 of the bit field means "a full time follows" and was captured both set and clear before four bytes of time.
# Bits 6 and 7 and `rest`, which pyzk reads as the state, belong to the manual's short form of the time: 0 here.
_BYTES_8_MA300 = {
    "uid": ("<u2", 0),
    "status": ("u1", 2),
    "state": ("u1", 2),
    "verify": ("u1", 2),
    "rest": ("u1", 3),
    "time": ("<u4", 4),
}
_BYTES_16 = {
    "number": ("<u4", 0),
    "time": ("<u4", 4),
    "status": ("u1", 8),
    "state": ("u1", 8),
    "verify": ("u1", 9),
    "work_code": ("<u4", 12),
}
_BYTES_40 = {
    "user_id": ("S24", 2),
    "status": ("u1", 26),
    "verify": ("u1", 26),
    "time": ("<u4", 27),
    "state": ("u1", 31),
}
LOG_8 = _layout("8", 8, _BYTES_8)
LOG_8_MA300 = _layout("8-MA300", 8, _BYTES_8_MA300, has_bit_field=True)
LOG_16 = _layout("16", 16, _BYTES_16)
LOG_40 = _layout("40", 40, _BYTES_40)
LOG_49 = _layout("49", 49, _BYTES_40)
LOG_LAYOUTS = (LOG_40, LOG_16, LOG_8, LOG_8_MA300, LOG_49)

_BYTES_28 = {
    "uid": ("<u2", 0),
    "privilege": ("u1", 2),
    "name": ("S8", 8),
    "card": ("<u4", 16),
    "number": ("<u4", 24),
}
_BYTES_72 = {
    "uid": ("<u2", 0),
    "privilege": ("u1", 2),
    "name": ("S24", 11),
    "card": ("<u4", 35),
    "user_id": ("S24", 48),
}
USER_28 = _layout("28", 28, _BYTES_28)
USER_72 = _layout("72", 72, _BYTES_72)
USER_LAYOUTS = (USER_72, USER_28)


def decode_time(code: int) -> datetime | None:
    """The naive wall clock of a terminal's time code, None for an impossible date or one outside 2000 to 2099.

    Source: `EncodeTime` of the maker's manual: months of 31 days, so that 31 February can be encoded.
    """
    days, seconds = divmod(code, DAY_SECONDS)
    months, day = divmod(days, 31)
    year, month = divmod(months, 12)
    if not 0 <= year <= LAST_YEAR - FIRST_YEAR:
        return None
    try:
        return datetime(FIRST_YEAR + year, month + 1, day + 1) + timedelta(seconds=seconds)  # noqa: DTZ001 (wall clock)
    except ValueError:
        return None


def decode_times(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.datetime64]:
    """`decode_time` for a column: datetime64[s], NaT for an impossible date."""
    days, seconds = np.divmod(codes, np.uint32(DAY_SECONDS))
    times: npt.NDArray[np.datetime64] = _days()[days] + seconds.astype("timedelta64[s]")
    return times


def encode_time(clock_local: datetime) -> int:
    """The time code of a naive wall clock, to the second."""
    days = ((clock_local.year - FIRST_YEAR) * 12 + clock_local.month - 1) * 31 + clock_local.day - 1
    return ((days * 24 + clock_local.hour) * 60 + clock_local.minute) * 60 + clock_local.second


def format_raw_time(code: int) -> str:
    """A time code as text, impossible dates included, such as 2026-02-31 08:15:00."""
    days, seconds = divmod(code, DAY_SECONDS)
    months, day = divmod(days, 31)
    year, month = divmod(months, 12)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{FIRST_YEAR + year}-{month + 1:02}-{day + 1:02} {clock}"


@lru_cache(maxsize=1)
def _days() -> npt.NDArray[np.datetime64]:
    """The date of each day number that a u32 time code can contain, NaT for impossible dates."""
    days = np.full(2**32 // DAY_SECONDS + 1, np.datetime64("NaT"), dtype="datetime64[s]")
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        for month in range(1, 13):
            count = calendar.monthrange(year, month)[1]
            first = ((year - FIRST_YEAR) * 12 + month - 1) * 31
            start = np.datetime64(f"{year}-{month:02}-01", "D")
            days[first : first + count] = np.arange(start, start + np.timedelta64(count, "D"))
    return days
