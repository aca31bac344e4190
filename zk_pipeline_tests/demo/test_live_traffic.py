"""Simulated punches while clients use the terminals."""

from __future__ import annotations

import threading

from zk_pipeline.demo.live_traffic import punch_until
from zk_pipeline.simulator.company.workforce import generate
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import utc_now
from zk_pipeline_tests.simulator import raw_terminal_client as raw
from zk_pipeline_tests.simulator.raw_terminal_client import RawClient

LOCKED_ROUNDS = 30


def test_users_wait_at_a_locked_terminal_and_the_others_go_on() -> None:
    workforce = generate(devices=2, employees=4, days=1, until=utc_now())
    locked, other = (one.name for one in workforce.terminals)
    stopped, counts = threading.Event(), []
    with Fleet.serve(workforce.emulated_terminals()) as fleet, RawClient(fleet.port_of(locked)) as client:

        def check() -> None:
            counts.append((fleet.terminal(locked).record_count, fleet.terminal(other).record_count))
            if len(counts) == LOCKED_ROUNDS:
                assert client.request(raw.ENABLE).command == raw.OK
            elif len(counts) == 2 * LOCKED_ROUNDS:
                stopped.set()

        client.connect()
        assert client.request(raw.DISABLE).command == raw.OK
        before = fleet.terminal(locked).record_count + fleet.terminal(other).record_count
        punches = punch_until(stopped, fleet, workforce, now=utc_now, pause_seconds=0, check=check)
        assert fleet.terminal(locked).record_count + fleet.terminal(other).record_count == before + punches
    first, when_unlocked, last = counts[0], counts[LOCKED_ROUNDS - 1], counts[-1]
    assert when_unlocked[0] == first[0] < last[0]
    assert first[1] < when_unlocked[1] < last[1]
