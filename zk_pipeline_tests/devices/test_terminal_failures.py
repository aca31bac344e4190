"""Network failures end in a named error within the time limit, never in wrong data."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.clock import Clock
from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.faults import CloseAfter, HangAt, RefuseCommand
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline_tests.devices.terminal_fixtures import (
    NAME,
    Rewrite,
    device,
    gateway,
    same_punches,
    serving,
    terminal,
)

PROTOCOLS: list[Protocol] = ["tcp", "udp"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wrong_comm_key_is_named_and_never_shown(protocol: Protocol) -> None:
    with (
        serving(terminal(comm_key=131071), protocol=protocol) as one,
        pytest.raises(errors.WrongCommKey) as failure,
    ):
        gateway(comm_key=424242).read(one)
    assert "424242" not in str(failure.value)
    assert failure.value.code == "wrong_comm_key"


@contextmanager
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:  # bound without listening: reserves the port
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


@pytest.mark.parametrize("protocol", [*PROTOCOLS, "auto"])
def test_where_nothing_listens_the_connection_is_refused(protocol: Protocol) -> None:
    with closed_port() as port, pytest.raises(errors.Refused) as failure:
        gateway().read(device(port, protocol))
    assert str(failure.value).startswith(f"{NAME} (127.0.0.1:{port}): ")


@pytest.mark.parametrize("host", ["terminal.invalid", "no..host", "x" * 70])
def test_an_unknown_host_name_is_unreachable(host: str) -> None:
    with pytest.raises(errors.Unreachable, match="the host name is not known"):
        gateway().read(replace(device(4370, "auto"), ip_address=host))


@contextmanager
def black_hole(kind: Protocol) -> Iterator[int]:
    """A port that accepts connections and datagrams and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        if kind == "tcp":
            hole.listen()
        yield int(hole.getsockname()[1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_black_hole_ends_after_the_timeout(protocol: Protocol) -> None:
    with black_hole(protocol) as port:
        started = time.monotonic()
        with pytest.raises(errors.NoAnswer):
            gateway(timeout=0.3).read(device(port, protocol))
        assert 0.25 < time.monotonic() - started < 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_black_hole_ends_at_the_deadline(protocol: Protocol) -> None:
    with black_hole(protocol) as port:
        started = time.monotonic()
        with pytest.raises(errors.DeadlineExceeded):
            gateway(timeout=30, deadline=0.3).read(device(port, protocol))
        assert 0.25 < time.monotonic() - started < 2


def test_a_slow_drip_is_cut_off_at_the_deadline() -> None:
    """Each byte arrives within the timeout, a complete frame never."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(bytes.fromhex("5050827dff000000"))
                while not stop.wait(0.02):
                    try:
                        connection.sendall(b"\0")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(errors.DeadlineExceeded):
            gateway(timeout=5, deadline=0.4).read(device(listener.getsockname()[1]))
        stop.set()
        thread.join()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_deadline_that_passes_between_answers_ends_the_reading(protocol: Protocol) -> None:
    """Each call of this clock takes a second; the terminal itself answers at once."""
    seconds = itertools.count()
    clock = Clock(monotonic=lambda: float(next(seconds)))
    with serving(terminal(40, records=3000), protocol=protocol) as one, pytest.raises(errors.DeadlineExceeded):
        replace(gateway(deadline=20), clock=clock).read(one)


@pytest.mark.parametrize("with_reset", [False, True], ids=["end-of-stream", "reset"])
@pytest.mark.parametrize("sent", [700, 1500, 60_000])
def test_a_connection_that_ends_in_the_middle_is_an_incomplete_transfer(sent: int, with_reset: bool) -> None:
    with (
        serving(terminal(40, records=3000), CloseAfter(sent, with_reset)) as one,
        pytest.raises(errors.IncompleteTransfer),
    ):
        gateway().read(one)


def test_a_connection_that_ends_in_the_middle_costs_no_cpu() -> None:
    with serving(terminal(40, records=3000), CloseAfter(60_000)) as one:
        started = time.thread_time()
        with pytest.raises(errors.IncompleteTransfer):
            gateway().read(one)
        assert time.thread_time() - started < 0.5


def test_a_terminal_that_closes_at_once_refuses() -> None:
    with serving(terminal(), CloseAfter(0)) as one, pytest.raises(errors.Refused):
        gateway().read(one)


COMMANDS_OF_A_READ = [
    Command.CMD_CONNECT,
    Command.CMD_GET_TIME,
    Command.CMD_GET_FREE_SIZES,
    Command.CMD_OPTIONS_RRQ,
    Command.CMD_GET_VERSION,
    Command.CMD_DATA_WRRQ,
    Command.CMD_DATA_RDY,
]


@pytest.mark.parametrize("command", COMMANDS_OF_A_READ)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_terminal_that_hangs_at_any_request_gives_no_answer(protocol: Protocol, command: Command) -> None:
    with (
        serving(terminal(40, records=3000), HangAt(command), protocol=protocol) as one,
        pytest.raises(errors.NoAnswer) as failure,
    ):
        gateway(timeout=0.1).read(one)
    assert failure.value.code == "no_answer"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_terminal_that_hangs_at_the_goodbye_has_been_read(protocol: Protocol) -> None:
    emulated = terminal(40)
    with serving(emulated, HangAt(Command.CMD_EXIT), protocol=protocol) as one:
        assert same_punches(gateway(timeout=0.3).read(one).punches, emulated.punches())


def test_a_replaced_terminal_is_refused() -> None:
    with serving(terminal()) as one:
        registered = replace(one, serial_number="OLD1")
        with pytest.raises(errors.SerialChanged, match="OLD1"):
            gateway().read(registered)
        assert gateway().probe(registered).serial_number != "OLD1"


def test_a_clock_without_a_date_is_shown_as_none_and_stops_no_reading() -> None:
    nonsense = Rewrite(Command.CMD_GET_TIME, lambda frames: [replace(frames[0], data=b"\xff" * 4)])
    with serving(terminal(), nonsense) as one:
        reading = gateway().read(one)
        assert (reading.info.clock_local, reading.info.clock_drift_seconds) == (None, None)
        assert len(reading.punches) == 60
        with pytest.raises(errors.ClockInvalid):
            gateway().set_clock(one)


def test_a_refused_user_list_fails_if_only_users_were_requested() -> None:
    with (
        serving(terminal(), RefuseCommand(Command.CMD_DATA_WRRQ)) as one,
        pytest.raises(errors.UnsupportedCommand),
    ):
        gateway().users(one)


def test_a_log_that_is_cleared_during_one_read_is_read_again() -> None:
    def clear(frames: list[Frame]) -> list[Frame]:
        emulated.clear_log()
        return frames

    emulated = terminal(40, records=20)
    with serving(emulated, Rewrite(Command.CMD_DATA_WRRQ, clear, times=1)) as one:
        assert gateway().read(one).punches.empty
