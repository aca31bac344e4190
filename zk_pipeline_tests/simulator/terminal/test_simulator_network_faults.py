"""Injected network faults and changed answers: their exact effect on a client's bytes."""

from __future__ import annotations

import struct
import time
from collections import Counter

import pytest

from zk_pipeline.simulator.terminal.faults import (
    AtFirst,
    ChangeAnswers,
    CorruptAnswer,
    Faults,
    RefuseCommand,
    RefuseConnections,
)
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.network_faults import (
    BadLine,
    Fate,
    LateAnswers,
    Segments,
    SmallPackets,
    random_fates,
)
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline_tests.simulator import raw_terminal_client as raw
from zk_pipeline_tests.simulator.raw_terminal_client import RawClient
from zk_pipeline_tests.simulator.small_terminal import small_terminal

PART = struct.pack("<ii", 0, 4004)  # of a log of 100 records


def faulty(faults: Faults, punches: int = 5) -> Fleet:
    return Fleet.serve([small_terminal(punches=punches)], faults={"gate": faults})


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
@pytest.mark.parametrize("offset", [-1, 0, 2, 8])
def test_one_byte_of_one_answer_is_flipped(offset: int, udp: bool) -> None:
    with faulty(Faults()) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        truth = client.request(raw.VERSION)
        fleet.inject("gate", CorruptAnswer(Command.CMD_GET_VERSION, offset))
        client.number += 1
        client.send(raw.frame(raw.VERSION, client.session, client.number))
        top = b"" if udp else b"\x50\x50\x82\x7d" + struct.pack("<I", 8 + len(truth.data))
        expected = top + raw.frame(truth.command, truth.session, client.number, truth.data)
        received = client.socket.recv(2_000)
    changed = [len(top) + offset] if offset >= 0 or not udp else []
    assert [n for n, (a, b) in enumerate(zip(expected, received, strict=True)) if a != b] == changed


def test_answers_are_changed_only_to_the_request_named_and_so_often() -> None:
    empty = ChangeAnswers(Command.CMD_OPTIONS_RRQ, lambda frames: frames[:1] * 2, b"MAC", times=1)
    with faulty(empty) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.connect()
        first = client.request(raw.OPTION, b"MAC\0")
        assert client.receive() == first
        for name in (b"~Platform\0", b"MAC\0"):
            assert client.request(raw.OPTION, name).data.startswith(name[:-1])


def test_a_fault_at_first_spares_later_connections() -> None:
    with faulty(AtFirst(RefuseCommand(Command.CMD_GET_VERSION), connections=2)) as fleet:
        answers = []
        for _ in range(3):
            with RawClient(fleet.port_of("gate")) as client:
                client.connect()
                answers.append(client.request(raw.VERSION).command)
    assert answers == [raw.ERROR, raw.ERROR, raw.OK]


def test_connections_turned_away_at_first_are_taken_later() -> None:
    with faulty(AtFirst(RefuseConnections())) as fleet:
        with RawClient(fleet.port_of("gate")) as client, pytest.raises((EOFError, ConnectionResetError)):
            client.connect()
        with RawClient(fleet.port_of("gate")) as client:
            assert client.connect().command == raw.OK


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_one_late_answer_comes_after_its_delay(udp: bool) -> None:
    late = LateAnswers(0.2, Command.CMD_GET_TIME, times=1)
    with faulty(late) as fleet, RawClient(fleet.port_of("gate"), udp=udp) as client:
        client.connect()
        started = time.monotonic()
        client.request(raw.GET_TIME)
        assert time.monotonic() - started > 0.19
        client.socket.settimeout(5)
        client.request(raw.GET_TIME)
        assert late.times == 0


def test_a_stream_comes_in_segments() -> None:
    with faulty(Segments(5, 0.01)) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.send(raw.frame(raw.CONNECT, 0, 0))
        received = [client.socket.recv(100)]
        while sum(map(len, received)) < 16:
            received.append(client.socket.recv(100))
    assert len(received) > 1
    assert b"".join(received).startswith(b"\x50\x50\x82\x7d\x08")


@pytest.mark.parametrize("is_numbered", [True, False])
def test_data_comes_in_packets_of_the_size_given(is_numbered: bool) -> None:
    with faulty(SmallPackets(1008, is_numbered), punches=100) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.connect()
        client.request(raw.PREPARE_BUFFER, raw.ASK_LOG)
        assert client.request(raw.READ_BUFFER, PART).command == raw.PREPARE_DATA
        packets = [client.receive() for _ in range(4)]
        assert client.receive().command == raw.OK
        whole = b"".join(packet.data for packet in packets)
        fleet.inject("gate", Faults())
        assert whole[4:] == client.read_table(raw.ASK_LOG)
    assert [len(packet.data) for packet in packets] == [1008, 1008, 1008, 980]
    assert [packet.session for packet in packets] == (list(range(4)) if is_numbered else [client.session] * 4)


@pytest.mark.parametrize(
    ("fate", "order"),
    [
        (Fate.LOST, [0, 2, 3]),
        (Fate.DOUBLED, [0, 1, 1, 2, 3]),
        (Fate.OVERTAKEN, [0, 2, 1, 3]),
        (Fate.ARRIVES, [0, 1, 2, 3]),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Fate) else "",
)
def test_the_packet_with_the_number_given_has_its_fate(fate: Fate, order: list[int]) -> None:
    line = BadLine(lambda number: fate if number == 4 else Fate.ARRIVES)
    numbered = SmallPackets(1008, then=line)
    with faulty(numbered, punches=100) as fleet, RawClient(fleet.port_of("gate"), udp=True) as client:
        client.connect()
        client.request(raw.PREPARE_BUFFER, raw.ASK_LOG)
        client.request(raw.READ_BUFFER, PART)  # packets 0, 1 and 2; its data is 3 to 6
        packets = [client.receive().session for _ in order]
        assert client.receive().command == raw.OK
    assert packets == order


def test_random_fates_repeat_with_their_seed_and_come_in_the_shares_given() -> None:
    first, second = (random_fates(7, lost=0.2, doubled=0.1, overtaken=0.3) for _ in range(2))
    fates = [first(number) for number in range(2_000)]
    assert fates == [second(number) for number in range(2_000)]
    counts = Counter(fates)
    for fate, share in ((Fate.LOST, 0.2), (Fate.DOUBLED, 0.1), (Fate.OVERTAKEN, 0.3), (Fate.ARRIVES, 0.4)):
        assert abs(counts[fate] / 2_000 - share) < 0.05
