"""What goes wrong on the wire ends as a named failure in time, never as other data than the truth."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from terminal_bench import (
    NAME,
    Rewrite,
    data_packets,
    device,
    gateway,
    same_punches,
    serving,
    table,
    terminal,
)

from zk_pipeline.devices import errors
from zk_pipeline.devices.clock import Clock
from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.faults import CloseAfter, CorruptData, Faults, HangAt, RefuseCommand
from zk_pipeline.simulator.fleet import Fleet
from zk_pipeline.simulator.protocol import Command, Frame
from zk_pipeline.simulator.wires import Wire

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
Change = Callable[[list[Frame]], list[Frame]]


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
    with socket.socket() as bound:  # bound and not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


@pytest.mark.parametrize("protocol", [*PROTOCOLS, "auto"])
def test_where_nothing_listens_the_connection_is_refused(protocol: Protocol) -> None:
    with closed_port() as port, pytest.raises(errors.Refused) as failure:
        gateway().read(device(port, protocol))
    assert str(failure.value).startswith(f"{NAME} (127.0.0.1:{port}): ")


def test_an_unknown_host_name_is_unreachable() -> None:
    with pytest.raises(errors.Unreachable, match="the host name is not known"):
        gateway().read(replace(device(4370, "auto"), ip_address="terminal.invalid"))


@contextmanager
def black_hole(kind: Protocol) -> Iterator[int]:
    """A port that takes everything and answers nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        if kind == "tcp":
            hole.listen()
        yield int(hole.getsockname()[1])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_black_hole_is_given_up_after_the_timeout(protocol: Protocol) -> None:
    with black_hole(protocol) as port:
        started = time.monotonic()
        with pytest.raises(errors.NoAnswer):
            gateway(timeout=0.3).read(device(port, protocol))
        assert 0.25 < time.monotonic() - started < 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_black_hole_is_given_up_at_the_deadline(protocol: Protocol) -> None:
    with black_hole(protocol) as port:
        started = time.monotonic()
        with pytest.raises(errors.DeadlineExceeded):
            gateway(timeout=30, deadline=0.3).read(device(port, protocol))
        assert 0.25 < time.monotonic() - started < 2


def test_a_slow_drip_is_cut_off_at_the_deadline() -> None:
    """Each byte comes well within the timeout, the frame never does."""
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
    """By this clock each look at it takes a second; the terminal itself answers at once."""
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
        gateway(timeout=0.3).read(one)
    assert failure.value.code == "no_answer"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_terminal_that_hangs_at_the_goodbye_has_been_read(protocol: Protocol) -> None:
    emulated = terminal(40)
    with serving(emulated, HangAt(Command.CMD_EXIT), protocol=protocol) as one:
        assert same_punches(gateway(timeout=0.3).read(one).punches, emulated.punches())


@pytest.mark.parametrize("records", [10, 3000], ids=["inline", "in-parts"])
@pytest.mark.parametrize("offset", [0, 3, 4, 100])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_corrupted_byte_is_a_protocol_violation(protocol: Protocol, offset: int, records: int) -> None:
    with (
        serving(terminal(40, records=records), CorruptData(offset), protocol=protocol) as one,
        pytest.raises(errors.ProtocolViolation),
    ):
        gateway().read(one)


def _first(**changes: object) -> Change:
    return lambda frames: [replace(frames[0], **changes), *frames[1:]]  # type: ignore[arg-type]


def _with_data(change: Callable[[bytes], bytes]) -> Change:
    return lambda frames: [
        replace(frame, data=change(frame.data)) if frame.command == Command.CMD_DATA else frame for frame in frames
    ]


