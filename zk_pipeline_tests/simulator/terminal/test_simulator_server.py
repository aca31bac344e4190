"""Protocol sessions of an emulated terminal, seen by a client that shares no code with the simulator."""

from __future__ import annotations

import socket
import struct
from datetime import datetime

import pytest

from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.records import Layout
from zk_pipeline.simulator.terminal.terminal import TerminalLockedError
from zk_pipeline_tests.simulator import raw_terminal_client as raw
from zk_pipeline_tests.simulator.raw_terminal_client import RawClient
from zk_pipeline_tests.simulator.small_terminal import small_terminal

transports = pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])


def test_connect_over_tcp_has_the_documented_bytes() -> None:
    with (
        Fleet.serve([small_terminal()]) as fleet,
        socket.create_connection(("127.0.0.1", fleet.port_of("gate")), 5) as client,
    ):
        client.sendall(bytes.fromhex("5050827d 08000000 e803 17fc 0000 0000"))
        answer = client.recv(64)
    assert answer == bytes.fromhex("5050827d 08000000 d007 2fe8 0010 0000")


def test_connect_over_udp_is_the_same_without_the_tcp_top() -> None:
    with Fleet.serve([small_terminal()]) as fleet, RawClient(fleet.port_of("gate"), udp=True) as client:
        client.socket.sendall(bytes.fromhex("e803 17fc 0000 0000"))
        assert client.socket.recv(64) == bytes.fromhex("d007 2fe8 0010 0000")


