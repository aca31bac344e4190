"""Transfer of users and log, seen by a client that shares no code with the simulator."""

from __future__ import annotations

import struct
from datetime import timedelta

import pytest

from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.records import Layout
from zk_pipeline_tests.simulator import raw_terminal_client as raw
from zk_pipeline_tests.simulator.raw_terminal_client import RawClient
from zk_pipeline_tests.simulator.small_terminal import FIRST_PUNCH, small_terminal

transports = pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
layouts = pytest.mark.parametrize("layout", [8, 16, 40])


@transports
def test_a_small_log_comes_at_once(udp: bool) -> None:
    terminal = small_terminal(layout=8, punches=2)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        reply = client.request(raw.PREPARE_BUFFER, raw.ASK_LOG)
    # 1 March 2026, 23:59:50 and 23:59:57: ((26 * 12 + 2) * 31) days and 86,390 seconds.
    first, second = (struct.pack("<I", 9_734 * 86_400 + at) for at in (86_390, 86_397))
    records = b"\x0b\0\x01" + first + b"\0" + b"\x0c\0\x01" + second + b"\x01"
    assert reply == (raw.DATA, client.session, 1, b"\x10\0\0\0" + records)


@transports
def test_an_empty_log_is_a_size_of_zero(udp: bool) -> None:
    terminal = small_terminal(punches=0)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        assert client.request(raw.PREPARE_BUFFER, raw.ASK_LOG)[::3] == (raw.DATA, b"\0\0\0\0")


@transports
@layouts
def test_a_large_log_is_sent_in_the_requested_chunks(udp: bool, layout: Layout) -> None:
    terminal = small_terminal(layout=layout, punches=10_000)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        log = client.read_table(raw.ASK_LOG, chunk=16 * 1024 if udp else 0xFFC0)
    assert len(log) == 10_000 * layout
    offset = {8: 3, 16: 4, 40: 27}[layout]
    last = FIRST_PUNCH + timedelta(seconds=7 * 9_999)
    days = (26 * 12 + last.month - 1) * 31 + last.day - 1
    seconds = ((days * 24 + last.hour) * 60 + last.minute) * 60 + last.second
    assert struct.unpack_from("<I", log, 9_999 * layout + offset) == (seconds,)


def test_datagrams_carry_at_most_a_kilobyte_of_data() -> None:
    terminal = small_terminal(punches=100)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate"), udp=True) as client:
        client.connect()
        client.request(raw.PREPARE_BUFFER, raw.ASK_LOG)
        client.request(raw.READ_BUFFER, struct.pack("<ii", 0, 4004))
        sizes = [len(client.receive().data) for _ in range(5)]
    assert sizes == [1024, 1024, 1024, 932, 0]


def test_a_large_log_is_announced_with_its_size_twice() -> None:
    terminal = small_terminal(punches=100)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.connect()
        reply = client.request(raw.PREPARE_BUFFER, raw.ASK_LOG)
    assert reply[::3] == (raw.OK, b"\0" + struct.pack("<III", 4004, 4004, 0))


def test_parts_outside_the_snapshot_are_refused_and_so_are_parts_of_none() -> None:
    terminal = small_terminal(punches=100)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.connect()
        assert client.request(raw.READ_BUFFER, struct.pack("<ii", 0, 8)).command == raw.ERROR
        client.request(raw.PREPARE_BUFFER, raw.ASK_LOG)
        for start, size in ((0, 4005), (4004, 1), (-1, 4), (0, 0), (0, -4)):
            assert client.request(raw.READ_BUFFER, struct.pack("<ii", start, size)).command == raw.ERROR
        assert len(client.transfer(client.request(raw.READ_BUFFER, struct.pack("<ii", 4000, 4)))) == 4
        client.request(raw.FREE_BUFFER)
        assert client.request(raw.READ_BUFFER, struct.pack("<ii", 0, 8)).command == raw.ERROR


@transports
def test_the_way_before_buffered_reads_gives_the_same_log(udp: bool) -> None:
    terminal = small_terminal(punches=100)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        buffered = client.read_table(raw.ASK_LOG)
        assert client.transfer(client.request(raw.LOG))[4:] == buffered


@transports
def test_a_log_that_grows_stays_as_it_was_within_a_read(udp: bool) -> None:
    terminal = small_terminal(punches=100)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        client.request(raw.PREPARE_BUFFER, raw.ASK_LOG)
        fleet.punch("gate", "1001")
        assert client.counters()[8] == 101
        part = client.transfer(client.request(raw.READ_BUFFER, struct.pack("<ii", 0, 4004)))
        assert part[:4] == struct.pack("<I", 4000)
        assert len(client.read_table(raw.ASK_LOG)) == 4040


@transports
def test_two_clients_have_sessions_and_snapshots_of_their_own(udp: bool) -> None:
    terminal = small_terminal(punches=100)
    with (
        Fleet.serve([terminal]) as fleet,
        RawClient(fleet.port_of("gate"), udp=udp) as early,
        RawClient(fleet.port_of("gate"), udp=not udp) as late,
    ):
        early.connect()
        early.request(raw.PREPARE_BUFFER, raw.ASK_LOG)
        fleet.punch("gate", "1001")
        late.connect()
        assert late.session != early.session
        assert len(late.read_table(raw.ASK_LOG)) == 4040
        assert late.request(raw.EXIT).command == raw.OK
        assert early.request(raw.READ_BUFFER, struct.pack("<ii", 0, 4004)).command == raw.PREPARE_DATA


def test_a_full_log_gives_up_its_oldest_record() -> None:
    terminal = small_terminal(layout=16, punches=5, record_capacity=6)
    for user_id in ("1001", "1002", "1003"):
        terminal.punch(user_id)
    assert terminal.record_count == 6
    assert terminal.punches()["user_id"].tolist() == ["1003", "1001", "1002", "1001", "1002", "1003"]
    assert struct.unpack_from("<I", terminal.encoded_log()) == (1003,)


def test_a_raw_record_is_sent_as_it_is() -> None:
    terminal = small_terminal(layout=8, punches=1)
    february_31 = b"\x0b\0\x01" + struct.pack("<I", ((26 * 12 + 1) * 31 + 30) * 86_400) + b"\0"
    terminal.append_raw(february_31)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.connect()
        assert client.read_table(raw.ASK_LOG)[8:] == february_31
        assert client.counters()[8] == 2
    with pytest.raises(ValueError, match="8-byte"):
        terminal.append_raw(b"short")
