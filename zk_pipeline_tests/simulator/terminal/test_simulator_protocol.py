"""Frames, checksum, time encoding and comm key against published vectors and against pyzk."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zk.base import make_commkey

from zk_pipeline.simulator.terminal.protocol import (
    Frame,
    FrameError,
    checksum,
    decode_time,
    encode_time,
    scramble_comm_key,
)
from zk_pipeline_tests.simulator.raw_terminal_client import ones_complement

u16 = st.integers(0, 0xFFFF)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [("0b000000f38d03005a4b4661636556657273696f6e00", 0x175A), ("d0070000f38d0a0009", 0x6A29)],
)
def test_the_checksum_is_that_of_captured_packets(payload: str, expected: int) -> None:
    assert checksum(bytes.fromhex(payload)) == expected


@given(st.integers(1, 0xFFFF), u16, u16, st.binary(max_size=64))
def test_a_frame_survives_the_wire_and_its_checksum_is_the_plain_one(
    command: int, session: int, number: int, data: bytes
) -> None:
    frame = Frame(command, session, number, data)
    packet = frame.encode()
    assert Frame.decode(packet) == frame
    assert int.from_bytes(packet[2:4], "little") == ones_complement(packet[:2] + b"\0\0" + packet[4:])


@given(st.binary(max_size=40), st.integers(0, 47), st.integers(1, 255))
def test_a_frame_with_one_changed_byte_is_refused(data: bytes, position: int, change: int) -> None:
    packet = bytearray(Frame(1000, 4, 5, data).encode())
    packet[position % len(packet)] ^= change
    with pytest.raises(FrameError):
        Frame.decode(bytes(packet))


def test_a_frame_shorter_than_its_header_is_refused() -> None:
    with pytest.raises(FrameError):
        Frame.decode(b"\0" * 7)


def test_the_clock_is_encoded_with_months_of_31_days() -> None:
    assert encode_time(datetime.fromisoformat("2000-01-01T00:00:00")) == 0
    assert encode_time(datetime.fromisoformat("2016-02-29T23:59:58")) == ((16 * 12 + 1) * 31 + 28) * 86_400 + 86_398
    with pytest.raises(ValueError, match="day"):
        decode_time(encode_time(datetime.fromisoformat("2026-01-31T00:00:00")) + 31 * 86_400)


@given(st.datetimes(datetime.fromisoformat("2000-01-01T00:00:00"), datetime.fromisoformat("2133-01-01T00:00:00")))
def test_every_second_until_2133_comes_back(at: datetime) -> None:
    assert decode_time(encode_time(at)) == at.replace(microsecond=0)


@given(st.integers(0, 0xFFFF), st.integers(0, 0x7FFF), st.integers(0, 255))
def test_the_comm_key_is_scrambled_as_clients_do(key: int, session: int, ticks: int) -> None:
    assert scramble_comm_key(key, session, ticks) == make_commkey(key, session, ticks)


def test_comm_keys_that_overflow_32_bits_with_the_session_id_wrap_around() -> None:
    # 131071 mirrored is FFFF8000; with session 8000 the sum is 1_0000_0000, truncated to 0 by the terminal.
    assert scramble_comm_key(131_071, 0x8000, 50) == bytes((0x53 ^ 50, 0x4F ^ 50, 50, 0x4B ^ 50))
