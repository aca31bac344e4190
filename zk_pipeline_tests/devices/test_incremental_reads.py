"""Incremental reading: only new records are transferred, and all readings together have each record once."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest

from zk_pipeline.devices.models import Protocol, Reading
from zk_pipeline.simulator.terminal.faults import RefuseCommand
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.simulator.terminal.records import Layout, TerminalUser
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline_tests.devices.terminal_fixtures import (
    NAME,
    Rewrite,
    Watched,
    device,
    gateway,
    same_punches,
    serving,
    terminal,
)
from zk_pipeline_tests.waiting import until

LAYOUTS: list[Layout] = [8, 16, 40]
PROTOCOLS: list[Protocol] = ["tcp", "udp"]
LOG, USER_LIST = b"\x01\x0d\x00", b"\x01\x09\x00"  # how a request for its snapshot begins
NOON = datetime(2026, 3, 2, 12, 0)


def punch(emulated: EmulatedTerminal, count: int) -> None:
    """Punches of many users, after the last record of the log."""
    first = emulated.record_count
    for number in range(first, first + count):
        emulated.punch(str(1000 + number % 40), NOON + timedelta(seconds=number), punch_state=number % 2)


def together(*readings: Reading) -> pd.DataFrame:
    return pd.concat([reading.punches for reading in readings], ignore_index=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_readings_one_after_the_other_hold_every_punch_once(protocol: Protocol, layout: Layout) -> None:
    emulated = terminal(layout, records=500)
    readings: list[Reading] = []
    with serving(emulated, protocol=protocol) as one:
        for new in (0, 1, 0, 15, 16, 17, 300, 0, 2):
            punch(emulated, new)
            readings.append(gateway().read(one, readings[-1].position if readings else None))

    assert [reading.mode for reading in readings] == [
        "full", "incremental", "unchanged", "incremental", "incremental", "incremental", "incremental", "unchanged",
        "incremental",
    ]  # fmt: skip
    assert [len(reading.punches) for reading in readings] == [500, 1, 0, 15, 16, 17, 300, 0, 2]
    assert same_punches(together(*readings), emulated.punches())
    assert {reading.layout for reading in readings} == {layout}
    assert all(later.record_count_after == later.info.record_count for later in readings)
    assert all(list(later.punches.dtypes) == list(first.punches.dtypes) for first, later in pairwise(readings))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_log_that_has_not_changed_costs_about_a_kilobyte(protocol: Protocol) -> None:
    watched = Watched()
    with serving(terminal(40, records=3000), watched, protocol=protocol) as one:
        full = gateway().read(one)
        until(lambda: watched.count(Command.CMD_EXIT))
        watched.forget()
        later = gateway().read(one, full.position)
        until(lambda: watched.count(Command.CMD_EXIT))

    assert (later.mode, len(later.punches), len(later.rejected)) == ("unchanged", 0, 0)
    assert watched.count(Command.CMD_CONNECT) == 1
    assert watched.count(Command.CMD_DATA_WRRQ) == 1
    assert later.position == full.position
    assert later.bytes_read == watched.sent_bytes < 1500


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_bytes_of_a_reading_are_all_that_the_terminal_has_sent(protocol: Protocol) -> None:
    emulated, watched = terminal(40, records=3000), Watched()
    with serving(emulated, watched, protocol=protocol) as one:
        full = gateway().read(one)
        until(lambda: watched.count(Command.CMD_EXIT))
        assert full.bytes_read == watched.sent_bytes > 3000 * 40
        watched.forget()
        punch(emulated, 20)
        later = gateway().read(one, full.position)
        until(lambda: watched.count(Command.CMD_EXIT))

    assert later.mode == "incremental"
    assert later.bytes_read == watched.sent_bytes
    assert 20 * 40 < later.bytes_read < 4000


@pytest.mark.parametrize("command", [Command.CMD_GET_FREE_SIZES, Command.CMD_DATA_WRRQ, Command.CMD_FREE_DATA])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_punch_that_lands_during_a_reading_is_neither_lost_nor_doubled(layout: Layout, command: Command) -> None:
    def late_punch(answer: list[Frame]) -> list[Frame]:
        punch(emulated, 1)
        return answer

    emulated = terminal(layout, records=500)
    with Fleet.serve([emulated]) as fleet:
        one = device(fleet.port_of(NAME))
        fleet.inject(NAME, Rewrite(command, late_punch, times=1))
        full = gateway().read(one)
        fleet.inject(NAME, Rewrite(command, late_punch, times=1))
        fleet.call(lambda: punch(emulated, 1))
        later = gateway().read(one, full.position)
        last = gateway().read(one, later.position)

    assert (full.mode, later.mode) == ("full", "incremental")
    assert emulated.record_count == 503
    assert same_punches(together(full, later, last), emulated.punches())


def test_a_record_that_cannot_be_a_punch_keeps_its_place_in_the_log() -> None:
    emulated = terminal(40, records=500)
    bad = bytearray(emulated.encoded_log()[:40])
    bad[27:31] = b"\xff" * 4
    with serving(emulated) as one:
        full = gateway().read(one)
        punch(emulated, 3)
        emulated.append_raw(bytes(bad))
        later = gateway().read(one, full.position)
        last = gateway().read(one, later.position)

    assert later.mode == "incremental"
    assert later.rejected["record_index"].tolist() == [503]
    assert later.rejected["raw"].tolist() == [bytes(bad)]
    assert last.mode == "unchanged"


def test_the_user_list_is_read_again_only_after_a_change_of_the_user_counter() -> None:
    emulated, watched = terminal(40, records=500), Watched()
    with serving(emulated, watched) as one:
        full = gateway().read(one)
        punch(emulated, 1)
        second = gateway().read(one, full.position)
        asked = watched.count(Command.CMD_DATA_WRRQ, USER_LIST)
        newcomer = TerminalUser(uid=900, user_id="900", name="New")
        emulated.definition = replace(emulated.definition, users=(*emulated.definition.users, newcomer))
        third = gateway().read(one, second.position)

    assert (second.users, asked) == (None, 1)
    assert third.mode == "unchanged"
    assert third.users is not None
    assert third.users["user_id"].tolist()[-1] == "900"


def test_8_byte_records_need_the_user_list_in_every_reading_and_after_the_log() -> None:
    """Slots are reassigned: their users over time are known from the lists of all readings."""
    emulated, watched = terminal(8, records=500), Watched()
    with serving(emulated, watched) as one:
        full = gateway().read(one)
        punch(emulated, 1)
        second = gateway().read(one, full.position)
        third = gateway().read(one, second.position)

    assert [reading.mode for reading in (full, second, third)] == ["full", "incremental", "unchanged"]
    assert [reading.users is None for reading in (full, second, third)] == [False, False, False]
    snapshots = [one.data[:3] for one in watched.requests if one.command == Command.CMD_DATA_WRRQ]
    assert snapshots == [LOG, USER_LIST] * 3


def test_8_byte_records_that_wait_for_a_user_list_are_read_again() -> None:
    emulated = terminal(8, records=500)
    refusal = RefuseCommand(Command.CMD_DATA_WRRQ, data_prefix=USER_LIST)
    with Fleet.serve([emulated]) as fleet:
        one = device(fleet.port_of(NAME))
        full = gateway().read(one)
        fleet.inject(NAME, refusal)
        fleet.call(lambda: punch(emulated, 5))
        waiting = gateway().read(one, full.position)
        fleet.inject(NAME, Watched())
        healed = gateway().read(one, waiting.position)

    assert (waiting.mode, len(waiting.punches), waiting.users, waiting.position) == ("incremental", 5, None, None)
    assert same_punches(healed.punches, emulated.punches())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_counter_that_always_says_0_is_never_taken_for_an_unchanged_one(layout: Layout) -> None:
    blind = Rewrite(Command.CMD_GET_FREE_SIZES, lambda frames: [replace(frames[0], data=bytes(len(frames[0].data)))])
    with serving(terminal(layout, records=500), blind) as one:
        assert gateway().read(one).position is None


def test_an_empty_log_is_requested_again() -> None:
    with serving(terminal(40, records=0)) as one:
        assert gateway().read(one).position is None


def test_a_terminal_without_a_serial_number_is_always_read_in_full() -> None:
    with serving(terminal(40, records=500), RefuseCommand(Command.CMD_OPTIONS_RRQ)) as one:
        assert gateway().read(one).position is None
