"""Live events of every known size are decoded as punches, other data is not."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from __future__ import annotations

import struct
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zk_pipeline.devices.protocol.events import EventRecord, parse_event, split_events

WHEN = datetime(2026, 3, 2, 8, 15, 30)
KIND_AND_DATE = bytes([15, 1, 26, 3, 2, 8, 15, 30])
TEXT = b"EMP-7".ljust(24, b"\0")

SIZES: dict[int, tuple[bytes, str | None, int | None]] = {
    10: (struct.pack("<H", 777) + KIND_AND_DATE, None, 777),
    12: (struct.pack("<I", 1140064) + KIND_AND_DATE, "1140064", None),
    14: (struct.pack("<H", 777) + KIND_AND_DATE + b"\1\2\3\4", None, 777),
    32: (TEXT + KIND_AND_DATE, "EMP-7", None),
    36: (TEXT + KIND_AND_DATE + bytes(4), "EMP-7", None),
    37: (TEXT + KIND_AND_DATE + b"\xff" * 5, "EMP-7", None),
    52: (TEXT + KIND_AND_DATE + bytes(20), "EMP-7", None),
}


@pytest.mark.parametrize("size", SIZES)
def test_events_of_every_known_size_are_read(size: int) -> None:
    raw, user_id, uid = SIZES[size]
    assert len(raw) == size
    assert parse_event(raw, "UTF-8") == EventRecord(
        user_id=user_id, uid=uid, verify_type=15, punch_state=1, punched_at_local=WHEN
    )


def test_a_captured_event_is_read() -> None:
    """From kurenai-ryu/pyzk issue #8, a QF-001 with firmware 6.60."""
    raw = bytes.fromhex("3131343030363400000000000000000000000000000000000f00120b1d0c3703")
    assert parse_event(raw, "UTF-8") == EventRecord(
        user_id="1140064", uid=None, verify_type=15, punch_state=0, punched_at_local=datetime(2018, 11, 29, 12, 55, 3)
    )


def test_an_impossible_date_is_none() -> None:
    record = parse_event(TEXT + bytes([1, 0, 26, 2, 31, 8, 0, 0]), "UTF-8")
    assert record is not None
    assert (record.user_id, record.punched_at_local) == ("EMP-7", None)


@pytest.mark.parametrize("who", [bytes(24), b"\xff" * 24, b" ".ljust(24, b"\0")])
def test_a_user_id_that_is_empty_or_no_text_is_none(who: bytes) -> None:
    record = parse_event(who + KIND_AND_DATE, "UTF-8")
    assert record is not None
    assert (record.user_id, record.uid) == (None, None)


def test_the_number_0_is_nobody() -> None:
    record = parse_event(bytes(4) + KIND_AND_DATE, "UTF-8")
    assert record is not None
    assert (record.user_id, record.uid) == (None, None)


def test_several_events_in_one_frame_are_split() -> None:
    raw = SIZES[52][0]
    assert split_events(raw * 3) == [raw] * 3


@given(st.binary(max_size=120))
def test_no_bytes_break_the_reading_of_events(data: bytes) -> None:
    pieces = split_events(data)
    assert b"".join(pieces) == data
    for piece in pieces:
        record = parse_event(piece, "UTF-8")
        assert (record is not None) == (len(piece) in SIZES)
