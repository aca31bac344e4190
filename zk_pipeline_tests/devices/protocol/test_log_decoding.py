"""Decoding inverts encoding in every layout; records that cannot be punches are rejected with their bytes."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from __future__ import annotations

import struct
import time
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.devices.protocol import record_layouts
from zk_pipeline.devices.protocol.decode import decode_log, decode_users

Row = tuple[str, datetime, int, int]  # user id, wall clock, verify type, punch state

WALL_CLOCKS = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31, 23, 59, 59)).map(
    lambda moment: moment.replace(microsecond=0)
)
BYTES = st.integers(0, 255)
NUMBERS = st.integers(1, 2**32 - 1).map(str)
TEXTS = st.text("aZ09-_.éш東😀", min_size=1, max_size=6)


def clock_code(moment: datetime) -> int:
    months = (moment.year - 2000) * 12 + moment.month - 1
    return ((months * 31 + moment.day - 1) * 24 + moment.hour) * 3600 + moment.minute * 60 + moment.second


def record_8(uid: int, row: Row) -> bytes:
    return struct.pack("<HBIB", uid, row[2], clock_code(row[1]), row[3])


def record_8_ma300(uid: int, row: Row) -> bytes:
    return struct.pack("<HBBI", uid, row[3] | row[2] << 3, 0, clock_code(row[1]))


def record_16(row: Row) -> bytes:
    return struct.pack("<IIBB2sI", int(row[0]), clock_code(row[1]), row[3], row[2], b"\xaa\xbb", 77)


def record_40(row: Row, *, tail: int = 8) -> bytes:
    return struct.pack(f"<H24sBIB{tail}s", 9, row[0].encode(), row[2], clock_code(row[1]), row[3], b"\xff" * tail)


def rows_of(punches: pd.DataFrame) -> list[Row]:
    return [
        (user_id, moment.to_pydatetime(), verify, state)
        for user_id, moment, verify, state in zip(
            punches["user_id"],
            punches["punched_at_local"],
            punches["verify_type"].tolist(),
            punches["punch_state"].tolist(),
            strict=True,
        )
    ]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(TEXTS, WALL_CLOCKS, BYTES, BYTES)),
    st.sampled_from([(record_layouts.LOG_40, 8), (record_layouts.LOG_49, 17)]),
)
def test_records_with_text_ids_come_back_as_they_were_encoded(
    rows: list[Row], layout: tuple[record_layouts.Layout, int]
) -> None:
    table = b"".join(record_40(row, tail=layout[1]) for row in rows)
    punches, rejected = decode_log(table, layout[0], encoding="UTF-8")
    assert rows_of(punches) == rows
    assert rejected.empty


@settings(max_examples=40)
@given(st.lists(st.tuples(NUMBERS, WALL_CLOCKS, BYTES, BYTES)))
def test_records_of_16_bytes_come_back_as_they_were_encoded(rows: list[Row]) -> None:
    punches, rejected = decode_log(b"".join(map(record_16, rows)), record_layouts.LOG_16, encoding="UTF-8")
    assert rows_of(punches) == rows
    assert punches["work_code"].tolist() == [77] * len(rows)
    assert rejected.empty


def _of_8_bytes(verify_types: int, states: int) -> st.SearchStrategy[list[Row]]:
    ids, kinds = st.sampled_from(["007", "Ö1"]), (st.integers(0, verify_types), st.integers(0, states))
    return st.lists(st.tuples(ids, WALL_CLOCKS, *kinds))


@settings(max_examples=40)
@given(
    st.one_of(
        st.tuples(_of_8_bytes(255, 255), st.just((record_layouts.LOG_8, record_8))),
        st.tuples(_of_8_bytes(3, 7), st.just((record_layouts.LOG_8_MA300, record_8_ma300))),
    )
)
def test_records_of_8_bytes_come_back_with_their_slots(case) -> None:  # type: ignore[no-untyped-def]
    rows, layout = case
    uids = {"007": 1, "Ö1": 65535}
    table = b"".join(layout[1](uids[row[0]], row) for row in rows)
    punches, rejected = decode_log(table, layout[0], encoding="UTF-8")
    named = punches.assign(user_id=punches["uid"].map({uid: user_id for user_id, uid in uids.items()}))
    assert rows_of(named) == rows
    assert b"".join(punches["raw"]) == table
    assert rejected.empty


@settings(max_examples=40)
@given(
    st.binary(max_size=400),
    st.sampled_from([*record_layouts.LOG_LAYOUTS]),
    st.sampled_from(["UTF-8", "GBK", "cp1256"]),
)
def test_any_bytes_are_either_punches_or_rejected(noise: bytes, layout: record_layouts.Layout, encoding: str) -> None:
    table = noise[: len(noise) // layout.size * layout.size]
    punches, rejected = decode_log(table, layout, encoding=encoding)
    assert len(punches) + len(rejected) == len(table) // layout.size
    assert rejected["reason"].map(bool).all()
    for index, raw in zip(rejected["record_index"], rejected["raw"], strict=True):
        assert raw == table[index * layout.size : (index + 1) * layout.size]


@given(st.integers(0, 2**32 - 1))
def test_clock_codes_are_dates_exactly_when_the_calendar_has_them(code: int) -> None:
    months, day = divmod(code // 86400, 31)
    second = code % 86400
    try:
        expected = datetime(
            2000 + months // 12, months % 12 + 1, day + 1, second // 3600, second // 60 % 60, second % 60
        )
    except ValueError:
        expected = None
    if expected is not None and expected.year > 2099:
        expected = None
    assert record_layouts.decode_time(code) == expected
    if expected is not None:
        assert record_layouts.encode_time(expected) == code


RECORDS = {  # of real terminals: user id, wall clock, `status`, state, verification, work code
    "090200006ca422320001000000000000": (record_layouts.LOG_16, ("521", datetime(2026, 3, 2, 7, 31, 56), 0, 0, 1, 0)),
    "09020000a51523320100000007000000": (record_layouts.LOG_16, ("521", datetime(2026, 3, 2, 15, 35, 1), 1, 1, 0, 7)),
    "070028006ca42232": (record_layouts.LOG_8_MA300, (None, datetime(2026, 3, 2, 7, 31, 56), 0x28, 0, 1, None)),
    "07002900a5152332": (record_layouts.LOG_8_MA300, (None, datetime(2026, 3, 2, 15, 35, 1), 0x29, 1, 1, None)),
    "07000800801b2332": (record_layouts.LOG_8_MA300, (None, datetime(2026, 3, 2, 16, 0), 0x08, 0, 1, None)),
}


@pytest.mark.parametrize("record", RECORDS)
def test_state_and_verification_of_a_known_record_are_what_its_terminal_showed(record: str) -> None:
    layout, (user_id, moment, status, state, verify_type, work_code) = RECORDS[record]
    punches, rejected = decode_log(bytes.fromhex(record), layout, encoding="UTF-8")
    assert rejected.empty
    (row,) = punches.to_dict("records")
    assert (row["user_id"], row["punched_at_local"]) == (user_id, moment)
    assert (None if pd.isna(row["uid"]) else row["uid"]) == (7 if user_id is None else None)
    assert (row["status"], row["punch_state"], row["verify_type"]) == (status, state, verify_type)
    assert (None if pd.isna(row["work_code"]) else row["work_code"]) == work_code


NOON = datetime(2026, 2, 28, 12, 0)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (record_40(("", NOON, 1, 0)), "the user id is empty or no text"),
        (record_40(("a\nb", NOON, 1, 0)), "the user id is empty or no text"),
        (bytes(40), "the user id is empty or no text"),
        (b"\xff" * 40, "impossible date 2133-08-18 06:28:15; the user id is empty or no text"),
        (record_40(("1", NOON, 1, 0))[:27] + bytes(4) + bytes(9), None),
    ],
    ids=["empty", "control-character", "zeros", "FF", "clock-at-2000"],
)
def test_a_record_of_40_bytes_is_rejected_with_its_reason(record: bytes, reason: str | None) -> None:
    good = record_40(("1", NOON, 1, 0))
    punches, rejected = decode_log(good + record + good, record_layouts.LOG_40, encoding="UTF-8")
    assert rejected["reason"].tolist() == ([reason] if reason else [])
    assert len(punches) == (2 if reason else 3)


def test_a_uid_is_never_taken_for_a_user_id() -> None:
    record = record_8(5, ("", NOON, 1, 0))
    punches, rejected = decode_log(record, record_layouts.LOG_8, encoding="UTF-8")
    assert punches[["user_id", "uid", "raw"]].to_numpy().tolist() == [[None, 5, record]]
    assert rejected.empty


def test_user_id_0_of_16_bytes_is_rejected() -> None:
    _, rejected = decode_log(record_16(("0", NOON, 1, 0)), record_layouts.LOG_16, encoding="UTF-8")
    assert rejected["reason"].tolist() == ["the user id is 0"]


def test_what_follows_the_end_of_a_text_is_ignored() -> None:
    record = bytearray(record_40(("EMP1", NOON, 1, 0)))
    record[10:26] = b"left from before"
    punches, _ = decode_log(bytes(record), record_layouts.LOG_40, encoding="UTF-8")
    assert punches["user_id"].tolist() == ["EMP1"]


@pytest.mark.parametrize(("encoding", "name"), [("GBK", "王小明"), ("cp1256", "أحمد"), ("UTF-8", "Şule")])
def test_names_are_in_the_encoding_of_the_device(encoding: str, name: str) -> None:
    record = struct.pack("<HB8s24sIB8x24s", 3, 14, b"secret", name.encode(encoding), 99, 1, b"EMP3")
    decoded = decode_users(record, record_layouts.USER_72, encoding=encoding)
    assert decoded.to_dict("records") == [{"user_id": "EMP3", "uid": 3, "name": name, "privilege": 14, "card": 99}]


def test_a_name_cut_inside_a_character_ends_before_it() -> None:
    record = struct.pack("<HB5s8sIxBhI", 3, 0, b"", "Müllerß".encode()[:8], 0, 1, 0, 42)
    assert decode_users(record, record_layouts.USER_28, encoding="UTF-8")["name"].tolist() == ["Müller"]


@pytest.mark.parametrize(
    ("name", "read"), [("André", "Andr\ufffd"), ("Andréa", "Andr\ufffda"), ("Müller", "M\ufffdller")]
)
def test_a_name_in_another_encoding_shows_that_it_is_one(name: str, read: str) -> None:
    record = struct.pack("<HB8s24sIB8x24s", 3, 0, b"", name.encode("cp1252"), 0, 1, b"EMP3")
    assert decode_users(record, record_layouts.USER_72, encoding="UTF-8")["name"].tolist() == [read]


def test_a_user_without_a_user_id_is_left_out() -> None:
    without_id = struct.pack("<HB8s24sIB8x24s", 3, 0, b"", b"No id", 0, 1, b"")
    assert decode_users(without_id, record_layouts.USER_72, encoding="UTF-8").empty


def test_100_000_records_decode_in_a_fraction_of_a_second() -> None:
    """pyzk needs 24 s of CPU time for these; the limit allows for a loaded machine."""
    rng = np.random.default_rng(1)
    rows = [(f"EMP{rng.integers(3000)}", NOON, 1, 0) for _ in range(1000)]
    table = b"".join(map(record_40, rows)) * 100
    cpu = []
    for _ in range(3):
        started = time.thread_time()
        punches, _ = decode_log(table, record_layouts.LOG_40, encoding="UTF-8")
        cpu.append(time.thread_time() - started)
    assert len(punches) == 100_000
    assert min(cpu) < 0.1
