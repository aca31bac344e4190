"""Detection of a table's record layout from its size, the terminal's counter, and evidence in its records.

Size and counter determine the possible layouts; none is chosen without evidence. A record is evidence with two of the
following signs, provided that its date exists and that it names a user:

- a user id of printable ASCII counts twice (random bytes have one in 1 of 400 cases), a user number of up to nine
  digits with a work code of up to eight once (1 of 180); a terminal's own number of the user proves nothing,
- a date from 2005, since clocks that lost their time show 2000, up to the terminal's own clock (1 of 6),
- a state with a name (1 of 40).

So 40-, 49- and 16-byte records are detected even after a reset of the clock, 8-byte ones only with a right clock. An
entry of a user list also needs two signs: its user id or number as above, and an existing privilege (1 of 16).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from zk_pipeline.devices.protocol.record_layouts import Layout, decode_times

EARLIEST_PLAUSIBLE = np.datetime64("2005-01-01", "s")
UNDEFINED_STATE = 255
MAX_NAMED_STATE = 5
MAX_PRIVILEGE = 15
MAX_USER_NUMBER, MAX_WORK_CODE = 999_999_999, 99_999_999  # the largest that can be entered at these terminals
# The newest records have the time of the current clock setting. Erased memory is no evidence.
NEWEST_RECORDS = 5
ERASED = (0x00, 0xFF)
SIGNS_NEEDED = 2
SIGNS_NEEDED_BY_KNOWN = 1

_ASCII_ID = re.compile(rb"[ -~]*[!-~][ -~]*")
_TEXT = re.compile(rb"[^\0-\x1f\x7f]*")

_Signs = npt.NDArray[np.int64]


def possible_layouts(size: int, layouts: Sequence[Layout], *, at_least: int, at_most: int) -> list[Layout]:
    """The layouts in which `size` bytes are a whole number of records that the terminal's counter confirms.

    `at_least` and `at_most` are the counter before and after the table was read; firmware that always counts 0 confirms
    nothing, so any number is possible.
    """
    whole = [layout for layout in layouts if size % layout.size == 0]
    if at_least == at_most == 0:
        return whole
    return [layout for layout in whole if at_least <= size // layout.size <= at_most]


def detect_log_layout(
    table: bytes, candidates: Sequence[Layout], *, latest: np.datetime64, known: str | None
) -> Layout | None:
    """The candidate supported by most of the newest records; None if there is none or more than one.

    `latest` is the last possible date of a punch, by the terminal's clock. `known`, a name in LOG_LAYOUTS, is the
    layout of an earlier reading: it is chosen if no other is proven and its records have at least one sign, even with
    impossible dates.
    """

    def signs(layout: Layout) -> _Signs:
        records = _newest(layout, table)
        counts = _log_signs(layout, records, latest)
        counts[np.isnat(decode_times(records["time"]))] = 0
        return counts

    def signs_of_known(layout: Layout) -> _Signs:
        return _log_signs(layout, _newest(layout, table), latest)

    earlier = [layout for layout in candidates if layout.name == known]
    return _proven(candidates, signs, SIGNS_NEEDED) or _proven(earlier, signs_of_known, SIGNS_NEEDED_BY_KNOWN)


def detect_user_layout(table: bytes, candidates: Sequence[Layout]) -> Layout | None:
    """The candidate supported by most entries of a user list; None if there is none or more than one."""
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
    names_user, signs = _user_field_signs(records)
    signs += (times >= EARLIEST_PLAUSIBLE) & (times <= latest)
    signs += _has_named_state(layout, records)
    signs[~names_user] = 0
    return signs


def _user_signs(entries: npt.NDArray[np.void]) -> _Signs:
    names_user, signs = _user_field_signs(entries)
    signs += entries["privilege"] <= MAX_PRIVILEGE
    names_user &= entries["uid"] > 0
    names_user &= _match(_TEXT, _texts(entries["name"]))
    signs[~names_user] = 0
    return signs


def _user_field_signs(records: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.bool_], _Signs]:
    """Mask of the records that name a user, and the number of signs in their user field."""
    fields = records.dtype.names or ()
    if "user_id" in fields:
        texts = _texts(records["user_id"])
        is_filled = np.array([bool(text.strip()) for text in texts], dtype=bool)
        return is_filled & _match(_TEXT, texts), 2 * _match(_ASCII_ID, texts).astype(np.int64)
    if "number" in fields:
        is_small = records["number"] <= MAX_USER_NUMBER
        if "work_code" in fields:
            is_small &= records["work_code"] <= MAX_WORK_CODE
        return records["number"] > 0, is_small.astype(np.int64)
    return records["uid"] > 0, np.zeros(len(records), dtype=np.int64)


def _has_named_state(layout: Layout, records: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    if not layout.has_bit_field:
        return _is_named(records["state"])
    return (layout.states(records) <= MAX_NAMED_STATE) & (records["status"] < 1 << 6) & _is_named(records["rest"])


def _is_named(states: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return (states <= MAX_NAMED_STATE) | (states == UNDEFINED_STATE)


def _texts(column: npt.NDArray[np.bytes_]) -> list[bytes]:
    return [raw.split(b"\0", 1)[0] for raw in column.tolist()]


def _match(pattern: re.Pattern[bytes], texts: list[bytes]) -> npt.NDArray[np.bool_]:
    return np.array([pattern.fullmatch(text) is not None for text in texts], dtype=bool)
