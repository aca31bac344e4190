"""Fleet of emulated terminals in one thread: start, change, stop without leaks."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.terminal.faults import HangAt
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline_tests.leftovers import nothing_left_behind
from zk_pipeline_tests.simulator import raw_terminal_client as raw
from zk_pipeline_tests.simulator.raw_terminal_client import RawClient
from zk_pipeline_tests.simulator.small_terminal import small_terminal


@pytest.fixture(autouse=True)
def no_complaint_from_asyncio(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_a_closed_fleet_leaves_no_thread_and_no_socket_behind() -> None:
    with nothing_left_behind():
        terminals = [small_terminal(name=f"gate-{n}") for n in range(5)]
        fleet = Fleet.serve(terminals, faults={"gate-4": HangAt(Command.CMD_GET_TIME)})
        clients = [RawClient(fleet.port_of(name), udp=udp) for name in fleet.names for udp in (False, True)]
        for client in clients:
            client.connect()
        hanging = clients[-2]
        hanging.send(raw.frame(raw.GET_TIME, hanging.session, 1))
        fleet.close()
        fleet.close()
        for client in clients:
            if not client.is_udp:
                with pytest.raises((EOFError, ConnectionResetError)):
                    client.exactly(1)
            client.socket.close()


def test_a_port_that_is_taken_is_an_error_that_names_it_and_stops_the_others() -> None:
    with nothing_left_behind(), socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"'b' cannot listen on 127.0.0.1:{port}"):
            Fleet.serve([small_terminal(name="a"), small_terminal(name="b")], ports=[0, port])


def test_a_udp_port_that_is_taken_is_an_error_too() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UsageError, match="cannot listen"):
            Fleet.serve([small_terminal()], ports=[taken.getsockname()[1]])


def test_two_terminals_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="'gate'"):
        Fleet.serve([small_terminal(), small_terminal()])


def test_a_terminal_switched_off_answers_again_on_its_port_with_its_log() -> None:
    with Fleet.serve([small_terminal()]) as fleet:
        port = fleet.port_of("gate")
        fleet.punch("gate", "1001")
        fleet.switch_off("gate")
        with pytest.raises(ConnectionRefusedError):
            RawClient(port)
        fleet.switch_on("gate")
        for udp in (False, True):
            with RawClient(port, udp=udp) as client:
                client.connect()
                assert client.counters()[8] == 6


def test_punches_from_many_threads_are_all_recorded() -> None:
    with Fleet.serve([small_terminal(punches=0)]) as fleet, ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda _: fleet.punch("gate", "1001"), range(200)):
            pass
        with RawClient(fleet.port_of("gate")) as client:
            client.connect()
            assert len(client.read_table(raw.ASK_LOG)) == 200 * 40


def test_somebody_not_enrolled_cannot_punch() -> None:
    with Fleet.serve([small_terminal()]) as fleet, pytest.raises(KeyError, match="4711"):
        fleet.punch("gate", "4711")


def test_more_udp_clients_than_a_terminal_remembers_are_served_in_turn() -> None:
    with Fleet.serve([small_terminal()]) as fleet, ExitStack() as stack:
        # All open at once: otherwise the system may reuse the port of a closed one.
        clients = [stack.enter_context(RawClient(fleet.port_of("gate"), udp=True)) for _ in range(65)]
        assert [client.connect().command for client in clients] == [raw.OK] * 65
        assert clients[0].request(raw.VERSION).command == raw.UNAUTHORISED
        assert clients[-1].request(raw.VERSION).command == raw.OK
        assert clients[0].connect().command == raw.OK


def test_a_hundred_thousand_records_are_served_at_network_speed() -> None:
    terminal = small_terminal(punches=100_000)
    with Fleet.serve([terminal]) as fleet, RawClient(fleet.port_of("gate")) as client:
        client.connect()
        begun = time.process_time()
        assert len(client.read_table(raw.ASK_LOG)) == 4_000_000
        assert time.process_time() - begun < 3  # 0.1 s alone; a loop over bytes in Python takes longer
