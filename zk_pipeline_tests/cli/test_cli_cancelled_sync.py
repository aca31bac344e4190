"""A sync that is told to end: what is under way is drained and settled, and the next one repeats nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.partitions import range_tags
from zk_pipeline.simulator.crm.faults import Fault, any_of, whenever
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.crm.matrix.crm_judge import CRM_COUNTS
from zk_pipeline_tests.demo.dagster_ui import serving_ui
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, ingest, on, process, rows
from zk_pipeline_tests.waiting import until

PEOPLE = 300
SLOW = Fault(delay_before=0.03)


@pytest.fixture
def due(home_store: Store, crm: CrmReceiver) -> Store:
    """PEOPLE days of one Monday, due at a CRM that takes its time."""
    home_store.devices.add(device("Gate"))
    people = (f"U{number:04}" for number in range(PEOPLE))
    ingest(home_store, "Gate", *(punch for user in people for punch in on(MONDAY, "09:00", "18:00", user_id=user)))
    process(home_store, MONDAY)
    assert home_store.deliveries.states() == {"pending": PEOPLE}
    crm.fault_rule = lambda _: SLOW
    return home_store


def assert_settled_and_nothing_repeated_by_the_next(due: Store, crm: CrmReceiver, zk: CommandLine) -> None:
    states = due.deliveries.states()
    assert set(states) == {"delivered", "pending"}, states
    applied = {user for user, _ in crm.ledger.latest()}
    held = rows(due, "SELECT user_id FROM crm_deliveries WHERE state = 'delivered'")
    assert {user for (user,) in held} == applied
    assert 50 <= len(applied) < PEOPLE
    assert rows(due, "SELECT count(*) FROM crm_attempts WHERE outcome = 'delivered'") == [(len(applied),)]
    crm.fault_rule = lambda _: None
    assert zk("sync", "--json").json["delivered"] == PEOPLE - len(applied)
    assert set(crm.ledger.attempts.values()) == {1}
    assert len(crm.ledger.latest()) == PEOPLE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_end_settles_what_it_sent(
    due: Store,
    crm: CrmReceiver,
    zk: CommandLine,
    number: signal.Signals,
    record_property: Callable[[str, object], None],
) -> None:
    command = [sys.executable, "-m", "zk_pipeline", "sync"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            until(lambda: crm.posts >= 50 or running.poll() is not None, seconds=60)
            told = time.monotonic()
            running.send_signal(number)
            out, err = running.communicate(timeout=30)
            record_property(CRM_COUNTS, f"{number.name}: ended {time.monotonic() - told:.1f} s later")
        finally:
            running.kill()
    assert "Traceback" not in out + err
    assert "starts it once more" not in err
    assert running.returncode == 128 + number
    told_of = dict(line.split() for line in out.splitlines())
    assert told_of["delivered"] == str(due.deliveries.states()["delivered"])
    assert_settled_and_nothing_repeated_by_the_next(due, crm, zk)


def test_a_request_that_hangs_does_not_hold_up_the_end(
    due: Store, crm: CrmReceiver, record_property: Callable[[str, object], None]
) -> None:
    crm.fault_rule = any_of(whenever(lambda r: "U0010" in r.user_ids, Fault(delay_after=60)), lambda _: SLOW)
    with subprocess.Popen([sys.executable, "-m", "zk_pipeline", "sync"], stderr=subprocess.PIPE) as running:
        try:
            until(lambda: crm.posts >= 50 or running.poll() is not None, seconds=60)
            told = time.monotonic()
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=30)  # the request's own time would be up after 30 s more
            record_property(CRM_COUNTS, f"ended {time.monotonic() - told:.1f} s later")
        finally:
            running.kill()
    assert "sending" not in due.deliveries.states()
    waiting = "SELECT user_id, attempts, retry_rounds, last_status FROM crm_deliveries WHERE last_error IS NOT NULL"
    assert rows(due, waiting) == [("U0010", 0, 0, None)]
    assert due.deliveries.states().keys() == {"delivered", "pending"}


@pytest.mark.timeout(240)
def test_a_run_of_the_daemon_that_is_told_to_end_settles_what_it_sent(
    home: Path, due: Store, crm: CrmReceiver, zk: CommandLine, tmp_path: Path
) -> None:
    environment = {"CRM_API_URL": crm.url, "CRM_API_TOKEN": CRM_TOKEN, "CRM_SYNC_INTERVAL_MINUTES": "1440"}
    with serving_ui(home, ["up"], tmp_path / "up.log", **environment) as ui:
        ui.launch("sync_to_crm", range_tags(str(MONDAY), str(MONDAY)))
        until(lambda: crm.posts >= 50, seconds=120)
        with dg.DagsterInstance.get() as instance:
            (run,) = instance.get_runs(dg.RunsFilter(job_name="sync_to_crm"))
            os.kill(int(run.tags[PROCESS_TAG].rsplit(":", 2)[1]), signal.SIGTERM)
        until(lambda: not any(one.status in ("STARTED", "CANCELING") for one in ui.runs()), seconds=60)
    assert_settled_and_nothing_repeated_by_the_next(due, crm, zk)
