"""Injected faults of a terminal: each has its effect on a client, and none after its removal."""

from __future__ import annotations

import struct

import pytest

from zk_pipeline.simulator.terminal.faults import (
    CloseAfter,
    CorruptData,
    Faults,
    HangAt,
    RefuseCommand,
    RefuseConnections,
)
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline_tests.simulator import raw_terminal_client as raw
from zk_pipeline_tests.simulator.raw_terminal_client import RawClient
from zk_pipeline_tests.simulator.small_terminal import small_terminal

FULL_PART = struct.pack("<ii", 0, 4004)


def test_a_terminal_that_refuses_connections_closes_them_until_healed() -> None:
    with Fleet.serve([small_terminal()], faults={"gate": RefuseConnections()}) as fleet:
        with RawClient(fleet.port_of("gate")) as client, pytest.raises((EOFError, ConnectionResetError)):
            client.connect()
        with RawClient(fleet.port_of("gate"), udp=True) as client:
            client.socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.connect()
        fleet.inject("gate", Faults())
        with RawClient(fleet.port_of("gate")) as client:
            assert client.connect().command == raw.OK
            fleet.inject("gate", RefuseConnections())
            assert client.request(raw.VERSION).command == raw.OK  # it was there before


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_a_refused_command_is_answered_with_the_code_given(udp: bool) -> None:
    refused = RefuseCommand(Command.CMD_CONNECT, code=6001)
    with (
        Fleet.serve([small_terminal()], faults={"gate": refused}) as fleet,
        RawClient(fleet.port_of("gate"), udp=udp) as client,
    ):
        assert client.connect().command == 6001


def test_the_user_list_alone_can_be_refused() -> None:
    refused = RefuseCommand(Command.CMD_DATA_WRRQ, data_prefix=raw.ASK_USERS[:3])
    with (
        Fleet.serve([small_terminal()], faults={"gate": refused}) as fleet,
        RawClient(fleet.port_of("gate")) as client,
    ):
        client.connect()
        assert client.request(raw.PREPARE_BUFFER, raw.ASK_USERS).command == raw.ERROR
        assert len(client.read_table(raw.ASK_LOG)) == 5 * 40


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_a_terminal_that_hangs_answers_up_to_there_and_then_nothing(udp: bool) -> None:
    with (
        Fleet.serve([small_terminal()], faults={"gate": HangAt(Command.CMD_GET_TIME)}) as fleet,
        RawClient(fleet.port_of("gate"), udp=udp) as client,
    ):
        client.connect()
        assert client.request(raw.VERSION).command == raw.OK
        client.socket.settimeout(0.2)
        for command in (raw.GET_TIME, raw.VERSION):
            with pytest.raises(TimeoutError):
                client.request(command)


def test_a_connection_ends_after_exactly_the_bytes_given() -> None:
    with (
        Fleet.serve([small_terminal(punches=100)], faults={"gate": CloseAfter(1_000)}) as fleet,
        RawClient(fleet.port_of("gate")) as client,
    ):
        client.connect()
        client.request(raw.PREPARE_BUFFER, raw.ASK_LOG)
        client.request(raw.READ_BUFFER, FULL_PART)
        with pytest.raises(EOFError, match=f"after {1_000 - 16 - 29 - 24} of"):
            client.exactly(5_000)


def test_a_connection_can_end_with_a_reset() -> None:
    with (
        Fleet.serve([small_terminal()], faults={"gate": CloseAfter(16, with_reset=True)}) as fleet,
        RawClient(fleet.port_of("gate")) as client,
    ):
        client.connect()
        with pytest.raises(ConnectionResetError):
            client.request(raw.VERSION)


def test_datagrams_cease_after_the_bytes_given() -> None:
    with (
        Fleet.serve([small_terminal(punches=100)], faults={"gate": CloseAfter(2_200)}) as fleet,
        RawClient(fleet.port_of("gate"), udp=True) as client,
    ):
        client.connect()
        client.request(raw.PREPARE_BUFFER, raw.ASK_LOG)
        client.request(raw.READ_BUFFER, FULL_PART)
        sizes = [len(client.socket.recv(2_000)) for _ in range(3)]
        client.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.receive()
    assert sizes[:2] == [1032, 1032]
    assert 8 + 21 + 16 + sum(sizes) == 2_200


def test_a_corrupted_byte_is_one_byte_of_data_under_the_true_checksum() -> None:
    with Fleet.serve([small_terminal()]) as fleet, RawClient(fleet.port_of("gate"), udp=True) as client:
        client.connect()
        truth = client.request(raw.PREPARE_BUFFER, raw.ASK_LOG).data
        fleet.inject("gate", CorruptData(offset=50))
        client.number += 1
        client.send(raw.frame(raw.PREPARE_BUFFER, client.session, client.number, raw.ASK_LOG))
        packet = client.socket.recv(2_000)
    assert [n for n, (a, b) in enumerate(zip(truth, packet[8:], strict=True)) if a != b] == [50]
    assert struct.unpack("<H", packet[2:4])[0] == raw.ones_complement(packet[:2] + b"\0\0" + packet[4:8] + truth)
