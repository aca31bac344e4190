"""Encode users and punches in the record layouts of a terminal's memory.

Field positions: zk-protocol (adrobinoga) for 40- and 72-byte records, the maker's 2006 manual for the others: its
16-byte records have the state before the verification, and its compressed form of 8 bytes (MA300, ZEM500) has both in
bits.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.simulator.terminal.protocol import encode_time

Layout = Literal[8, 16, 40]
UserRecordSize = Literal[28, 72]

# Columns of a log as a frame: str, datetime64[s] (naive, the terminal's wall clock), uint8, uint8.
PUNCH_COLUMNS = ["user_id", "punched_at_local", "verify_type", "punch_state"]

_DTYPES: dict[Layout, np.dtype[Any]] = {
    8: np.dtype([("uid", "<u2"), ("verify_type", "u1"), ("time", "<u4"), ("punch_state", "u1")]),
    16: np.dtype(
        [
            ("user_id", "<u4"),
            ("time", "<u4"),
            ("punch_state", "u1"),
            ("verify_type", "u1"),
            ("reserved", "V2"),
            ("work_code", "<u4"),
        ]
    ),
    40: np.dtype(
        [
            ("uid", "<u2"),
            ("user_id", "S24"),
            ("verify_type", "u1"),
            ("time", "<u4"),
            ("punch_state", "u1"),
            ("reserved", "V8"),
        ]
    ),
}
_DTYPE_MA300 = np.dtype([("uid", "<u2"), ("bits", "u1"), ("reserved", "u1"), ("time", "<u4")])
_FULL_TIME = 1 << 5  # bits 0-2 state, 3-4 verification
_RESERVED_40 = b"\0\0\0\0\xff\0\0\0"
_USER_28 = struct.Struct("<HB5s8sIxBhI")
_USER_72 = struct.Struct("<HB8s24sIB8x24s")
_MONTHS_1970_TO_2000 = 360


@dataclass(frozen=True)
class Punch:
    """One punch as recorded by a terminal, with its own wall clock. Only 16-byte records have a work code."""

    user_id: str
    punched_at_local: datetime
    verify_type: int = 1
    punch_state: int = 0
    work_code: int = 0


@dataclass(frozen=True, kw_only=True)
class TerminalUser:
    """A user enrolled at one terminal; `uid` is the terminal's own number of the user (slot), 1 to 65535."""

    uid: int
    user_id: str
    name: str = ""
    privilege: int = 0
    card: int = 0


def check_user_id(user_id: str, layout: Layout) -> None:
    """Raises ValueError for a user id that this layout cannot encode: only 40-byte records have text."""
    if layout == 40:
        if not (user_id.isascii() and user_id.isprintable() and 0 < len(user_id) <= 23):
            raise ValueError(f"user id {user_id!r} is not 1 to 23 printable ASCII characters")
    elif not (user_id.isascii() and user_id.isdecimal() and str(int(user_id)) == user_id and int(user_id) < 2**32):
        problem = f"user id {user_id!r} is not a number below 2**32 without leading zeros: {layout}-byte layout"
        raise ValueError(problem)


def encode_user(user: TerminalUser, size: UserRecordSize, encoding: str = "utf-8") -> bytes:
    """One user record without password; a name that is too long is truncated at a whole character."""
    if size == 28:
        name = _truncate(user.name, 8, encoding)
        return _USER_28.pack(user.uid, user.privilege, b"", name, user.card, 1, 0, int(user.user_id))
    name = _truncate(user.name, 23, encoding)  # the last of the 24 bytes terminates the string
    return _USER_72.pack(user.uid, user.privilege, b"", name, user.card, 1, user.user_id.encode("ascii"))


def encode_punch(punch: Punch, layout: Layout, uid: int, *, is_ma300: bool = False) -> bytes:
    """One record of the log. Raises ValueError for values too large for the bit field of MA300 records."""
    time, verify, state = encode_time(punch.punched_at_local), punch.verify_type, punch.punch_state
    if layout == 8 and is_ma300:
        _check_bit_field(verify, state)
        return struct.pack("<HBBI", uid, state | verify << 3 | _FULL_TIME, 0, time)
    if layout == 8:
        return struct.pack("<HBIB", uid, verify, time, state)
    if layout == 16:
        return struct.pack("<IIBBHI", int(punch.user_id), time, state, verify, 0, punch.work_code)
    return struct.pack("<H24sBIB8s", uid, punch.user_id.encode("ascii"), verify, time, state, _RESERVED_40)


def encode_punches(punches: pd.DataFrame, layout: Layout, uids: Mapping[str, int], *, is_ma300: bool = False) -> bytes:
    """A log in the order of its rows, columns PUNCH_COLUMNS.

    Raises KeyError for a user without a uid, ValueError as `encode_punch` does.
    """
    verify, state = punches["verify_type"].to_numpy("u1"), punches["punch_state"].to_numpy("u1")
    records = np.zeros(len(punches), _DTYPE_MA300 if is_ma300 else _DTYPES[layout])
    records["time"] = _encode_times(punches["punched_at_local"].to_numpy("datetime64[s]"))
    if is_ma300:
        _check_bit_field(int(verify.max(initial=0)), int(state.max(initial=0)))
        records["bits"] = state | verify << 3 | _FULL_TIME
    else:
        records["verify_type"], records["punch_state"] = verify, state
    codes, user_ids = pd.factorize(punches["user_id"])
    if layout != 16:
        records["uid"] = np.array([uids[user_id] for user_id in user_ids], "<u2")[codes]
    if layout == 16:
        records["user_id"] = np.array([int(user_id) for user_id in user_ids], "<u4")[codes]
    elif layout == 40:
        records["user_id"] = np.array([user_id.encode("ascii") for user_id in user_ids], "S24")[codes]
        records["reserved"] = np.void(_RESERVED_40)
    return records.tobytes()


def _check_bit_field(verify_type: int, punch_state: int) -> None:
    if verify_type > 3 or punch_state > 7:
        raise ValueError(f"verify type {verify_type} or state {punch_state} does not fit the bit field of MA300")


def punches_frame(rows: Iterable[tuple[str, datetime, int, int]]) -> pd.DataFrame:
    """A frame with the columns PUNCH_COLUMNS and their dtypes, from rows."""
    types: dict[str, Any] = {
        "user_id": object,
        "punched_at_local": "datetime64[s]",
        "verify_type": "uint8",
        "punch_state": "uint8",
    }
    frame: pd.DataFrame = pd.DataFrame(rows, columns=PUNCH_COLUMNS).astype(types)
    return frame


def concat_punches(frames: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else punches_frame([])


def _encode_times(wall_clocks_local: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    days = wall_clocks_local.astype("datetime64[D]")
    months = wall_clocks_local.astype("datetime64[M]")
    month_number = months.astype(np.int64) - _MONTHS_1970_TO_2000
    day_of_month = (days - months.astype("datetime64[D]")).astype(np.int64)
    second_of_day = (wall_clocks_local - days).astype("timedelta64[s]").astype(np.int64)
    encoded: npt.NDArray[np.int64] = (month_number * 31 + day_of_month) * 86_400 + second_of_day
    return encoded


def _truncate(text: str, size: int, encoding: str) -> bytes:
    while len(encoded := text.encode(encoding)) > size:
        text = text[:-1]
    return encoded