WRONG_ANSWERS: dict[str, tuple[Command, Change, type[errors.TerminalError]]] = {
    "firmware-6001": (Command.CMD_CONNECT, _first(command=6001), errors.RefusesProtocol),
    "log-refused": (Command.CMD_DATA_WRRQ, _first(command=2001, data=b""), errors.RefusesProtocol),
    "sizes-refused": (Command.CMD_GET_FREE_SIZES, _first(command=2001), errors.RefusesProtocol),
    "short-sizes": (Command.CMD_GET_FREE_SIZES, _first(data=bytes(10)), errors.ProtocolViolation),
    "counter-too-high": (
        Command.CMD_GET_FREE_SIZES,
        lambda frames: [replace(frames[0], data=frames[0].data[:32] + b"\xff" + frames[0].data[33:])],
        errors.IncompleteTransfer,
    ),
    "empty-log": (Command.CMD_DATA_WRRQ, _first(command=1501, data=table(b"")), errors.IncompleteTransfer),
    "no-data-at-all": (Command.CMD_DATA_WRRQ, _first(command=1501, data=b""), errors.IncompleteTransfer),
    "log-cut-short": (Command.CMD_DATA_WRRQ, _with_data(lambda data: data[:-40]), errors.IncompleteTransfer),
    "last-record-cut": (Command.CMD_DATA_WRRQ, _with_data(lambda data: data[:-1]), errors.IncompleteTransfer),
    "log-too-long": (
        Command.CMD_DATA_WRRQ,
        _with_data(lambda data: data + bytes(40)),
        errors.IncompleteTransfer,
    ),
    "declared-too-small": (
        Command.CMD_DATA_WRRQ,
        _with_data(lambda data: table(data[4:-40])),
        errors.IncompleteTransfer,
    ),
    "another-session": (Command.CMD_GET_VERSION, _first(session_id=1), errors.ProtocolViolation),
    "number-from-the-future": (Command.CMD_GET_VERSION, _first(reply_number=900), errors.ProtocolViolation),
    "another-option": (Command.CMD_OPTIONS_RRQ, _first(data=b"Door=1\0"), errors.ProtocolViolation),
    "clock-cut-short": (Command.CMD_GET_TIME, _first(data=b"\1"), errors.ProtocolViolation),
}


@pytest.mark.parametrize("case", WRONG_ANSWERS)
def test_a_wrong_answer_is_a_named_failure(case: str) -> None:
    command, change, failure = WRONG_ANSWERS[case]
    with serving(terminal(40, records=20), Rewrite(command, change)) as one, pytest.raises(failure):
        gateway().read(one)


WRONG_PARTS: dict[str, Change] = {
    "short-part": _with_data(lambda data: data[:-100]),
    "part-of-another-size": lambda frames: [replace(frames[0], data=(99).to_bytes(4, "little")), *frames[1:]],
    "data-missing": lambda frames: [frames[0], frames[-1]],
    "data-twice": lambda frames: [frames[0], *frames[1:-1], *frames[1:-1], frames[-1]],
    "data-without-end": lambda frames: [frames[0], *frames[1:-1], *frames[1:-1]],
    "short-part-as-announced": lambda frames: [
        replace(frames[0], data=min(99, len(frames[1].data)).to_bytes(4, "little")),
        replace(frames[1], data=frames[1].data[:99]),
        frames[-1],
    ],
    "short-part-at-once": lambda frames: [
        replace(frames[0], command=Command.CMD_DATA, data=frames[1].data[:99]),
    ],
    "announced-4-GiB": lambda frames: [replace(frames[0], data=b"\xff" * 8), *frames[1:]],
}


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_a_part_that_is_not_what_was_asked_for_fails_the_read(case: str) -> None:
    with (
        serving(terminal(40, records=3000), Rewrite(Command.CMD_DATA_RDY, WRONG_PARTS[case])) as one,
        pytest.raises((errors.IncompleteTransfer, errors.ProtocolViolation)),
    ):
        gateway().read(one)


def test_a_wrong_declared_size_fails_the_read_even_where_the_counter_says_nothing() -> None:
    class Blind(Rewrite):
        async def deliver(self, request: Frame, answer: list[Frame], wire: Wire) -> None:
            if request.command == Command.CMD_GET_FREE_SIZES:
                answer = _first(data=bytes(92))(answer)
            await super().deliver(request, answer, wire)

    cut = Blind(Command.CMD_DATA_WRRQ, _with_data(lambda data: data[:-40]))
    with serving(terminal(40, records=20), cut) as one, pytest.raises(errors.IncompleteTransfer):
        gateway().read(one)


def test_an_announced_size_of_gigabytes_is_refused_before_memory_is_taken() -> None:
    huge = _first(data=b"\0" + b"\xf0" * 12)
    with (
        serving(terminal(40, records=3000), Rewrite(Command.CMD_DATA_WRRQ, huge)) as one,
        pytest.raises(errors.ProtocolViolation),
    ):
        gateway().read(one)


def test_something_else_than_a_terminal_is_a_protocol_violation() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.recv(100)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(errors.ProtocolViolation):
            gateway().read(device(listener.getsockname()[1]))
        thread.join()


def _swapped(frames: list[Frame]) -> list[Frame]:
    return [frames[0], frames[2], frames[1], *frames[3:]]


