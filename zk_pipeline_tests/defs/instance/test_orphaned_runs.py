"""Orphaned runs: marked as failed, so that they block no further run."""

from __future__ import annotations

import socket

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import WILL_RETRY_TAG

from zk_pipeline.defs.instance.instance_health import failed_run_details
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG, fail_orphaned_runs
from zk_pipeline.defs.instance.runs_in_progress import run_in_progress
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.runs.submit import failure_message, wait_for
from zk_pipeline.runtime.processes import process_identity
from zk_pipeline.simulator.terminal.faults import Faults, HangAt
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.run_fixtures import poll_all, statuses
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.waiting import child, until

POLL = """
    import sys
    from zk_pipeline.cli.main import run
    run(["poll"])
"""


def only_run(launcher: Launcher) -> dg.DagsterRun:
    (run,) = launcher.instance.get_runs()
    return run


def steps_of(launcher: Launcher, run_id: str) -> list[str | None]:
    """Steps in progress."""
    begun, ended = (
        [entry.step_key for entry in launcher.instance.all_logs(run_id, of_type=kind)]
        for kind in (dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS)
    )
    return [step for step in begun if step not in ended]


def test_a_run_whose_process_was_killed_fails_and_no_longer_blocks_its_job(
    launcher: Launcher, fleet: Fleet, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_on(fleet, home_store, gate("Gate", *present(MONDAY)))
    fleet.inject("Gate", HangAt(Command.CMD_CONNECT))
    monkeypatch.setenv("ZKTECO_TIMEOUT", "600")
    monkeypatch.setenv("ZKTECO_POLL_DEADLINE", "600")
    with child(POLL) as polling:
        until(
            lambda: launcher.instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])), seconds=90
        )
        run = only_run(launcher)
        until(lambda: steps_of(launcher, run.run_id) == ["raw_punches"], seconds=90)
        assert run.tags[PROCESS_TAG] == process_identity(polling.pid)
        assert (
            run_in_progress(launcher.instance, launcher.names, "poll_devices")
            == f"run {run.run_id} of poll_devices is still started"
        )
        polling.kill()

    assert run_in_progress(launcher.instance, launcher.names, "poll_devices") is None
    assert only_run(launcher).status is dg.DagsterRunStatus.FAILURE
    failures = launcher.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert len(list(failures)) == 1
    (failed,) = failed_run_details(launcher.instance, only_run(launcher), launcher.names)
    assert failed.message.splitlines() == [
        f"The process of this run ({polling.pid} on {socket.gethostname()}) exited unexpectedly (killed, out of "
        "memory, or host restart).",
        "Interrupted step: raw_punches. Rows that it stored are kept. A command started it: run the command again.",
    ]
    assert statuses(launcher, "raw_punches", ["Gate"]) == {"Gate": "failed"}

    monkeypatch.setenv("ZKTECO_TIMEOUT", "1")
    fleet.inject("Gate", Faults())
    assert poll_all(launcher, home_store).failure is None
    assert statuses(launcher, "raw_punches", ["Gate"]) == {"Gate": "materialized"}


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.CANCELING])
def test_a_command_that_was_killed_before_or_after_its_run_worked_blocks_nobody(
    launcher: Launcher, status: dg.DagsterRunStatus
) -> None:
    with child("print('here', flush=True); input()") as other:
        other.hear()
        tags = {PROCESS_TAG: process_identity(other.pid)}
        launcher.instance.add_run(dg.DagsterRun(job_name="sync_to_crm", status=status, tags=tags))
        assert run_in_progress(launcher.instance, launcher.names, "sync_to_crm") is not None
        other.kill()
    assert run_in_progress(launcher.instance, launcher.names, "sync_to_crm") is None


