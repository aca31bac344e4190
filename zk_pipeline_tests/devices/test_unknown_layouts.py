"""An undecodable log or user list ends in a named error, never in punches or an empty user list."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.models import Device
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.simulator.terminal.records import Layout
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline_tests.devices.terminal_fixtures import (
    NAME,
    Rewrite,
    gateway,
    same_punches,
    serving,
    table,
    terminal,
)

LAYOUTS: list[Layout] = [8, 16, 40]
RESET = datetime(2000, 1, 8, 9, 0)  # noqa: DTZ001 - a wall clock has no zone


def reset_terminal(layout: Layout, *, is_ma300: bool = False) -> EmulatedTerminal:
    """200 punches, all after a reset of the clock: a case that once produced 110 false punches."""
    emulated = terminal(layout, records=0, is_ma300=is_ma300)
    emulated.set_clock(RESET)
    for number in range(200):
        emulated.punch(f"{1000 + number % 40}", RESET + pd.Timedelta(hours=2 * number).to_pytimedelta())
    emulated.set_clock(datetime(2000, 1, 25, 9, 0))  # noqa: DTZ001
    return emulated


def known(device: Device, layout: str) -> Device:
    return replace(device, log_layout=layout)


@pytest.mark.parametrize("is_ma300", [True, False], ids=["8-MA300", "8"])
def test_a_clock_that_was_reset_takes_the_layout_of_the_reading_before_or_fails_by_name(is_ma300: bool) -> None:
    emulated = reset_terminal(8, is_ma300=is_ma300)
    with serving(emulated) as one:
        with pytest.raises(errors.LayoutUnknown, match="set it with `zk-pipeline device set-clock NAME`, punch three"):
            gateway().read(one)
        reading = gateway().read(known(one, "8-MA300" if is_ma300 else "8"))
    assert same_punches(reading.punches, emulated.punches())


@pytest.mark.parametrize("is_ma300", [True, False], ids=["8-MA300", "8"])
def test_what_the_failure_advises_makes_the_log_readable(is_ma300: bool) -> None:
    emulated = reset_terminal(8, is_ma300=is_ma300)
    with serving(emulated) as one:
        gateway().set_clock(one)
        for _ in range(3):
            emulated.punch("1000")
        reading = gateway().read(one)
    assert len(reading.punches) == 203
    assert same_punches(reading.punches, emulated.punches())


def test_the_position_of_an_earlier_reading_gives_its_layout_to_a_full_one() -> None:
    emulated = terminal(8, records=500, is_ma300=True)
    with serving(emulated) as one:
        first = gateway().read(one)
        emulated.clear_log()
        emulated.set_clock(RESET)
        for _ in range(20):
            emulated.punch("1000")
        second = gateway().read(one, first.position)
    assert (first.log_layout, second.mode) == ("8-MA300", "full")
    assert same_punches(second.punches, emulated.punches())


@pytest.mark.parametrize("layout", [16, 40])
def test_logs_that_name_their_users_are_read_whatever_the_clock_says(layout: Layout) -> None:
    emulated = reset_terminal(layout)
    with serving(emulated) as one:
        assert same_punches(gateway().read(one).punches, emulated.punches())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_bytes_of_a_size_that_fits_are_no_log(layout: Layout) -> None:
    chance = random.Random(57)
    emulated = terminal(layout, records=0)
    for _ in range(57):
        emulated.append_raw(chance.randbytes(layout))
    with serving(emulated) as one, pytest.raises(errors.LayoutUnknown):
        gateway().read(one)


def user_list(records: bytes) -> Rewrite:
    """Sends these bytes as the second table: the user list, after the log."""
    tables = []

    def rewritten(frames: list[Frame]) -> list[Frame]:
        tables.append(frames)
        return frames if len(tables) == 1 else [replace(frames[0], command=1501, data=table(records))]

    return Rewrite(Command.CMD_DATA_WRRQ, rewritten)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("contents", ["random", "zeros", "ones"])
def test_a_user_list_that_makes_no_sense_is_named_and_costs_no_punches(layout: Layout, contents: str) -> None:
    emulated = terminal(layout, records=20)
    size = 40 * emulated.definition.user_record_size
    made = {"random": random.Random(72).randbytes(size), "zeros": bytes(size), "ones": b"\xff" * size}[contents]
    with serving(emulated, user_list(made)) as one:
        reading = gateway().read(one)
    assert reading.users is None
    (warning,) = reading.warnings
    assert NAME in warning
    assert f"{size} bytes of users make no sense in any known layout" in warning
    if layout != 8:
        assert same_punches(reading.punches, emulated.punches())


def test_such_a_user_list_is_an_error_if_only_the_list_is_requested() -> None:
    emulated = terminal(40, records=0)
    nonsense = Rewrite(
        Command.CMD_DATA_WRRQ, lambda frames: [replace(frames[0], command=1501, data=table(bytes(2880)))]
    )
    with serving(emulated, nonsense) as one, pytest.raises(errors.UserListUnreadable, match="stay"):
        gateway().users(one)


def test_a_list_with_an_entry_without_a_user_is_read_without_it() -> None:
    emulated = terminal(40, records=20)
    entries = np.frombuffer(emulated.encoded_users(), "u1").reshape(-1, 72).copy()
    entries[3, 48:] = 0
    entries[5, 48:52] = 0xFF
    with serving(emulated, user_list(entries.tobytes())) as one:
        reading = gateway().read(one)
    assert reading.users is not None
    assert len(reading.users) == 38
    assert [line.split(". ")[0] for line in reading.warnings] == [
        f"{NAME}: 1 of 39 user ids in the terminal's user list are not valid UTF-8"
    ]


def test_names_in_another_encoding_are_reported_with_what_to_do_and_then_read() -> None:
    emulated = terminal(40, records=20, encoding="cp1254")
    with serving(emulated) as one:
        wrong = gateway().read(one)
        right = gateway().read(replace(one, encoding="cp1254"))
    assert wrong.users is not None
    assert wrong.users["name"].str.startswith("\ufffdule").all()
    assert wrong.warnings == (
        f"{NAME}: 40 of 40 names in the terminal's user list are not valid UTF-8. Set the terminal's encoding (such "
        f'as GBK or cp1256): `zk-pipeline device update "{NAME}" --encoding ENCODING`, then '
        f'`zk-pipeline poll "{NAME}" --full`.',
    )
    assert right.users is not None
    assert right.users["name"].tolist() == [user.name for user in emulated.definition.users]
    assert right.warnings == ()
