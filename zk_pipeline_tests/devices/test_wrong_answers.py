"""An answer that violates the protocol or contradicts the terminal's counters fails the reading with a named error."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import CorruptData
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline_tests.devices.terminal_fixtures import (
    Rewrite,
    device,
    gateway,
    serving,
    table,
    terminal,
)

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
Change = Callable[[list[Frame]], list[Frame]]


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
    "firmware-6001": (Command.CMD_CONNECT, _first(command=6001), errors.UnsupportedCommand),
    "log-refused": (Command.CMD_DATA_WRRQ, _first(command=2001, data=b""), errors.UnsupportedCommand),
    "sizes-refused": (Command.CMD_GET_FREE_SIZES, _first(command=2001), errors.UnsupportedCommand),
    "short-sizes": (Command.CMD_GET_FREE_SIZES, _first(data=bytes(10)), errors.ProtocolViolation),
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
        _with_data(lambda data: table(data[4:-39])),
        errors.IncompleteTransfer,
    ),
    "another-session": (Command.CMD_GET_VERSION, _first(session_id=1), errors.ProtocolViolation),
    "number-from-the-future": (Command.CMD_GET_VERSION, _first(reply_number=900), errors.ProtocolViolation),
    "another-option": (Command.CMD_OPTIONS_RRQ, _first(data=b"Door=1\0"), errors.ProtocolViolation),
    "the-option-asked-before": (Command.CMD_OPTIONS_RRQ, _first(data=b"~Platform=ZEM560\0"), errors.ProtocolViolation),
    "two-letters-for-a-serial-number": (
        Command.CMD_OPTIONS_RRQ,
        lambda frames: [replace(frames[0], data=b"er=1\0")] if b"Serial" in frames[0].data else frames,
        errors.ProtocolViolation,
    ),
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
def test_a_part_that_was_not_requested_fails_the_reading(case: str) -> None:
    with (
        serving(terminal(40, records=3000), Rewrite(Command.CMD_DATA_RDY, WRONG_PARTS[case])) as one,
        pytest.raises((errors.IncompleteTransfer, errors.ProtocolViolation)),
    ):
        gateway().read(one)


def test_a_wrong_declared_size_fails_the_read_even_where_the_counter_says_nothing() -> None:
    class Blind(Rewrite):
        async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
            if request.command == Command.CMD_GET_FREE_SIZES:
                answer = _first(data=bytes(92))(answer)
            await super().deliver(request, answer, connection)

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
            for _ in range(3):  # in each attempt
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                    connection.recv(100)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(errors.ProtocolViolation):
            gateway().read(device(listener.getsockname()[1]))
        thread.join()
