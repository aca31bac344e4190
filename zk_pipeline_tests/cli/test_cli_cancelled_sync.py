"""Interrupted sync: requests in progress are drained and settled, and the next sync repeats nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.partitions import range_tags
from zk_pipeline.runs.submit import submit
from zk_pipeline.simulator.crm.faults import Fault, any_of, whenever
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.crm.matrix.crm_judge import CRM_COUNTS
from zk_pipeline_tests.demo.dagster_ui import serving_ui
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, ingest, on, process, rows
from zk_pipeline_tests.waiting import until

WORKSPACE = str(Path(__file__).parents[2] / "workspace.yaml")
USERS = 60
SENT = 16  # of them, at the signal; the others take more than a second
SLOW = Fault(delay_before=0.2)


@pytest.fixture
def due(home_store: Store, crm: CrmReceiver) -> Store:
    """USERS attendance days of one Monday, due at a slow CRM."""
    home_store.devices.add(device("Gate"))
    users = (f"U{number:04}" for number in range(USERS))
    ingest(home_store, "Gate", *(punch for user in users for punch in on(MONDAY, "09:00", "18:00", user_id=user)))
    process(home_store, MONDAY)
    assert home_store.deliveries.states() == {"pending": USERS}
    crm.fault_rule = lambda _: SLOW
    return home_store


def assert_settled_and_nothing_repeated_by_the_next(due: Store, crm: CrmReceiver, zk: CommandLine) -> None:
    states = due.deliveries.states()
    assert set(states) == {"delivered", "pending"}, states
    applied = {user for user, _ in crm.ledger.latest()}
    delivered = rows(due, "SELECT user_id FROM crm_deliveries WHERE state = 'delivered'")
    assert {user for (user,) in delivered} == applied
    assert SENT <= len(applied) < USERS
    assert rows(due, "SELECT count(*) FROM crm_attempts WHERE outcome = 'delivered'") == [(len(applied),)]
    crm.fault_rule = lambda _: None
    assert zk("sync", "--json").json["delivered"] == USERS - len(applied)
    assert set(crm.ledger.attempts.values()) == {1}
    assert len(crm.ledger.latest()) == USERS


# By default: the hanging request, the run of the run queue, and the signals to a sync in test_cli_signals.
@pytest.mark.matrix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_command_settles_its_requests(
    due: Store,
    crm: CrmReceiver,
    zk: CommandLine,
    number: signal.Signals,
    record_property: Callable[[str, object], None],
) -> None:
    command = [sys.executable, "-m", "zk_pipeline", "sync"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            until(lambda: crm.posts >= SENT or running.poll() is not None, seconds=60)
            signalled = time.monotonic()
            running.send_signal(number)
            out, err = running.communicate(timeout=30)
            record_property(CRM_COUNTS, f"{number.name}: ended {time.monotonic() - signalled:.1f} s later")
        finally:
            running.kill()
    assert "Traceback" not in out + err
    assert "retries the run" not in err
    assert running.returncode == 128 + number
    summary = dict(line.split() for line in out.splitlines())
    assert summary["delivered"] == str(due.deliveries.states()["delivered"])
    assert_settled_and_nothing_repeated_by_the_next(due, crm, zk)


def test_a_hanging_request_does_not_delay_the_exit(
    due: Store, crm: CrmReceiver, record_property: Callable[[str, object], None]
) -> None:
    crm.fault_rule = any_of(whenever(lambda r: "U0010" in r.user_ids, Fault(delay_after=60)), lambda _: SLOW)
    command = [sys.executable, "-m", "zk_pipeline", "sync"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            until(lambda: crm.posts >= SENT or running.poll() is not None, seconds=60)
            signalled = time.monotonic()
            running.send_signal(signal.SIGTERM)
            out, err = running.communicate(timeout=30)  # the request itself would time out after 30 s more
            record_property(CRM_COUNTS, f"ended {time.monotonic() - signalled:.1f} s later")
        finally:
            running.kill()
    assert "Traceback" not in out + err
    assert running.returncode == 128 + signal.SIGTERM
    summary = dict(line.split() for line in out.splitlines())
    assert summary["delivered"] == str(due.deliveries.states()["delivered"])
    assert "sending" not in due.deliveries.states()
    waiting = "SELECT user_id, attempts, retry_rounds, last_status FROM crm_deliveries WHERE last_error IS NOT NULL"
    assert rows(due, waiting) == [("U0010", 0, 0, None)]
    assert due.deliveries.states().keys() == {"delivered", "pending"}


@pytest.mark.timeout(240)
def test_a_terminated_run_of_the_run_queue_settles_its_requests(due: Store, crm: CrmReceiver, zk: CommandLine) -> None:
    """The run's process is one that a code server has started, as below `up`."""
    with (
        dg.DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([WORKSPACE])) as context,
        QueuedRunCoordinatorDaemon(interval_seconds=1) as queue,
    ):
        job = build_definitions(load_settings()).resolve_job_def("sync_to_crm")
        run_id = submit(instance, job, str(uuid.uuid4()), tags=range_tags(str(MONDAY), str(MONDAY)), config={})
        assert [error for error in queue.run_iteration(context) if error is not None] == []
        until(lambda: crm.posts >= SENT, seconds=120)
        terminate_run(instance)
        until(lambda: instance.get_runs(dg.RunsFilter([run_id]))[0].is_finished, seconds=60, every=0.1)
    assert_settled_and_nothing_repeated_by_the_next(due, crm, zk)


def terminate_run(instance: dg.DagsterInstance) -> None:
    (run,) = instance.get_runs(dg.RunsFilter(job_name="sync_to_crm"))
    os.kill(int(run.tags[PROCESS_TAG].rsplit(":", 2)[1]), signal.SIGTERM)


@pytest.mark.stress
@pytest.mark.timeout(240)
def test_a_terminated_run_of_the_daemon_settles_its_requests(
    home: Path, due: Store, crm: CrmReceiver, zk: CommandLine, tmp_path: Path
) -> None:
    environment = {"CRM_API_URL": crm.url, "CRM_API_TOKEN": CRM_TOKEN, "CRM_SYNC_INTERVAL_MINUTES": "1440"}
    with serving_ui(home, ["up"], tmp_path / "up.log", **environment) as ui:
        ui.launch("sync_to_crm", range_tags(str(MONDAY), str(MONDAY)))
        until(lambda: crm.posts >= SENT, seconds=120)
        with dg.DagsterInstance.get() as instance:
            terminate_run(instance)
        until(lambda: not any(one.status in ("STARTED", "CANCELING") for one in ui.runs()), seconds=60, every=0.25)
    assert_settled_and_nothing_repeated_by_the_next(due, crm, zk)
