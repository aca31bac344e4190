"""A complete log is accepted despite other errors of the reading; `warnings` reports them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import AtFirst, ChangeAnswers, CorruptData, Faults, HangAt
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.simulator.terminal.records import Layout
from zk_pipeline_tests.devices.terminal_fixtures import (
    NAME,
    USERS,
    Watched,
    device,
    gateway,
    same_punches,
    serving,
    terminal,
)

USER_LIST = b"\x01\x09\x00"  # how a request for its snapshot begins
PROTOCOLS: list[Protocol] = ["tcp", "udp"]


@dataclass
class OnceUsersAreAskedFor(Faults):
    """Another fault on each connection, beginning with the request for the user list."""

    faults: Faults

    def __post_init__(self) -> None:
        self._connections: list[Connection] = []  # kept, because a later connection could have the id() of an ended one

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command == Command.CMD_DATA_WRRQ and request.data.startswith(USER_LIST):
            self._connections.append(connection)
        is_late = any(known is connection for known in self._connections)
        await (self.faults if is_late else Faults()).deliver(request, answer, connection)


@dataclass
class Cut(Faults):
    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:  # noqa: ARG002
        connection.cut()


def _one_user_more(frames: list[Frame]) -> list[Frame]:
    counted = (len(USERS) + 1).to_bytes(4, "little")
    return [replace(frames[0], data=frames[0].data[:16] + counted + frames[0].data[20:])]


def _announced(by: int) -> Callable[[list[Frame]], list[Frame]]:
    def change(frames: list[Frame]) -> list[Frame]:
        size = int.from_bytes(frames[0].data[1:5], "little") + by
        return [replace(frames[0], data=b"\0" + size.to_bytes(4, "little") * 2 + bytes(4))]

    return change


BROKEN_LISTS: dict[str, Callable[[], Faults]] = {
    "another number than is counted": lambda: ChangeAnswers(Command.CMD_GET_FREE_SIZES, _one_user_more),
    "a size that is not its own": lambda: ChangeAnswers(Command.CMD_DATA_WRRQ, _announced(-72), USER_LIST),
    "a checksum that does not fit": lambda: OnceUsersAreAskedFor(CorruptData(50)),
    "the connection ends": lambda: OnceUsersAreAskedFor(Cut()),
    "silence": lambda: OnceUsersAreAskedFor(HangAt(Command.CMD_DATA_RDY)),
    "refused": lambda: ChangeAnswers(
        Command.CMD_DATA_WRRQ, lambda frames: [replace(frames[0], command=0xFFFF, data=b"")], USER_LIST
    ),
}


@pytest.mark.parametrize("case", BROKEN_LISTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_user_list_that_cannot_be_read_costs_no_punches(protocol: Protocol, case: str) -> None:
    emulated, watched = terminal(40, records=300), Watched(BROKEN_LISTS[case]())
    with serving(emulated, watched, protocol=protocol) as one:
        reading = gateway(timeout=1).read(one)
        later = gateway(timeout=1).read(one, reading.position)

    assert same_punches(reading.punches, emulated.punches())
    assert reading.users is None
    assert len(reading.warnings) == 1
    assert reading.warnings[0].startswith(f"{NAME}: the user list could not be read: ")
    # The list is requested again although nothing has changed, without a full reading of the log.
    assert (later.mode, later.users, len(later.warnings)) == ("unchanged", None, 1)


@pytest.mark.parametrize("case", BROKEN_LISTS)
def test_slots_without_a_user_list_wait_for_a_full_reading(case: str) -> None:
    emulated = terminal(8, records=300)
    with Fleet.serve([emulated], faults={NAME: BROKEN_LISTS[case]()}) as fleet:
        one = device(fleet.port_of(NAME))
        waiting = gateway(timeout=1).read(one)
        fleet.inject(NAME, Faults())
        healed = gateway().read(one, waiting.position)

    assert (waiting.position, waiting.users, len(waiting.warnings)) == (None, None, 1)
    assert healed.mode == "full"
    assert same_punches(healed.punches, emulated.punches())


@pytest.mark.parametrize("case", ["a checksum that does not fit", "the connection ends", "a size that is not its own"])
@pytest.mark.parametrize("layout", [8, 40])
def test_a_user_list_that_breaks_once_is_read_on_a_fresh_connection_and_the_log_is_not(
    layout: Layout, case: str
) -> None:
    emulated, watched = terminal(layout, records=3000), Watched(AtFirst(BROKEN_LISTS[case]()))
    with serving(emulated, watched) as one:
        reading = gateway().read(one)

    assert same_punches(reading.punches, emulated.punches())
    assert (reading.users is None, reading.warnings) == (False, ())
    assert watched.count(Command.CMD_DATA_WRRQ, b"\x01\x0d") == 1
    assert reading.position is not None


@pytest.mark.parametrize("layout", [8, 40])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_release_that_is_never_answered_costs_nothing(protocol: Protocol, layout: Layout) -> None:
    """The log is verified by then; the user list is read over a new connection, with the same fault."""
    emulated = terminal(layout, records=3000)
    watched = Watched(HangAt(Command.CMD_FREE_DATA))
    with serving(emulated, watched, protocol=protocol) as one:
        reading = gateway(timeout=0.3).read(one)
        emulated.punch("1000")
        later = gateway(timeout=0.3).read(one, reading.position)

    assert same_punches(reading.punches, emulated.punches().iloc[:-1])
    assert (reading.users is None, reading.warnings) == (False, ())
    assert (later.mode, len(later.punches)) == ("incremental", 1)
    assert watched.count(Command.CMD_CONNECT) == (3 if layout == 40 else 4)


RELEASES: dict[str, Callable[[list[Frame]], list[Frame]]] = {
    "refused": lambda frames: [replace(frames[0], command=Command.CMD_ACK_ERROR)],
    "another session": lambda frames: [replace(frames[0], session_id=frames[0].session_id ^ 1)],
    "session lost": lambda frames: [replace(frames[0], command=Command.CMD_ACK_UNAUTH)],
    "nonsense": lambda frames: [replace(frames[0], command=Command.CMD_DATA, data=bytes(50))],
}


@pytest.mark.parametrize("case", RELEASES)
def test_whatever_a_release_is_answered_the_log_is_taken(case: str) -> None:
    emulated = terminal(40, records=3000)
    with serving(emulated, ChangeAnswers(Command.CMD_FREE_DATA, RELEASES[case])) as one:
        reading = gateway().read(one)
    assert same_punches(reading.punches, emulated.punches())
    assert (reading.users is None, reading.warnings) == (False, ())


@pytest.mark.parametrize("case", ["silence", "the connection ends", "a checksum that does not fit"])
def test_a_log_is_not_cleared_in_a_session_that_broke(case: str) -> None:
    emulated, watched = terminal(40, records=300), Watched(BROKEN_LISTS[case]())
    with serving(emulated, watched) as one, pytest.raises(errors.TerminalError):
        gateway(timeout=0.3).clear_log(one, lambda _: True)
    assert watched.count(Command.CMD_CLEAR_ATTLOG) == 0
    assert emulated.record_count == 300


def test_a_log_is_not_cleared_after_a_release_that_was_not_answered() -> None:
    emulated, watched = terminal(40, records=3000), Watched(HangAt(Command.CMD_FREE_DATA))
    with serving(emulated, watched) as one, pytest.raises(errors.IncompleteTransfer):
        gateway(timeout=0.3).clear_log(one, lambda _: True)
    assert watched.count(Command.CMD_CLEAR_ATTLOG) == 0


def test_a_contradictory_user_list_does_not_keep_a_log_from_being_cleared() -> None:
    emulated = terminal(40, records=300)
    with serving(emulated, BROKEN_LISTS["another number than is counted"]()) as one:
        gateway().clear_log(one, lambda reading: len(reading.warnings) == 1)
    assert emulated.record_count == 0
