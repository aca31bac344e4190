"""Reconciliation over HTTP: emulated terminals of each family count, and upload again what the store has lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from zk_pipeline.receiver.reconciliation import Reconciliation
from zk_pipeline.simulator.push.profiles import PROFILES, PushProfile
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.store import Store
from zk_pipeline_tests.receiver.receiver_fixtures import adopt, punches, receiver_of, serve
from zk_pipeline_tests.simulator.push.push_fixtures import pushing_terminal
from zk_pipeline_tests.store.store_fixtures import StoppedClock, execute
from zk_pipeline_tests.waiting import until

NAME = "push-gate"
SERIAL = serial_number_of(NAME)
SAMPLE = ("push-2.4.2", "legacy-4", "security-3")  # the other families under `matrix`


@contextmanager
def reconciled(store: Store, profile: PushProfile, clock: StoppedClock) -> Iterator[PushingTerminal]:
    """A terminal that was adopted an hour ago and has uploaded nine punches, and a receiver that compares often."""
    adopt(store, SERIAL, NAME, zone="Africa/Nairobi")
    clock.go(hours=1)
    task = Reconciliation(store.push, begin_seconds=0.0)
    with serve(receiver_of(store, on_tick=task.tick)) as served:
        terminal = pushing_terminal(served.url, name=NAME, clock=store.clock, profile=profile, punches=9, batch_lines=4)
        assert terminal.cycle()
        yield terminal


def states(store: Store) -> list[str]:
    return [one.state for one in store.push.checks(SERIAL)]


@pytest.mark.parametrize(
    "profile",
    [pytest.param(one, id=name, marks=() if name in SAMPLE else pytest.mark.matrix) for name, one in PROFILES.items()],
)
def test_a_lost_punch_is_found_by_the_count_of_the_terminal_and_stored(
    profile: PushProfile, store: Store, clock: StoppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "zk_pipeline.receiver")
    with reconciled(store, profile, clock) as terminal:
        all_punches = punches(store)
        assert len(all_punches) == 9
        execute(store, "DELETE FROM raw_punches WHERE seq IN (SELECT seq FROM raw_punches ORDER BY seq LIMIT 2)")
        until(lambda: terminal.cycle() and set(states(store)) == {"equal"})
        assert punches(store) == all_punches
    assert any("2 lost punches" in one.getMessage() for one in caplog.records)
