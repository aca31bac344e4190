"""Layout of a table, told by its size, the terminal's counter, and evidence in its records.

Size and counter only say which layouts are possible; none of these is taken without evidence. A record is evidence with
two of the following signs, provided that its date exists and that it names somebody:

- a user id of printable ASCII counts twice (random bytes have one in 1 of 400 cases), a user number of up to nine
  digits with a work code of up to eight once (1 of 180); a terminal's own number of the user proves nothing,
- a date from 2005, since clocks that lost their time say 2000, up to the terminal's own clock (1 of 6),
- a state with a name (1 of 40).

So 40-, 49- and 16-byte records are told even where the clock was reset, 8-byte ones only by a right clock. An entry of
a user list needs two signs likewise: its user id or number as above, and a privilege that exists (1 of 16).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from zk_pipeline.devices.protocol.record_layouts import Layout, decode_times

EARLIEST_PLAUSIBLE = np.datetime64("2005-01-01", "s")
UNDEFINED_STATE = 255
LAST_NAMED_STATE = 5
LAST_PRIVILEGE = 15
LARGEST_NUMBER, LARGEST_WORK_CODE = 999_999_999, 99_999_999  # that the keys of these terminals can enter
# The newest records are written by the clock as it is now, whatever it was before. Erased memory says nothing.
NEWEST_RECORDS = 5
ERASED = (0x00, 0xFF)
SIGNS_NEEDED = 2
SIGNS_NEEDED_BY_KNOWN = 1

_ASCII_ID = re.compile(rb"[ -~]*[!-~][ -~]*")
_TEXT = re.compile(rb"[^\0-\x1f\x7f]*")

_Signs = npt.NDArray[np.int64]


def guess_layout(size: int, layouts: Sequence[Layout], *, at_least: int, at_most: int) -> list[Layout]:
    """The layouts that make `size` bytes a whole number of records, one that the terminal's counter confirms.

    `at_least` and `at_most` are the counter before and after the table was read; firmware that always counts
    0 confirms nothing, so any number goes.
    """
    whole = [layout for layout in layouts if size % layout.size == 0]
    if at_least == at_most == 0:
        return whole
    return [layout for layout in whole if at_least <= size // layout.size <= at_most]


def log_layout(
    table: bytes, candidates: Sequence[Layout], *, latest: np.datetime64, known: str | None
) -> Layout | None:
    """The candidate that most of the newest records are evidence for; None where there is none or several.

    `latest` is the last date that a punch can have, by the terminal's clock. `known`, a name in LOG_LAYOUTS, is the
    layout of an earlier reading: it is taken where no other is proven, if its records have one sign at least, even with
    dates that do not exist.
    """

    def signs(layout: Layout) -> _Signs:
        records = _newest(layout, table)
        counted = _log_signs(layout, records, latest)
        counted[np.isnat(decode_times(records["time"]))] = 0
        return counted

    def signs_of_known(layout: Layout) -> _Signs:
        return _log_signs(layout, _newest(layout, table), latest)

    earlier = [layout for layout in candidates if layout.name == known]
    return _proven(candidates, signs, SIGNS_NEEDED) or _proven(earlier, signs_of_known, SIGNS_NEEDED_BY_KNOWN)


def user_layout(table: bytes, candidates: Sequence[Layout]) -> Layout | None:
    """The candidate that most entries of a user list are evidence for; None where there is none or several."""
    return _proven(candidates, lambda layout: _user_signs(layout.records(table)), SIGNS_NEEDED)


def _proven(candidates: Sequence[Layout], signs: Callable[[Layout], _Signs], needed: int) -> Layout | None:
    shares = [_share(signs(layout) >= needed) for layout in candidates]
    best = max(shares, default=0.0)
    if best <= 0.5 or shares.count(best) > 1:
        return None
    return candidates[shares.index(best)]


def _share(is_evidence: npt.NDArray[np.bool_]) -> float:
    return float(is_evidence.mean()) if len(is_evidence) else 0.0


def _newest(layout: Layout, table: bytes) -> npt.NDArray[np.void]:
    memory = np.frombuffer(table, np.uint8).reshape(-1, layout.size)
    is_written = ~np.logical_or.reduce([(memory == byte).all(axis=1) for byte in ERASED])
    return layout.records(table)[np.flatnonzero(is_written)[-NEWEST_RECORDS:]]


def _log_signs(layout: Layout, records: npt.NDArray[np.void], latest: np.datetime64) -> _Signs:
    times = decode_times(records["time"])
    is_somebody, signs = _who(records)
    signs += (times >= EARLIEST_PLAUSIBLE) & (times <= latest)
    signs += _has_named_state(layout, records)
    signs[~is_somebody] = 0
    return signs


def _user_signs(entries: npt.NDArray[np.void]) -> _Signs:
    is_somebody, signs = _who(entries)
    signs += entries["privilege"] <= LAST_PRIVILEGE
    is_somebody &= entries["uid"] > 0
    is_somebody &= _match(_TEXT, _texts(entries["name"]))
    signs[~is_somebody] = 0
    return signs


def _who(records: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.bool_], _Signs]:
    """Which records name somebody, and the signs in that."""
    fields = records.dtype.names or ()
    if "user_id" in fields:
        texts = _texts(records["user_id"])
        is_filled = np.array([bool(text.strip()) for text in texts], dtype=bool)
        return is_filled & _match(_TEXT, texts), 2 * _match(_ASCII_ID, texts).astype(np.int64)
    if "number" in fields:
        is_small = records["number"] <= LARGEST_NUMBER
        if "work_code" in fields:
            is_small &= records["work_code"] <= LARGEST_WORK_CODE
        return records["number"] > 0, is_small.astype(np.int64)
    return records["uid"] > 0, np.zeros(len(records), dtype=np.int64)


def _has_named_state(layout: Layout, records: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    if not layout.has_bit_field:
        return _is_named(records["state"])
    return (layout.states(records) <= LAST_NAMED_STATE) & (records["status"] < 1 << 6) & _is_named(records["rest"])


def _is_named(states: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return (states <= LAST_NAMED_STATE) | (states == UNDEFINED_STATE)


def _texts(column: npt.NDArray[np.bytes_]) -> list[bytes]:
    return [raw.split(b"\0", 1)[0] for raw in column.tolist()]


def _match(pattern: re.Pattern[bytes], texts: list[bytes]) -> npt.NDArray[np.bool_]:
    return np.array([pattern.fullmatch(text) is not None for text in texts], dtype=bool)
