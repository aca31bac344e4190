"""Frames as sent by real terminals: captures published in pyzk's tests and issues."""

from __future__ import annotations

import pytest

from zk_pipeline.devices.protocol.frames import (
    NUMPY_CHECKSUM_BYTES,
    Command,
    Frame,
    frame_length,
    is_checksum_valid,
    parse_frame,
    scramble_comm_key,
    tcp_header,
)

CAPTURES = {
    "connected": "5050827d08000000d007fffc2ffb0000",
    "asks-for-the-comm-key": "5050827d08000000d5075bb2cf450000",
    "odd-length": "5050827d09000000d007babb5c3c100009",
    "announces-a-table": "5050827d15000000d007a7625c3c150000b4130000b4130000cdef2300",
    "announces-a-part": "5050827d10000000dc050da65c3c1600b4130000f0030000",
    "sixth-data-packet": "5050827d0c000000dd0507fa0500160000000000",
    "end-of-a-part": "5050827d08000000d007fcf701003200",
}


@pytest.mark.parametrize("name", CAPTURES)
def test_captured_frames_are_whole_and_add_up(name: str) -> None:
    capture = bytes.fromhex(CAPTURES[name])
    packet = capture[8:]
    assert frame_length(capture[:8]) == len(packet)
    assert capture[:8] == tcp_header(len(packet))
    assert is_checksum_valid(packet)


@pytest.mark.parametrize("name", CAPTURES)
def test_any_flipped_bit_breaks_the_checksum(name: str) -> None:
    packet = bytes.fromhex(CAPTURES[name])[8:]
    for bit in range(len(packet) * 8):
        flipped = bytearray(packet)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not is_checksum_valid(flipped)


@pytest.mark.parametrize(
    "size", [NUMPY_CHECKSUM_BYTES - 1, NUMPY_CHECKSUM_BYTES, NUMPY_CHECKSUM_BYTES + 1, 65_000, 65_001]
)
def test_a_large_packet_adds_up_like_a_small_one(size: int) -> None:
    packet = bytearray(number * 7 % 251 for number in range(size))
    packet[2:4] = bytes(2)
    packet[2:4] = (-int.from_bytes(packet, "little") % 0xFFFF).to_bytes(2, "little")
    assert is_checksum_valid(packet)
    for place in (0, 3, size // 2, size - 1):
        packet[place] ^= 4
        assert not is_checksum_valid(packet)
        packet[place] ^= 4


def test_data_packets_carry_their_number_in_the_place_of_the_session() -> None:
    packet = bytes.fromhex(CAPTURES["sixth-data-packet"])[8:]
    assert parse_frame(packet) == Frame(Command.DATA, 5, 22, bytes(4))


def test_other_bytes_are_no_top() -> None:
    assert frame_length(b"SSH-2.0-") is None


@pytest.mark.parametrize(("key", "scrambled"), [(12, "614d323c"), (45, "61c9323c")])
def test_comm_keys_are_scrambled_as_in_accepted_captures(key: int, scrambled: str) -> None:
    assert scramble_comm_key(key, 0x45CF).hex() == scrambled


def test_a_comm_key_whose_sum_overflows_wraps_around() -> None:
    assert len(scramble_comm_key(131071, 0xFFFF)) == 4
    assert len(scramble_comm_key(2**32 - 1, 0xFFFF)) == 4