def test_a_retry_of_a_killed_run_is_not_taken_for_dead_by_the_tags_it_was_given(launcher: Launcher) -> None:
    with child("print('here', flush=True); input()") as other:
        other.hear()
        tags = {PROCESS_TAG: process_identity(other.pid)}
        started, begins = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED
        killed = launcher.instance.add_run(dg.DagsterRun(job_name="poll_devices", status=started, tags=tags))
        other.kill()
    assert fail_orphaned_runs(launcher.instance) == [killed.run_id]
    retry = dg.DagsterRun(
        job_name="poll_devices",
        status=begins,
        tags=tags,
        root_run_id=killed.run_id,
        parent_run_id=killed.run_id,
    )
    launcher.instance.add_run(retry)
    assert fail_orphaned_runs(launcher.instance) == []
    assert run_in_progress(launcher.instance, launcher.names, "poll_devices") is not None

    with child("print('here', flush=True); input()") as its_own:
        its_own.hear()
        launcher.instance.add_run_tags(retry.run_id, {PROCESS_TAG: process_identity(its_own.pid)})
        its_own.kill()
    assert fail_orphaned_runs(launcher.instance) == [retry.run_id]


def test_a_run_of_another_host_or_without_a_process_is_left_alone(launcher: Launcher) -> None:
    elsewhere = {PROCESS_TAG: f"not-{socket.gethostname()}:1:1"}
    for tags in (elsewhere, {}):
        launcher.instance.add_run(dg.DagsterRun(job_name="sync_to_crm", status=dg.DagsterRunStatus.STARTED, tags=tags))
    assert fail_orphaned_runs(launcher.instance) == []
    assert run_in_progress(launcher.instance, launcher.names, "sync_to_crm") is not None


@pytest.mark.parametrize(
    ("job", "retries", "what_is_next"),
    [
        ("poll_devices", 1, "The daemon retries the run."),
        ("poll_devices", 0, "The next tick of its schedule requests a run for the rest."),
        ("__ASSET_JOB", 0, "It is not retried: start it manually."),
    ],
)
def test_of_a_run_that_the_daemon_started_it_is_told_what_happens_next(
    launcher: Launcher, job: str, retries: int, what_is_next: str
) -> None:
    location = RegisteredCodeLocationOrigin("zk_pipeline")
    with child("print('here', flush=True); input()") as other:
        other.hear()
        tags = {PROCESS_TAG: process_identity(other.pid), "dagster/max_retries": str(retries)}
        launcher.instance.add_run(
            dg.DagsterRun(
                job_name=job,
                status=dg.DagsterRunStatus.STARTED,
                tags=tags,
                remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job),
            )
        )
        other.kill()
    assert len(fail_orphaned_runs(launcher.instance)) == 1
    (failed,) = failed_run_details(launcher.instance, only_run(launcher), launcher.names)
    assert failed.message.endswith(f"No step was in progress. Rows that it stored are kept. {what_is_next}")


def test_a_failed_run_that_is_waited_for_says_whether_it_is_retried_though_dagster_decides_a_moment_later(
    launcher: Launcher,
) -> None:
    run = launcher.instance.add_run(dg.DagsterRun(job_name="poll_devices", status=dg.DagsterRunStatus.FAILURE))
    sleeps = []

    def decide(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 3:
            launcher.instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "true"})

    ended = wait_for(launcher.instance, run.run_id, sleep=decide)
    assert len(sleeps) == 3
    assert failure_message(launcher.instance, ended) == "the run ended as failure (the daemon retries the run)"


def test_a_failed_run_whose_retry_nobody_decides_is_not_waited_for_without_end(launcher: Launcher) -> None:
    run = launcher.instance.add_run(dg.DagsterRun(job_name="poll_devices", status=dg.DagsterRunStatus.FAILURE))
    sleeps: list[float] = []
    ended = wait_for(launcher.instance, run.run_id, sleep=sleeps.append)
    assert 10 <= sum(sleeps) <= 60, "seconds"
    assert failure_message(launcher.instance, ended) == "the run ended as failure"