@transports
def test_a_session_is_opened_used_and_ended(udp: bool) -> None:
    with Fleet.serve([small_terminal()]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        assert client.connect().command == raw.OK
        assert client.session != 0
        reply = client.request(raw.VERSION)
        assert reply == (raw.OK, client.session, 1, b"Ver 6.60 Apr 28 2017\0")
        assert client.request(raw.EXIT).command == raw.OK
        assert client.request(raw.VERSION).command == raw.UNAUTHORISED


@transports
def test_the_right_comm_key_opens_and_a_wrong_one_does_not(udp: bool) -> None:
    # Scrambled by hand: 12345 mirrored is 9C0C0000; session 1000 added, ZKSO, halves swapped, ticks 50.
    right = bytes.fromhex("6de13269")
    terminal = small_terminal(comm_key=12_345)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        assert client.connect() == (raw.UNAUTHORISED, 0x1000, 0, b"")
        assert client.request(raw.VERSION).command == raw.UNAUTHORISED
        assert client.request(raw.AUTH, b"\0\0\x32\0").command == raw.UNAUTHORISED
        assert client.request(raw.AUTH, b"").command == raw.UNAUTHORISED
        assert client.request(raw.VERSION).command == raw.UNAUTHORISED
        assert client.request(raw.AUTH, right).command == raw.OK
        assert client.request(raw.VERSION).command == raw.OK


@transports
def test_options_are_read_by_name(udp: bool) -> None:
    emulated = small_terminal(serial_number="CEXA230760001")
    with Fleet.serve([emulated]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        assert client.request(raw.OPTION, b"~SerialNumber\0").data == b"~SerialNumber=CEXA230760001\0"
        assert client.request(raw.OPTION, b"MAC\0").data == b"MAC=00:17:61:10:00:01\0"
        assert client.request(raw.OPTION, b"~NoSuchThing\0").command == raw.ERROR


def test_options_are_written_but_not_those_of_the_factory() -> None:
    with Fleet.serve([small_terminal()]) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.connect()
        assert client.request(raw.SET_OPTION, b"SDKBuild=1\0").command == raw.OK
        assert client.request(raw.OPTION, b"SDKBuild\0").data == b"SDKBuild=1\0"
        assert client.request(raw.SET_OPTION, b"~SerialNumber=X\0").command == raw.ERROR
        assert client.request(raw.SET_OPTION, b"nonsense\0").command == raw.ERROR


@pytest.mark.parametrize(("layout", "size"), [(8, 80), (40, 92)])
def test_counters_stand_where_they_are_documented(layout: Layout, size: int) -> None:
    terminal = small_terminal(layout=layout, user_count=3, punches=5)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.connect()
        fields = client.counters()
    assert len(fields) * 4 == size
    assert (fields[4], fields[8], fields[15], fields[16]) == (3, 5, 5_000, 100_000)
    assert (fields[18], fields[19]) == (4_997, 99_995)


@transports
def test_the_clock_shows_local_time_and_can_be_set(udp: bool) -> None:
    def encoded(day: int, hour: int, minute: int, second: int) -> bytes:
        days = (26 * 12 + 2) * 31 + day - 1
        return struct.pack("<I", ((days * 24 + hour) * 60 + minute) * 60 + second)

    terminal = small_terminal(clock_offset_seconds=-420)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        assert client.request(raw.GET_TIME).data == encoded(2, 14, 53, 0)
        assert client.request(raw.SET_TIME, encoded(2, 15, 0, 1)).command == raw.OK
        assert client.request(raw.GET_TIME).data == encoded(2, 15, 0, 1)
        assert terminal.clock_offset_seconds == 1
        assert client.request(raw.SET_TIME, encoded(32, 0, 0, 0)).command == raw.OK  # 1 April
        february_31 = struct.pack("<I", (((26 * 12 + 1) * 31 + 30) * 24) * 3600)
        assert client.request(raw.SET_TIME, february_31).command == raw.ERROR


@transports
@pytest.mark.parametrize(("layout", "user_id"), [(16, struct.pack("<I", 1002)), (40, b"1002".ljust(24, b"\0"))])
def test_a_live_punch_reaches_who_has_registered(udp: bool, layout: Layout, user_id: bytes) -> None:
    terminal = small_terminal(layout=layout)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        fleet.punch("gate", "1001")
        assert client.request(raw.REGISTER_EVENT, struct.pack("<I", 1)).command == raw.OK
        fleet.punch("gate", "1002", datetime.fromisoformat("2026-03-02T15:00:09"), verify_type=15, punch_state=1)
        event = client.receive()
        assert event == (raw.REGISTER_EVENT, 1, 0, user_id + bytes((15, 1, 26, 3, 2, 15, 0, 9)))
        client.send(raw.frame(raw.OK, client.session, 0))
        assert client.request(raw.REGISTER_EVENT, struct.pack("<I", 0)).command == raw.OK
        fleet.punch("gate", "1003")
        assert client.request(raw.VERSION).command == raw.OK


@transports
def test_a_frame_with_a_wrong_checksum_is_not_answered(udp: bool) -> None:
    with Fleet.serve([small_terminal()]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        client.send(bytes.fromhex("4c04 0000") + struct.pack("<HH", client.session, 1))
        assert client.request(raw.GET_TIME).command == raw.OK  # the next answer belongs to the next request


@transports
def test_wrong_sessions_and_numbers_are_refused(udp: bool) -> None:
    with Fleet.serve([small_terminal()]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        client.send(raw.frame(raw.CLEAR_LOG, client.session + 1, 1))
        assert client.receive() == (raw.UNAUTHORISED, client.session + 1, 1, b"")
        client.send(raw.frame(raw.CLEAR_LOG, client.session, 5))
        assert client.receive() == (raw.ERROR, client.session, 5, b"")
        assert client.counters()[8] == 5


def test_a_repeated_request_is_answered_again_and_not_done_twice() -> None:
    with Fleet.serve([small_terminal()]) as fleet, RawClient(fleet.port_of("gate"), udp=True) as client:
        client.connect()
        first = client.request(raw.CLEAR_LOG)
        fleet.punch("gate", "1001")
        client.send(raw.frame(raw.CLEAR_LOG, client.session, client.number))
        assert client.receive() == first
        assert client.counters()[8] == 1


@pytest.mark.parametrize("wrap", [0xFFFE, 0xFFFF])
def test_reply_numbers_start_again_at_zero(wrap: int) -> None:
    with Fleet.serve([small_terminal()]) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.number = wrap - 1
        client.send(raw.frame(raw.CONNECT, 0, wrap))
        client.session = client.receive().session
        client.number = -1
        assert client.request(raw.VERSION).command == raw.OK


def test_a_command_that_terminals_do_not_know_is_answered_so() -> None:
    with Fleet.serve([small_terminal()]) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.connect()
        assert client.request(4711).command == raw.UNKNOWN
        assert client.request(raw.PREPARE_BUFFER, b"\x01").command == raw.ERROR
        assert client.request(raw.PREPARE_BUFFER, bytes.fromhex("0163000000000000000000")).command == raw.ERROR


def test_a_stream_without_frames_is_closed() -> None:
    with Fleet.serve([small_terminal()]) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises((EOFError, ConnectionResetError)):
            client.exactly(1)


def test_the_log_is_cleared_and_a_disabled_terminal_accepts_no_punches() -> None:
    terminal = small_terminal()
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.connect()
        assert client.request(raw.DISABLE).command == raw.OK
        with pytest.raises(TerminalLockedError, match="gate"):
            fleet.punch("gate", "1001")
        assert client.request(raw.CLEAR_LOG).command == raw.OK
        assert client.request(raw.REFRESH).command == raw.OK
        assert client.request(raw.ENABLE).command == raw.OK
        fleet.punch("gate", "1001")
        assert client.counters()[8] == 1
        assert terminal.punches()["user_id"].tolist() == ["1001"]
