"""Incremental reading without proof of continuity falls back to a full reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pandas as pd
import pytest

from zk_pipeline.devices.errors import UnsupportedCommand
from zk_pipeline.devices.models import LogPosition, Protocol, Reading
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import Faults, RefuseCommand
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline_tests.devices.terminal_fixtures import (
    NAME,
    Rewrite,
    data_packets,
    device,
    gateway,
    same_punches,
    serving,
    terminal,
)

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
NOON = datetime(2026, 3, 2, 12, 0)  # noqa: DTZ001 - a wall clock has no zone


def punch(emulated: EmulatedTerminal, count: int) -> None:
    for number in range(count):
        emulated.punch(str(1000 + number % 40), NOON + timedelta(seconds=emulated.record_count))


def forget_the_oldest(emulated: EmulatedTerminal) -> None:
    emulated.discard_oldest(100)
    punch(emulated, 150)


def clear_and_fill_up(emulated: EmulatedTerminal) -> None:
    emulated.clear_log()
    punch(emulated, 600)


def shrink(emulated: EmulatedTerminal) -> None:
    emulated.discard_oldest(100)


def replace_terminal(emulated: EmulatedTerminal) -> None:
    emulated._options["~SerialNumber"] = "OTHER"  # factory option
    punch(emulated, 1)


CHANGES: dict[str, Callable[[EmulatedTerminal], None]] = {
    "the oldest were dropped": forget_the_oldest,
    "cleared and filled up": clear_and_fill_up,
    "counter shrank": shrink,
    "another terminal": replace_terminal,
    "cleared": lambda emulated: emulated.clear_log(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_log_that_is_not_the_known_one_is_read_in_full(protocol: Protocol, change: str) -> None:
    emulated = terminal(40, records=500)
    with serving(emulated, protocol=protocol) as one:
        full = gateway().read(one)
        CHANGES[change](emulated)
        later = gateway().read(one, full.position)

    assert later.mode == "full"
    assert same_punches(later.punches, emulated.punches())


def changed(position: LogPosition | None, **changes: object) -> LogPosition:
    assert position is not None
    return replace(position, **changes)  # type: ignore[arg-type]


def flipped(overlap: bytes, at: int) -> bytes:
    return overlap[:at] + bytes([overlap[at] ^ 1]) + overlap[at + 1 :]


WRONG_TAILS: dict[str, Callable[[Reading], LogPosition]] = {
    "first byte of the overlap": lambda full: changed(full.position, overlap=flipped(full.position.overlap, 0)),  # type: ignore[union-attr]
    "last byte of the overlap": lambda full: changed(full.position, overlap=flipped(full.position.overlap, -1 % 640)),  # type: ignore[union-attr]
    "no overlap": lambda full: changed(full.position, overlap=b""),
    "half a record": lambda full: changed(full.position, overlap=full.position.overlap[20:]),  # type: ignore[union-attr]
    "another layout": lambda full: changed(full.position, layout="16"),
    "an unknown layout": lambda full: changed(full.position, layout="41"),
    "other total": lambda full: changed(full.position, total_bytes=20_040),
    "one record more than there are": lambda full: changed(full.position, record_count=506, total_bytes=506 * 40),
    "one record less than were read": lambda full: changed(full.position, record_count=499, total_bytes=499 * 40),
    "no serial number": lambda full: changed(full.position, serial_number=""),
}


@pytest.mark.parametrize("case", WRONG_TAILS)
def test_a_position_that_does_not_match_is_not_used(case: str) -> None:
    emulated = terminal(40, records=500)
    with serving(emulated) as one:
        full = gateway().read(one)
        punch(emulated, 5)
        later = gateway().read(one, WRONG_TAILS[case](full))

    assert later.mode == "full"
    assert same_punches(later.punches, emulated.punches())


class OffsetFault(Faults):
    """Faults of the parts after the beginning of the table, by subclass. Packets are numbered, as by real terminals."""

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        answer = data_packets(1008, numbered=True)(answer)
        if request.command == Command.CMD_DATA_RDY and request.data[:4] != bytes(4):
            answer = self.change(answer, request, connection)
        await super().deliver(request, answer, connection)

    def change(self, answer: list[Frame], request: Frame, connection: Connection) -> list[Frame]:
        raise NotImplementedError


class RefusesOffsets(OffsetFault):
    def change(self, answer: list[Frame], request: Frame, connection: Connection) -> list[Frame]:  # noqa: ARG002
        return [replace(answer[0], command=Command.CMD_ACK_ERROR, data=b"")]


class HangsAtOffsets(OffsetFault):
    def change(self, answer: list[Frame], request: Frame, connection: Connection) -> list[Frame]:  # noqa: ARG002
        connection.mute()
        return answer


class SendsLess(OffsetFault):
    def change(self, answer: list[Frame], request: Frame, connection: Connection) -> list[Frame]:  # noqa: ARG002
        return [answer[0], replace(answer[1], data=answer[1].data[:-1]), *answer[2:]]


class Shifted(OffsetFault):
    def change(self, answer: list[Frame], request: Frame, connection: Connection) -> list[Frame]:  # noqa: ARG002
        return [answer[0], replace(answer[1], data=bytes(40) + answer[1].data[:-40]), *answer[2:]]


@pytest.mark.parametrize("firmware", [RefusesOffsets, HangsAtOffsets, SendsLess, Shifted])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_firmware_that_gives_no_parts_by_offset_is_read_in_full(protocol: Protocol, firmware: type[Faults]) -> None:
    emulated = terminal(40, records=400)  # 16,000 bytes: one part in a full reading, also over UDP
    with serving(emulated, firmware(), protocol=protocol) as one:
        full = gateway().read(one)
        punch(emulated, 5)
        later = gateway(timeout=0.3).read(one, full.position)

    assert later.mode == "full"
    assert same_punches(later.punches, emulated.punches())


@pytest.mark.parametrize("announced", [4 + 505 * 40 - 40, 4 + 505 * 40 - 1, 0])
def test_an_announced_size_that_fits_no_counter_makes_a_full_reading(announced: int) -> None:
    size = announced.to_bytes(4, "little")
    wrong = Rewrite(
        Command.CMD_DATA_WRRQ, lambda frames: [replace(frames[0], data=b"\0" + size * 2 + bytes(4))], times=1
    )
    emulated = terminal(40, records=500)
    with Fleet.serve([emulated]) as fleet:
        one = device(fleet.port_of(NAME))
        full = gateway().read(one)
        fleet.call(lambda: punch(emulated, 5))
        fleet.inject(NAME, wrong)
        later = gateway().read(one, full.position)

    assert later.mode == "full"
    assert same_punches(later.punches, emulated.punches())


def test_a_table_that_declares_another_size_than_it_announces_makes_a_full_reading() -> None:
    def declares_less(frames: list[Frame]) -> list[Frame]:
        if len(frames[1].data) != 4:
            return frames
        return [frames[0], replace(frames[1], data=(504 * 40).to_bytes(4, "little")), frames[2]]

    emulated = terminal(40, records=500)
    with Fleet.serve([emulated]) as fleet:
        one = device(fleet.port_of(NAME))
        full = gateway().read(one)
        fleet.call(lambda: punch(emulated, 5))
        fleet.inject(NAME, Rewrite(Command.CMD_DATA_RDY, declares_less))
        later = gateway().read(one, full.position)

    assert later.mode == "full"
    assert same_punches(later.punches, emulated.punches())


@dataclass
class OldSnapshot(Faults):
    """The first snapshot is older than the counter, though complete."""

    records: int
    is_over: bool = False

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        size = self.records * 40
        if request.command == Command.CMD_DATA_WRRQ and not self.is_over:
            announced = (4 + size).to_bytes(4, "little")
            answer = [replace(answer[0], data=b"\0" + announced * 2 + bytes(4))]
        if request.command == Command.CMD_DATA_RDY and request.data[:4] == bytes(4) and not self.is_over:
            self.is_over = True
            answer = [answer[0], replace(answer[1], data=size.to_bytes(4, "little")), answer[-1]]
        await super().deliver(request, answer, connection)


def test_a_log_that_is_older_than_its_counter_makes_a_full_reading() -> None:
    emulated = terminal(40, records=500)
    with Fleet.serve([emulated]) as fleet:
        one = device(fleet.port_of(NAME))
        full = gateway().read(one)
        fleet.call(lambda: punch(emulated, 5))
        fleet.inject(NAME, OldSnapshot(503))
        later = gateway().read(one, full.position)

    assert later.mode == "full"
    assert same_punches(later.punches, emulated.punches())


@pytest.mark.parametrize(("records", "discarded"), [(5000, 0), (5000, 1), (5000, 999), (4999, 999), (4001, 999)])
def test_a_full_log_that_drops_its_oldest_never_looks_unchanged(records: int, discarded: int) -> None:
    """The counter stays at the capacity, or returns to its old value."""
    emulated = terminal(40, records=records)
    emulated.definition = replace(emulated.definition, record_capacity=5000)
    with serving(emulated) as one:
        full = gateway().read(one)
        emulated.discard_oldest(discarded)
        punch(emulated, max(discarded, 1))
        later = gateway().read(one, full.position)

    assert later.info.record_count == full.info.record_count == records
    assert later.mode == "full"
    assert same_punches(later.punches, emulated.punches())


def test_the_first_fill_up_of_a_log_is_noticed_by_its_overlap() -> None:
    """The log had free capacity in the first reading, and has dropped its oldest records since."""
    emulated = terminal(40, records=3900)
    emulated.definition = replace(emulated.definition, record_capacity=5000)
    with serving(emulated) as one:
        full = gateway().read(one)
        punch(emulated, 1100)
        emulated.discard_oldest(999)
        later = gateway().read(one, full.position)

    assert full.position is not None
    assert later.mode == "full"
    assert same_punches(later.punches, emulated.punches())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_log_that_comes_at_once_is_proven_likewise(protocol: Protocol) -> None:
    emulated = terminal(16, records=20)
    with serving(emulated, protocol=protocol) as one:
        full = gateway().read(one)
        punch(emulated, 2)
        later = gateway().read(one, full.position)
        last = gateway().read(one, later.position)

    assert [reading.mode for reading in (full, later, last)] == ["full", "incremental", "unchanged"]
    assert same_punches(pd.concat([full.punches, later.punches]), emulated.punches())
    assert later.info.record_count == last.info.record_count == 22


def clear_and_refill(emulated: EmulatedTerminal) -> None:
    count = emulated.record_count
    emulated.clear_log()
    punch(emulated, count)


def lose_the_last(emulated: EmulatedTerminal, lost: int, new: int) -> None:
    """A power cut has lost the records that were not written yet."""
    kept = emulated.punches().iloc[: emulated.record_count - lost]
    emulated.clear_log()
    for user_id, at_local, verify_type, state in kept.itertuples(index=False):
        emulated.punch(user_id, at_local, verify_type=verify_type, punch_state=state)
    punch(emulated, new)


def lose_the_oldest(emulated: EmulatedTerminal) -> None:
    emulated.discard_oldest(3)
    punch(emulated, 3)


SAME_COUNT: dict[str, Callable[[EmulatedTerminal], None]] = {
    "cleared and refilled": clear_and_refill,
    "the last one lost and one new": lambda emulated: lose_the_last(emulated, 1, 1),
    "the last twenty lost and twenty new": lambda emulated: lose_the_last(emulated, 20, 20),
    "five lost and nine new": lambda emulated: lose_the_last(emulated, 5, 9),
    "the oldest gone and as many new": lose_the_oldest,
}


@pytest.mark.parametrize("change", SAME_COUNT)
@pytest.mark.parametrize("records", [25, 500], ids=["at-once", "in-parts"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_counter_that_did_not_move_does_not_hide_another_log(protocol: Protocol, records: int, change: str) -> None:
    emulated = terminal(16, records=records)
    with serving(emulated, protocol=protocol) as one:
        full = gateway().read(one)
        SAME_COUNT[change](emulated)
        later = gateway().read(one, full.position)

    assert later.mode == "full"
    assert same_punches(later.punches, emulated.punches())


def test_a_log_refused_when_it_has_grown_is_a_refusal_and_no_empty_reading() -> None:
    emulated = terminal(40, records=500)
    with Fleet.serve([emulated]) as fleet:
        one = device(fleet.port_of(NAME))
        full = gateway().read(one)
        fleet.call(lambda: punch(emulated, 5))
        fleet.inject(NAME, RefuseCommand(Command.CMD_DATA_WRRQ))
        with pytest.raises(UnsupportedCommand):
            gateway().read(one, full.position)
