"""Commands to emulated terminals: sent, confirmed, refused by a family, expired."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import pytest

from zk_pipeline.devices.push.commands import CommandKind, PushCommand
from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.profiles import PUSH_2_4, SECURITY_3, TFT_3, PushProfile
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.push.commands import MAX_SENDS, QueuedCommand
from zk_pipeline.store.store import Store
from zk_pipeline_tests.receiver.receiver_fixtures import QUICK, adopt, receiver_of, serve
from zk_pipeline_tests.simulator.push.push_fixtures import pushing_terminal
from zk_pipeline_tests.store.store_fixtures import StoppedClock
from zk_pipeline_tests.waiting import until

NAME = "push-gate"
SERIAL = serial_number_of(NAME)
START, END = datetime.fromisoformat("2026-03-02 00:00:00"), datetime.fromisoformat("2026-03-02 23:59:59")
profiles = pytest.mark.parametrize("profile", [PUSH_2_4, TFT_3, SECURITY_3], ids=lambda one: one.family)


@contextmanager
def uploaded(store: Store, profile: PushProfile, faults: PushFaults | None = None) -> Iterator[PushingTerminal]:
    """An adopted terminal that has uploaded its nine punches; expiry is looked for all the time."""
    adopt(store, SERIAL, NAME)
    with serve(receiver_of(store), replace(QUICK, expiry=0.02)) as served:
        terminal = pushing_terminal(served.url, name=NAME, clock=store.clock, profile=profile, punches=9, faults=faults)
        assert terminal.cycle()
        yield terminal


def of_the_log(kind: CommandKind, profile: PushProfile) -> PushCommand:
    """A command about all punches; that of family C has no span."""
    return PushCommand(kind=kind) if profile.family == "C" else PushCommand(kind=kind, start_local=START, end_local=END)


def carried_out(store: Store, terminal: PushingTerminal, command: PushCommand) -> QueuedCommand:
    """The command after the terminal has confirmed it, or the receiver has refused it."""
    number = store.push.queue(SERIAL, command, by="test")

    def is_ended() -> bool:
        terminal.ask()
        return store.push.commands(SERIAL)[0].finished_at is not None

    until(is_ended)
    (ended,) = [one for one in store.push.commands(SERIAL) if one.id == number]
    return ended


@profiles
def test_the_number_of_punches_is_the_result_of_a_count(profile: PushProfile, store: Store) -> None:
    with uploaded(store, profile) as terminal:
        ended = carried_out(store, terminal, of_the_log("count_punches", profile))
    assert (ended.state, ended.return_code, ended.result) == ("done", 0, "9")


@profiles
def test_the_answers_to_a_query_are_uploads_with_stamp_0(profile: PushProfile, store: Store) -> None:
    with uploaded(store, profile) as terminal:
        ended = carried_out(store, terminal, of_the_log("query_punches", profile))
    assert ended.state == "done"
    with store.database.read("test") as connection:
        found = connection.execute("SELECT sum(lines), sum(stored) FROM push_batches WHERE stamp = '0'").fetchone()
        assert found == (9, 0)
        assert connection.execute("SELECT count(*) FROM push_stamps WHERE stamp = '0'").fetchone() == (0,)


def test_versions_in_the_result_of_info_are_recorded(store: Store) -> None:
    with uploaded(store, PUSH_2_4) as terminal:
        ended = carried_out(store, terminal, PushCommand(kind="info"))
        assert ended.result is not None
        assert "transactioncount=9" in ended.result
    (known,) = store.push.terminals()
    assert known.firmware_version == terminal.definition.firmware


def test_a_command_that_the_family_does_not_have_fails_with_the_reason(store: Store) -> None:
    with uploaded(store, SECURITY_3) as terminal:
        ended = carried_out(store, terminal, PushCommand(kind="info"))
    assert (ended.state, ended.return_code) == ("failed", -1002)
    assert ended.result == "terminals of family C have no command info"


def test_a_command_that_is_never_confirmed_is_sent_five_times_and_expires(store: Store, clock: StoppedClock) -> None:
    with uploaded(store, PUSH_2_4, PushFaults(confirms_commands=False)) as terminal:
        store.push.queue(SERIAL, PushCommand(kind="info"), by="test")
        for times in range(1, MAX_SENDS + 1):
            until(terminal.ask)
            until(lambda times=times: store.push.commands(SERIAL)[0].times_sent == times)  # type: ignore[misc]
            assert terminal.ask() == []
            clock.go(seconds=61)
        clock.go(minutes=10)
        until(lambda: store.push.commands(SERIAL)[0].state == "expired")
        until(lambda: terminal.ask() == [])
