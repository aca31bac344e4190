"""Run requests and skip reasons of the schedules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise

import dagster as dg
import pytest
from dagster._core.definitions.schedule_definition import ScheduleExecutionData
from dagster._utils.schedules import schedule_execution_time_iterator

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.automation.schedules import MAX_RUNS, cron_every, schedules
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import STALE_SITES_TAGS, DateRange, contiguous
from zk_pipeline.defs.resources import resources
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.runtime.processes import process_identity
from zk_pipeline.simulator.crm.faults import first, refusal
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.run_fixtures import deliver
from zk_pipeline_tests.gates import MONDAY, WEDNESDAY, present
from zk_pipeline_tests.store.store_fixtures import busy, device, ingest

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def evaluated(launcher: Launcher, job: str) -> ScheduleExecutionData:
    settings = load_settings()
    (schedule,) = (one for one in schedules(settings) if one.name == f"{job}_schedule")
    with dg.build_schedule_context(
        instance=launcher.instance, resources=resources(settings), scheduled_execution_time=NOW
    ) as context:
        return schedule.evaluate_tick(context)


def tick(launcher: Launcher, job: str) -> str | list[dict[str, str]]:
    """Skip reason of the schedule of `job`, or the tags of its run requests."""
    data = evaluated(launcher, job)
    if data.run_requests:
        assert data.skip_message is None
        if job == "process_attendance":
            assert all(STALE_SITES_TAGS.items() <= one.tags.items() for one in data.run_requests)
        return [{key: tag for key, tag in one.tags.items() if key in (START, END)} for one in data.run_requests]
    assert data.skip_message is not None
    return data.skip_message


def span(first: object, last: object) -> dict[str, str]:
    return {START: str(first), END: str(last)}


def make_partitions(launcher: Launcher, *names: str) -> None:
    launcher.instance.add_dynamic_partitions(Names().device_partitions_name, names)


@pytest.mark.parametrize(
    ("minutes", "times"),
    [
        (1, ["* * * * *"]),
        (5, ["*/5 * * * *"]),
        (15, ["*/15 * * * *"]),
        (30, ["*/30 * * * *"]),
        (60, ["*/60 * * * *"]),
        (1440, ["0 0 * * *"]),
        (90, ["0 0,3,6,9,12,15,18,21 * * *", "30 1,4,7,10,13,16,19,22 * * *"]),
    ],
)
def test_an_interval_becomes_cron(minutes: int, times: list[str]) -> None:
    cron = cron_every(minutes)
    assert ([cron] if isinstance(cron, str) else cron) == times


@pytest.mark.parametrize("minutes", [1, 5, 15, 30, 60, 90, 1440])
def test_ticks_are_as_far_apart_as_the_interval_says(minutes: int) -> None:
    moments = list(islice(schedule_execution_time_iterator(NOW.timestamp(), cron_every(minutes), "UTC"), 60))
    assert {later - earlier for earlier, later in pairwise(moments)} == {timedelta(minutes=minutes)}


def test_without_an_enabled_device_no_run_is_started(launcher: Launcher, home_store: Store) -> None:
    why = "no enabled device is polled: add one with `zk-pipeline device add`"
    assert tick(launcher, "poll_devices") == why
    home_store.devices.add(device("Gate"))
    home_store.devices.update("Gate", enabled=False)
    assert tick(launcher, "poll_devices") == why


def test_a_device_whose_partition_is_not_made_yet_waits_for_it(launcher: Launcher, home_store: Store) -> None:
    home_store.devices.add(device("Gate"))
    assert "no partitions yet" in str(tick(launcher, "poll_devices"))
    make_partitions(launcher, "Gate")
    assert tick(launcher, "poll_devices") == [span("Gate", "Gate")]


def test_one_run_polls_all_enabled_devices_and_none_that_is_disabled(launcher: Launcher, home_store: Store) -> None:
    names = ["A", "B", "C", "D", "E"]
    for name in names:
        home_store.devices.add(device(name))
    make_partitions(launcher, *names)
    assert tick(launcher, "poll_devices") == [span("A", "E")]
    home_store.devices.update("E", enabled=False)
    assert tick(launcher, "poll_devices") == [span("A", "D")]
    home_store.devices.update("B", enabled=False)
    assert tick(launcher, "poll_devices") == [span("A", "A"), span("C", "D")]


def test_terminals_that_only_push_are_not_polled(launcher: Launcher, home_store: Store) -> None:
    home_store.devices.add(replace(device("A"), polled=False))
    make_partitions(launcher, "A")
    assert tick(launcher, "poll_devices") == "no enabled device is polled: add one with `zk-pipeline device add`"
    home_store.devices.add(device("B"))
    make_partitions(launcher, "B")
    assert tick(launcher, "poll_devices") == [span("B", "B")]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_tick_does_not_pile_up_behind_a_run(launcher: Launcher, status: dg.DagsterRunStatus) -> None:
    for unfinished, scheduled in (
        ("poll_devices", "poll_devices"),
        ("process_attendance", "process_attendance"),
        ("sync_to_crm", "sync_to_crm"),
        ("retry_failed_syncs", "sync_to_crm"),
        ("sync_to_crm", "retry_failed_syncs"),
        ("daily_cleanup", "daily_cleanup"),
    ):
        run = dg.DagsterRun(job_name=unfinished, status=status, tags={PROCESS_TAG: process_identity()})
        launcher.instance.add_run(run)
        assert tick(launcher, scheduled) == f"run {run.run_id} of {unfinished} is still {status.value.lower()}"
        launcher.instance.delete_run(run.run_id)


def test_a_busy_store_is_a_skipped_tick_and_never_an_empty_answer(
    launcher: Launcher, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "at", lambda path: Store(Database(path, wait_seconds=0.1)))
    with busy(home_store, "a long job"):
        for job in ("poll_devices", "process_attendance", "sync_to_crm", "retry_failed_syncs"):
            assert "a long job" in str(tick(launcher, job))


def test_processing_asks_for_the_stale_dates_in_as_few_runs_as_there_are_gaps(
    launcher: Launcher, home_store: Store
) -> None:
    assert tick(launcher, "process_attendance") == "no stale work date: no punches newer than their attendance days"
    dates = [MONDAY, MONDAY + timedelta(days=1), MONDAY + timedelta(days=5)]
    beyond = [date(2099, 1, 1), date(2001, 1, 1)]
    home_store.devices.add(device("Gate"))
    ingest(home_store, "Gate", *(punch for day in (*dates, *beyond) for punch in present(day)))
    asked = [span(dates[0], dates[1]), span(dates[2], dates[2])]
    assert tick(launcher, "process_attendance") == asked

    for part in contiguous(dates):
        assert launcher.process(part).failure is None
    assert tick(launcher, "process_attendance") == "no stale work date: no punches newer than their attendance days"


def test_a_tick_asks_for_a_bounded_number_of_runs(launcher: Launcher, home_store: Store) -> None:
    days = [MONDAY + timedelta(days=2 * number) for number in range(MAX_RUNS + 3)]
    home_store.devices.add(device("Gate"))
    ingest(home_store, "Gate", *(punch for day in days for punch in present(day)))
    assert tick(launcher, "process_attendance") == [span(day, day) for day in days[:MAX_RUNS]]


def test_the_sync_asks_for_what_is_due_and_the_retry_for_what_was_given_up(
    launcher: Launcher, home_store: Store, crm: CrmReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "no delivery is due"
    assert (tick(launcher, "sync_to_crm"), tick(launcher, "retry_failed_syncs")) == (why, why)
    home_store.devices.add(device("Gate"))
    ingest(home_store, "Gate", *present(MONDAY), *present(WEDNESDAY))
    launcher.process(DateRange(MONDAY, WEDNESDAY))
    assert tick(launcher, "sync_to_crm") == [span(WEDNESDAY, WEDNESDAY)], "one run for all work dates"
    (request,) = evaluated(launcher, "sync_to_crm").run_requests or ()
    assert request.run_config["ops"]["crm_sync"]["config"] == {"all_due": True}

    monkeypatch.setenv("CRM_MAX_RETRIES", "1")
    crm.fault_rule = first(1, refusal(500))
    one_attempt = Launcher(load_settings(), launcher.instance)
    assert "1 to retry" in str(deliver(one_attempt, MONDAY, MONDAY).failure)
    assert tick(launcher, "sync_to_crm") == [span(WEDNESDAY, WEDNESDAY)]
    assert tick(launcher, "retry_failed_syncs") == [span(WEDNESDAY, WEDNESDAY)]

    home_store.deliveries.save_pause(home_store.clock() + timedelta(minutes=5), crm.url)
    assert str(tick(launcher, "sync_to_crm")).startswith("the CRM asked for a pause until ")
    assert str(tick(launcher, "retry_failed_syncs")).startswith("the CRM asked for a pause until ")
    home_store.deliveries.save_pause(home_store.clock(), crm.url)

    monkeypatch.setenv("ZK_PIPELINE_HISTORY_START", str(WEDNESDAY))  # earlier work dates have no partition
    assert tick(launcher, "retry_failed_syncs") == [span(WEDNESDAY, WEDNESDAY)]


def test_the_retry_schedule_tells_its_runs_to_retry(launcher: Launcher, home_store: Store) -> None:
    home_store.devices.add(device("Gate"))
    ingest(home_store, "Gate", *present(MONDAY))
    launcher.process(DateRange(MONDAY, MONDAY))
    (request,) = evaluated(launcher, "retry_failed_syncs").run_requests or ()
    assert request.run_config["ops"]["crm_sync"]["config"] == {"retry": True, "all_due": True}


def test_the_cleanup_is_asked_for_every_night(launcher: Launcher) -> None:
    assert tick(launcher, "daily_cleanup") == [{}]