LOSSES: dict[str, Change] = {
    "announcement-lost": lambda frames: frames[1:],
    "packet-lost": lambda frames: [*frames[:2], *frames[3:]],
    "last-packet-lost": lambda frames: [*frames[:-2], frames[-1]],
    "acknowledgement-lost": lambda frames: frames[:-1],
    "everything-lost": lambda _: [],
    "packet-doubled": lambda frames: [*frames[:2], frames[1], *frames[2:]],
    "everything-doubled": lambda frames: [frame for frame in frames for _ in range(2)],
    "lost-and-doubled": lambda frames: [frames[0], frames[1], frames[1], *frames[3:]],
    "swapped": _swapped,
    "acknowledged-too-early": lambda frames: [frames[-1], *frames[:-1]],
}


def _losing(case: str, *, numbered: bool, times: int) -> Rewrite:
    cut, left = data_packets(1008, numbered=numbered), [times]

    def change(frames: list[Frame]) -> list[Frame]:
        frames = cut(frames)
        if left[0] <= 0 or len(frames) < 5:
            return frames
        left[0] -= 1
        return LOSSES[case](frames)

    return Rewrite(Command.CMD_DATA_RDY, change)


@pytest.mark.parametrize("numbered", [True, False], ids=["numbered", "unnumbered"])
@pytest.mark.parametrize("case", LOSSES)
def test_a_datagram_lost_doubled_or_swapped_is_made_good(case: str, numbered: bool) -> None:
    emulated = terminal(16, records=3000)
    with serving(emulated, _losing(case, numbered=numbered, times=1), protocol="udp") as one:
        assert same_punches(gateway(timeout=0.3).read(one).punches, emulated.punches())


@pytest.mark.parametrize("numbered", [True, False], ids=["numbered", "unnumbered"])
@pytest.mark.parametrize("case", LOSSES)
def test_datagrams_that_are_always_lost_never_make_wrong_data(case: str, numbered: bool) -> None:
    emulated = terminal(16, records=3000)
    with serving(emulated, _losing(case, numbered=numbered, times=10**9), protocol="udp") as one:
        try:
            punches = gateway(timeout=0.3).read(one).punches
        except (errors.NoAnswer, errors.IncompleteTransfer):
            return
    assert same_punches(punches, emulated.punches())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_later_than_the_timeout_is_not_taken_for_the_next_one(protocol: Protocol) -> None:
    """Every answer comes twice, the second time when the next request has been sent."""

    class Echo(Faults):
        async def deliver(self, request: Frame, answer: list[Frame], wire: Wire) -> None:
            if before:
                await wire.send([wire.frame(frame) for frame in before.pop()])
            before.append(answer)
            await super().deliver(request, answer, wire)

    before: list[list[Frame]] = []
    emulated = terminal(40, records=3000)
    with serving(emulated, Echo(), protocol=protocol) as one:
        assert same_punches(gateway().read(one).punches, emulated.punches())


def test_a_replaced_terminal_is_refused() -> None:
    with serving(terminal()) as one:
        registered = replace(one, serial_number="OLD1")
        with pytest.raises(errors.SerialChanged, match="OLD1"):
            gateway().read(registered)
        assert gateway().probe(registered).serial_number != "OLD1"


def test_a_clock_without_a_date_is_shown_as_none_and_stops_no_reading() -> None:
    nonsense = Rewrite(Command.CMD_GET_TIME, _first(data=b"\xff\xff\xff\xff"))
    with serving(terminal(), nonsense) as one:
        reading = gateway().read(one)
        assert (reading.info.clock_local, reading.info.clock_drift_seconds) == (None, None)
        assert len(reading.punches) == 60
        with pytest.raises(errors.ClockInvalid):
            gateway().set_clock(one)


def test_a_refused_user_list_fails_where_only_users_were_asked_for() -> None:
    with (
        serving(terminal(), RefuseCommand(Command.CMD_DATA_WRRQ)) as one,
        pytest.raises(errors.RefusesProtocol),
    ):
        gateway().users(one)


def test_a_log_cleared_during_the_read_fails_it() -> None:
    emulated = terminal(40, records=20)
    calls: list[int] = []

    def clear(frames: list[Frame]) -> list[Frame]:
        calls.append(1)
        emulated.clear_log()
        return frames

    with (
        Fleet.serve([emulated], faults={NAME: Rewrite(Command.CMD_DATA_WRRQ, clear, times=1)}) as fleet,
        pytest.raises(errors.IncompleteTransfer),
    ):
        gateway().read(device(fleet.port_of(NAME)))
    assert calls
