"""Fault matrix, connections: no terminal, refusals, comm keys, timeouts and end of stream at every request."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.simulator.terminal.faults import (
    AtFirst,
    ChangeAnswers,
    CloseAfter,
    Faults,
    HangAt,
    RefuseCommand,
    RefuseConnections,
)
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline.simulator.terminal.server import TerminalServer
from zk_pipeline_tests.devices.matrix.conftest import Settle
from zk_pipeline_tests.devices.matrix.matrix_axes import (
    BUSY,
    LOG,
    REFUSAL,
    USER_LIST,
    once_or_always,
    over_all_protocols,
    over_protocols,
    over_shapes,
)
from zk_pipeline_tests.devices.matrix.matrix_judge import BRIEF, RIGHT, UNLISTED, WAITING, outcome_of, switched_on
from zk_pipeline_tests.devices.matrix.matrix_terminals import NAME, SHAPES, ZONE, MatrixTerminal


@contextmanager
def hole(*, listens: bool) -> Iterator[Device]:
    """A port that never answers, or one without a listener."""
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(tcp.getsockname())
        port = int(tcp.getsockname()[1])
        if listens:
            tcp.listen()
        else:
            udp.close()
        yield Device(name=NAME, ip_address="127.0.0.1", port=port, timezone=ZONE)


def spoken(device: Device, protocol: Protocol) -> Device:
    return Device(name=NAME, ip_address=device.ip_address, port=device.port, protocol=protocol, timezone=ZONE)


@over_all_protocols
def test_nothing_listens(settle: Settle, protocol: Protocol) -> None:
    with hole(listens=False) as device:
        settle(outcome_of(NO_TERMINAL, spoken(device, protocol)), "refused")


@over_all_protocols
def test_a_black_hole(settle: Settle, protocol: Protocol) -> None:
    with hole(listens=True) as device:
        settle(outcome_of(NO_TERMINAL, spoken(device, protocol), timeout=BRIEF), "no_answer")


@over_all_protocols
def test_a_black_hole_until_the_deadline(settle: Settle, protocol: Protocol) -> None:
    with hole(listens=True) as device:
        settle(outcome_of(NO_TERMINAL, spoken(device, protocol), timeout=30, deadline=0.4), "deadline_exceeded")


NO_TERMINAL = MatrixTerminal(SHAPES["40"], 0)


@over_all_protocols
def test_every_connection_is_turned_away(settle: Settle, protocol: Protocol) -> None:
    terminal = MatrixTerminal(SHAPES["40"], 3)
    with switched_on(terminal, RefuseConnections(), protocol) as (_, device):
        outcome = outcome_of(terminal, device, timeout=BRIEF)
    settle(outcome, "no_answer" if protocol == "udp" else "refused")


CONNECT_REFUSALS = {2001: BUSY, 2003: BUSY, 2004: BUSY, 6001: REFUSAL, 0xFFFF: REFUSAL}


@pytest.mark.parametrize("code", CONNECT_REFUSALS)
@over_protocols
def test_a_terminal_too_busy_or_unwilling_to_connect(settle: Settle, protocol: Protocol, code: int) -> None:
    terminal = MatrixTerminal(SHAPES["40"], 3)
    with switched_on(terminal, RefuseCommand(Command.CMD_CONNECT, code), protocol) as (_, device):
        settle(outcome_of(terminal, device), CONNECT_REFUSALS[code])


KEYS = [1, 65_535, 65_536, 131_071, 999_999, 2**31, 2**32 - 1]
SESSIONS = [1, 0x7FFF, 0x8000, 0xA5A5, 0xFFFE]


@pytest.mark.parametrize("first_session", SESSIONS, ids=lambda session: f"session-{session:#x}")
@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"key-{key}")
@over_protocols
def test_every_comm_key_in_every_session(settle: Settle, protocol: Protocol, key: int, first_session: int) -> None:
    terminal = MatrixTerminal(SHAPES["40"], 3, comm_key=key)
    with sessions_from(first_session, terminal, protocol) as device:
        settle(outcome_of(terminal, device, comm_key=key), RIGHT)


@pytest.mark.parametrize("first_session", SESSIONS, ids=lambda session: f"session-{session:#x}")
@pytest.mark.parametrize("key", [0, 1, 131_070, 2**32 - 1], ids=lambda key: f"key-{key}")
@over_protocols
def test_a_wrong_comm_key(settle: Settle, protocol: Protocol, key: int, first_session: int) -> None:
    terminal = MatrixTerminal(SHAPES["40"], 3, comm_key=131_071)
    with sessions_from(first_session, terminal, protocol) as device:
        settle(outcome_of(terminal, device, comm_key=key), "wrong_comm_key")


@contextmanager
def sessions_from(first_session: int, terminal: MatrixTerminal, protocol: Protocol) -> Iterator[Device]:
    server = TerminalServer(terminal, first_session_id=first_session)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        yield Device(name=NAME, ip_address="127.0.0.1", port=port, protocol=protocol, timezone=ZONE)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@dataclass(frozen=True)
class Request:
    """One request of a reading, and the outcome if the terminal never answers or refuses it."""

    command: Command
    silence: str = "no_answer"
    refusal: str = "refuses_protocol"
    data_prefix: bytes = b""


REQUESTS = {
    "connect": Request(Command.CMD_CONNECT, refusal=BUSY),
    "clock": Request(Command.CMD_GET_TIME),
    "counters": Request(Command.CMD_GET_FREE_SIZES),
    "serial-number": Request(Command.CMD_OPTIONS_RRQ, refusal=RIGHT),
    "firmware": Request(Command.CMD_GET_VERSION, refusal=RIGHT),
    "log": Request(Command.CMD_DATA_WRRQ, data_prefix=LOG),
    "first-part": Request(Command.CMD_DATA_RDY, data_prefix=bytes(4)),
    "second-part": Request(Command.CMD_DATA_RDY, data_prefix=bytes.fromhex("c0ff0000")),
    "users": Request(Command.CMD_DATA_WRRQ, silence=WAITING, refusal=WAITING, data_prefix=USER_LIST),
    "release": Request(Command.CMD_FREE_DATA, silence=RIGHT, refusal=RIGHT),
    "goodbye": Request(Command.CMD_EXIT, silence=RIGHT, refusal=RIGHT),
}
over_requests = pytest.mark.parametrize("request_name", REQUESTS)


@once_or_always
@over_requests
def test_silence_at_every_request(settle: Settle, request_name: str, is_once: bool) -> None:
    settle(*silenced("tcp", "40", REQUESTS[request_name], is_once))


@once_or_always
@pytest.mark.parametrize("request_name", [name for name in REQUESTS if name != "second-part"])
def test_silence_at_every_request_over_udp(settle: Settle, request_name: str, is_once: bool) -> None:
    """Parts are smaller there."""
    settle(*silenced("udp", "40", REQUESTS[request_name], is_once))


@over_shapes
@over_protocols
def test_silence_at_the_user_list(settle: Settle, protocol: Protocol, shape: str) -> None:
    settle(*silenced(protocol, shape, REQUESTS["users"], is_once=False))


def silenced(protocol: Protocol, shape: str, request: Request, is_once: bool) -> tuple[str, str]:
    """The outcome of a reading, and the expected one: repaired on a new connection that is answered."""
    terminal = MatrixTerminal(SHAPES[shape], SHAPES[shape].in_parts)
    silence: Faults = ChangeAnswers(request.command, lambda _: [], request.data_prefix)
    with switched_on(terminal, AtFirst(silence) if is_once else silence, protocol) as (_, device):
        outcome = outcome_of(terminal, device, timeout=0.3 if is_once else BRIEF)
    if request.silence == WAITING:  # an unavailable user list is not requested again
        return outcome, WAITING if SHAPES[shape].base == 8 else UNLISTED
    return outcome, RIGHT if is_once else request.silence


@over_requests
@over_shapes
@over_protocols
def test_a_refusal_of_every_request(settle: Settle, protocol: Protocol, shape: str, request_name: str) -> None:
    request = REQUESTS[request_name]
    terminal = MatrixTerminal(SHAPES[shape], SHAPES[shape].in_parts)
    refusal = RefuseCommand(request.command, data_prefix=request.data_prefix)
    with switched_on(terminal, refusal, protocol) as (_, device):
        outcome = outcome_of(terminal, device)
    is_asked = protocol == "tcp" or request_name != "second-part"  # parts are smaller over UDP
    expected = request.refusal if is_asked else RIGHT
    if expected == WAITING and SHAPES[shape].base != 8:
        expected = UNLISTED
    settle(outcome, expected)


@pytest.mark.parametrize("command", [Command.CMD_GET_TIME, Command.CMD_DATA_RDY], ids=["clock", "part"])
@over_protocols
def test_silence_from_one_request_on(settle: Settle, protocol: Protocol, command: Command) -> None:
    terminal = MatrixTerminal(SHAPES["40"], SHAPES["40"].in_parts)
    with switched_on(terminal, HangAt(command), protocol) as (_, device):
        settle(outcome_of(terminal, device, timeout=BRIEF), "no_answer")


# A reading of 70 kB in 40-byte records: within every answer up to the log's announcement, then within its parts.
SENT_BYTES = [0, 1, 7, 8, 15, 16, 20, 32, 60, 140, 250, 330, 400, 409, 425, 433, 450, 2_000, 65_000, 66_000, 71_000]
ENDS = {"end-of-stream": False, "reset": True}


@once_or_always
@pytest.mark.parametrize("sent_bytes", SENT_BYTES)
@pytest.mark.parametrize("end", ENDS)
def test_the_stream_ends(settle: Settle, end: str, sent_bytes: int, is_once: bool) -> None:
    """Before the first complete answer it is a refusal, afterwards a transfer that a new connection may complete."""
    terminal = MatrixTerminal(SHAPES["40"], SHAPES["40"].in_parts)
    cut = CloseAfter(sent_bytes, with_reset=ENDS[end])
    with switched_on(terminal, AtFirst(cut) if is_once else cut, "tcp") as (_, device):
        outcome = outcome_of(terminal, device)
    is_past_log = sent_bytes >= 71_000
    later = RIGHT if is_once or is_past_log else "incomplete_transfer"
    settle(outcome, "refused" if sent_bytes < 16 else later)


WHOLE_DATAGRAMS = (0, 8, 20)  # no answer, the answer to CONNECT, and that plus the clock


@once_or_always
@pytest.mark.parametrize("sent_bytes", SENT_BYTES)
def test_datagrams_cease(settle: Settle, sent_bytes: int, is_once: bool) -> None:
    terminal = MatrixTerminal(SHAPES["40"], SHAPES["40"].in_parts)
    cut = CloseAfter(sent_bytes)
    with switched_on(terminal, AtFirst(cut) if is_once else cut, "udp") as (_, device):
        outcome = outcome_of(terminal, device, timeout=0.3 if is_once else BRIEF)
    # The last bytes are a partial datagram, which is not a frame, unless one ends there.
    settle(outcome, RIGHT if is_once else "no_answer" if sent_bytes in WHOLE_DATAGRAMS else "protocol_violation")
