"""Firmware with a wrong record counter: the log is accepted only with other evidence."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.faults import ChangeAnswers, Faults
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.simulator.terminal.records import Layout
from zk_pipeline_tests.devices.terminal_fixtures import NAME, Watched, gateway, same_punches, serving, table, terminal

LOG = b"\x01\x0d\x00"  # how a request for its snapshot begins
LAYOUTS: list[Layout] = [8, 16, 40]
PROTOCOLS: list[Protocol] = ["tcp", "udp"]


def counting(extra: int) -> Faults:
    """Reports `extra` records more than the log has."""

    def change(frames: list[Frame]) -> list[Frame]:
        (counted,) = struct.unpack_from("<i", frames[0].data, 32)
        data = frames[0].data[:32] + struct.pack("<i", counted + extra) + frames[0].data[36:]
        return [replace(frames[0], data=data)]

    return ChangeAnswers(Command.CMD_GET_FREE_SIZES, change)


@pytest.mark.parametrize("extra", [7, -7], ids=["more", "less"])
@pytest.mark.parametrize("records", [20, 500], ids=["at-once", "in-parts"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_counter_that_counts_deleted_records_too_hides_no_punches(
    protocol: Protocol, layout: Layout, records: int, extra: int
) -> None:
    emulated, watched = terminal(layout, records=records), Watched(counting(extra))
    with serving(emulated, watched, protocol=protocol) as one:
        reading = gateway().read(one)
        emulated.punch("1000")
        later = gateway().read(one, reading.position)

    assert same_punches(reading.punches, emulated.punches().iloc[:-1])
    assert reading.warnings == (
        f"{NAME}: the terminal counts {records + extra} records and its log has {records}, in two readings: these "
        "were accepted. If no records were deleted at the terminal, some may be missing.",
    )
    assert watched.count(Command.CMD_DATA_WRRQ, LOG) == 4
    # No counter would verify an incremental reading.
    assert (reading.position, later.mode) == (None, "full")
    assert same_punches(later.punches, emulated.punches())


def test_a_punch_between_the_two_readings_is_no_contradiction() -> None:
    class Punches(ChangeAnswers):
        async def deliver(self, request, answer, connection) -> None:  # type: ignore[no-untyped-def]
            await super().deliver(request, answer, connection)
            if request.command == Command.CMD_FREE_DATA:
                emulated.punch("1000")

    emulated = terminal(40, records=500)
    wrong = counting(7)
    assert isinstance(wrong, ChangeAnswers)
    with serving(emulated, Punches(wrong.command, wrong.change)) as one:
        reading = gateway().read(one)
    assert same_punches(reading.punches, emulated.punches().iloc[: len(reading.punches)])
    assert len(reading.punches) == 501
    assert len(reading.warnings) == 1


def _in_turn(*changes: Callable[[bytes], bytes]) -> Faults:
    """A small log, changed in another way at each request."""
    asked: list[int] = []

    def change(frames: list[Frame]) -> list[Frame]:
        records = changes[len(asked) % len(changes)](frames[0].data[4:])
        asked.append(1)
        return [replace(frames[0], data=table(records))]

    return ChangeAnswers(Command.CMD_DATA_WRRQ, change, LOG)


INCREDIBLE: dict[str, Faults] = {
    "two readings that differ": _in_turn(lambda log: log[:-40], lambda log: log[:-80]),
    "first record missing in one of them": _in_turn(lambda log: log[40:], lambda log: log[:-40]),
    "no whole number of records": _in_turn(lambda log: log[:-1]),
    "records without dates": _in_turn(lambda log: bytes(len(log) - 40)),
    "noise": _in_turn(lambda _: bytes(range(7, 247)) * 3),
    "nothing": _in_turn(lambda _: b""),
}


@pytest.mark.parametrize("case", INCREDIBLE)
def test_a_log_that_contradicts_its_counter_and_proves_nothing_is_not_taken(case: str) -> None:
    with (
        serving(terminal(40, records=20), INCREDIBLE[case]) as one,
        pytest.raises((errors.IncompleteTransfer, errors.ProtocolViolation)),
    ):
        gateway().read(one)


def test_a_log_of_16_byte_records_cut_in_one_is_not_taken_for_one_of_8_bytes() -> None:
    """The table is also a whole number of records of 8 bytes, half of which have a date."""
    with (
        serving(terminal(16, records=20), _in_turn(lambda log: log[:-8])) as one,
        pytest.raises(errors.IncompleteTransfer, match="312 bytes of records are not the 20 that the terminal counts"),
    ):
        gateway().read(one)


def test_a_log_is_not_cleared_that_the_counter_contradicts() -> None:
    emulated = terminal(40, records=20)
    with serving(emulated, counting(7)) as one, pytest.raises(errors.NotCleared):
        gateway().clear_log(one, lambda _: True)
    assert emulated.record_count == 20
