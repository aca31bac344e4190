"""The records of the terminals' tables as numpy types, their clock code, and how to tell layouts apart.

Sources: zk-protocol and pyzk for 8, 16, 40, 28 and 72 bytes; pyzk issues #100 and #187 (MA300), #174, pull
request #247 (49 bytes: the 40-byte record and nine more).
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt

DAY_SECONDS = 86_400
FIRST_YEAR = 2000
LAST_YEAR = 2099  # the maker's formula takes the year modulo 100
UNDEFINED_STATE = 255
LAST_NAMED_STATE = 5
EARLIEST_PLAUSIBLE = np.datetime64("2005-01-01", "s")  # clocks that lost their time say 2000


@dataclass(frozen=True)
class Layout:
    """One way of writing a table.

    A log's fields are `time`, `status` (verify type), `punch` (state) and who.
    """

    name: str
    dtype: np.dtype[np.void]

    @property
    def size(self) -> int:
        """Bytes per record."""
        return self.dtype.itemsize

    @property
    def names_users(self) -> bool:
        """Whether a log's records say the user id, not only the terminal's own number of the user."""
        return "uid" not in (self.dtype.names or ())

    def records(self, table: bytes) -> npt.NDArray[np.void]:
        """The records in a table, a whole number of them."""
        return np.frombuffer(table, self.dtype)


def _layout(name: str, size: int, /, **fields: tuple[str, int]) -> Layout:
    spec = {
        "names": list(fields),
        "formats": [kind for kind, _ in fields.values()],
        "offsets": [offset for _, offset in fields.values()],
        "itemsize": size,
    }
    return Layout(name, np.dtype(spec))  # type: ignore[call-overload]


LOG_8 = _layout("8", 8, uid=("<u2", 0), status=("u1", 2), time=("<u4", 3), punch=("u1", 7))
LOG_8_MA300 = _layout("8-MA300", 8, uid=("<u2", 0), status=("u1", 2), punch=("u1", 3), time=("<u4", 4))
LOG_16 = _layout("16", 16, number=("<u4", 0), time=("<u4", 4), status=("u1", 8), punch=("u1", 9))
LOG_40 = _layout("40", 40, user_id=("S24", 2), status=("u1", 26), time=("<u4", 27), punch=("u1", 31))
LOG_49 = _layout("49", 49, user_id=("S24", 2), status=("u1", 26), time=("<u4", 27), punch=("u1", 31))
LOG_LAYOUTS = (LOG_40, LOG_16, LOG_8, LOG_8_MA300, LOG_49)

USER_28 = _layout("28", 28, uid=("<u2", 0), privilege=("u1", 2), name=("S8", 8), card=("<u4", 16), number=("<u4", 24))
USER_72 = _layout(
    "72", 72, uid=("<u2", 0), privilege=("u1", 2), name=("S24", 11), card=("<u4", 35), user_id=("S24", 48)
)
USER_LAYOUTS = (USER_72, USER_28)


def decode_time(code: int) -> datetime | None:
    """The naive wall clock of a terminal's clock code, None where it is no real date from 2000 to 2099.

    Source: `EncodeTime` of the maker's manual: months of 31 days, so that 31 February can be written.
    """
    seconds = decode_times(np.array([code], dtype=np.uint32))[0]
    wall_clock: datetime | None = seconds.item()
    return wall_clock


def decode_times(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.datetime64]:
    """`decode_time` for a column: datetime64[s], NaT where there is no real date."""
    days, seconds = np.divmod(codes, np.uint32(DAY_SECONDS))
    times: npt.NDArray[np.datetime64] = _days()[days] + seconds.astype("timedelta64[s]")
    return times


def encode_time(clock_local: datetime) -> int:
    """The clock code of a naive wall clock, to the second."""
    days = ((clock_local.year - FIRST_YEAR) * 12 + clock_local.month - 1) * 31 + clock_local.day - 1
    return ((days * 24 + clock_local.hour) * 60 + clock_local.minute) * 60 + clock_local.second


def spelled(code: int) -> str:
    """A clock code as the date it pretends to be, such as 2026-02-31 08:15:00."""
    days, seconds = divmod(code, DAY_SECONDS)
    months, day = divmod(days, 31)
    year, month = divmod(months, 12)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{FIRST_YEAR + year}-{month + 1:02}-{day + 1:02} {clock}"


def fitting(size: int, layouts: Sequence[Layout], *, at_least: int, at_most: int) -> list[Layout]:
    """The layouts that make `size` bytes a whole number of records, one that the terminal's counter confirms.

    `at_least` and `at_most` are the counter before and after the table was read; firmware that always counts
    0 confirms nothing, so any number goes.
    """
    whole = [layout for layout in layouts if size % layout.size == 0]
    if at_least == at_most == 0:
        return whole
    return [layout for layout in whole if at_least <= size // layout.size <= at_most]


def most_plausible(table: bytes, layouts: Sequence[Layout], *, latest: np.datetime64) -> Layout | None:
    """Which of several layouts makes sense of the records; None where that cannot be told.

    Between the two orders of 8 bytes the usual one wins a draw. An only candidate needs no evidence.
    """
    if len(layouts) < 2:
        return next(iter(layouts), None)
    scores = [_plausibility(layout.records(table), latest) for layout in layouts]
    best = [layout for layout, score in zip(layouts, scores, strict=True) if score == max(scores)]
    return best[0] if len({layout.size for layout in best}) == 1 else None


def _plausibility(records: npt.NDArray[np.void], latest: np.datetime64) -> float:
    """The share of records that could be true: a past date, a named state, somebody who punched."""
    names = records.dtype.names or ()
    plausible = np.ones(len(records), dtype=bool)
    if "time" in names:
        times = decode_times(records["time"])
        plausible &= (times >= EARLIEST_PLAUSIBLE) & (times <= latest)
        plausible &= (records["punch"] <= LAST_NAMED_STATE) | (records["punch"] == UNDEFINED_STATE)
    for who in ("uid", "number"):
        if who in names:
            plausible &= records[who] > 0
    if "user_id" in names:
        plausible &= records["user_id"].astype("S1") > b" "
    return float(plausible.mean())


@lru_cache(maxsize=1)
def _days() -> npt.NDArray[np.datetime64]:
    """The date of each day number a u32 can hold, NaT for those that do not exist."""
    days = np.full(2**32 // DAY_SECONDS + 1, np.datetime64("NaT"), dtype="datetime64[s]")
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        for month in range(1, 13):
            count = calendar.monthrange(year, month)[1]
            first = ((year - FIRST_YEAR) * 12 + month - 1) * 31
            start = np.datetime64(f"{year}-{month:02}-01", "D")
            days[first : first + count] = np.arange(start, start + np.timedelta64(count, "D"))
    return days
