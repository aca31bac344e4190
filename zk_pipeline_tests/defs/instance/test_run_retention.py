"""Retention of runs and check evaluations: the latest of each partition and check are kept."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.assets.data_versions import DATA_VERSION_TAG
from zk_pipeline.defs.instance.check_retention import WHOLE_ASSET, delete_old_checks
from zk_pipeline.defs.instance.run_retention import delete_runs, find_old_runs
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.runs.launcher import Launcher, open_launcher
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.conftest import exported
from zk_pipeline_tests.gates import MONDAY, TUESDAY, gate, present, switch_on

TOMORROW = datetime.now(UTC) + timedelta(days=1)
DAYS = dg.AssetKey("daily_attendance")
EVALUATED = "dagster_event_type = 'ASSET_CHECK_EVALUATION'"


@pytest.fixture(scope="module")
def worked_home(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A home and its runs by name: two polls, Monday processed twice, Tuesday once, two clean-ups."""
    home = shutil.copytree(empty_home, tmp_path_factory.mktemp("worked") / "home")
    both, monday = DateRange(MONDAY, TUESDAY), DateRange(MONDAY, MONDAY)
    with exported(home), Fleet() as fleet, open_launcher(load_settings()) as launcher:
        store = Store.at(home / "data" / "attendance.duckdb")
        devices = switch_on(fleet, store, gate("North", *present(MONDAY)))
        return home, {
            "first poll": launcher.poll(devices, devices)[0].run_id,
            "second poll": launcher.poll(devices, devices)[0].run_id,
            "monday alone": launcher.process(monday).run_id,
            "both": launcher.process(both).run_id,
            "monday again": launcher.process(monday).run_id,
            "clean-up": launcher.clean_up(dry_run=True).run_id,
            "second clean-up": launcher.clean_up(dry_run=True).run_id,
        }


@pytest.fixture
def home(home: Path, worked_home: tuple[Path, dict[str, str]]) -> Path:
    """A copy of `worked_home`, exported."""
    return shutil.copytree(worked_home[0], home, dirs_exist_ok=True)


@pytest.fixture
def worked(worked_home: tuple[Path, dict[str, str]]) -> dict[str, str]:
    return worked_home[1]


@pytest.fixture
def launcher(home: Path) -> Launcher:  # noqa: ARG001 (exported)
    return Launcher(load_settings(), dg.DagsterInstance.get())


def names(worked: dict[str, str], run_ids: list[str]) -> set[str]:
    return {name for name, run_id in worked.items() if run_id in run_ids}


def test_the_newest_run_of_each_partition_stays_and_its_colour_with_it(
    launcher: Launcher, worked: dict[str, str], home: Path
) -> None:
    instance = launcher.instance
    colours = instance.get_materialized_partitions(DAYS)
    old = find_old_runs(instance, Names(), before=TOMORROW, limit=100)
    assert names(worked, old.removable) == {"first poll", "monday alone", "clean-up"}
    assert old.kept == 4
    files = len(list((home / "history" / "runs").glob("*.db")))
    delete_runs(instance, old.removable)
    assert names(worked, [run.run_id for run in instance.get_runs()]) == set(worked) - names(worked, old.removable)
    assert instance.get_materialized_partitions(DAYS) == colours == {str(MONDAY), str(TUESDAY)}
    assert len(list((home / "history" / "runs").glob("*.db"))) == files - 3
    assert find_old_runs(instance, Names(), before=TOMORROW, limit=100).removable == []


def test_young_and_unfinished_runs_stay_and_one_clean_up_deletes_so_many(
    launcher: Launcher, worked: dict[str, str]
) -> None:
    instance = launcher.instance
    assert find_old_runs(instance, Names(), before=TOMORROW - timedelta(days=2), limit=100).removable == []
    instance.add_run(dg.DagsterRun(job_name="poll_devices", status=dg.DagsterRunStatus.STARTED))
    assert len(find_old_runs(instance, Names(), before=TOMORROW, limit=2).removable) == 2
    assert names(worked, find_old_runs(instance, Names(), before=TOMORROW, limit=1).removable) == {"first poll"}


def test_the_job_deletes_runs_past_their_time_and_a_dry_run_only_counts_them(
    launcher: Launcher, worked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from zk_pipeline.defs.automation import jobs

    monkeypatch.setattr(jobs, "utc_now", lambda: TOMORROW + timedelta(days=90))
    assert launcher.clean_up(dry_run=True).observed["runs"] == 3, "its newest observation is of the last clean-up"
    assert launcher.instance.get_runs_count() == len(worked) + 1
    done = launcher.clean_up(dry_run=False)
    assert (done.failure, done.observed["runs"], done.observed["space"]) == (None, 4, "compact")
    left = names(worked, [run.run_id for run in launcher.instance.get_runs()])
    assert left == {"second poll", "both", "monday again"}
    unlimited = replace(launcher, settings=launcher.settings.model_copy(update={"run_retention_days": 0}))
    assert unlimited.clean_up(dry_run=False).observed["runs"] == 0


def said(home: Path) -> list[tuple[str, int]]:
    """Number of evaluations per check, and of runless evaluation events in each of the two files."""
    found = []
    for name, sql in (
        ("index", "SELECT check_name, count(*) FROM asset_check_executions GROUP BY 1 ORDER BY 1"),
        ("index", f"SELECT 'of no run', count(*) FROM event_logs WHERE run_id = '' AND {EVALUATED}"),
        ("", f"SELECT 'of no run', count(*) FROM event_logs WHERE {EVALUATED}"),
    ):
        with closing(sqlite3.connect(home / "history" / "runs" / f"{name}.db")) as connection:
            found += connection.execute(sql).fetchall()
    return found


def test_of_what_checks_said_long_ago_the_newest_of_each_stays(
    launcher: Launcher, worked: dict[str, str], home: Path
) -> None:
    assert worked
    instance = launcher.instance
    check = dg.AssetCheckKey(DAYS, "days_delivered_in_time")
    for passed, partition in ((True, None), (True, f"{WHOLE_ASSET} 12:00"), (False, f"{WHOLE_ASSET} 13:00")):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=DAYS, check_name=check.name, passed=passed, partition=partition)
        )
    before = said(home)
    expected = {"every_record_accounted_for": 2, "days_delivered_in_time": 3, "of no run": 3}
    assert expected.items() <= dict(before).items()
    assert delete_old_checks(instance, Names(), before=TOMORROW - timedelta(days=2)) == 0
    due = sum(count - 1 for name, count in before if name != "of no run")
    assert delete_old_checks(instance, Names(), before=TOMORROW, dry_run=True) == due
    assert said(home) == before
    assert delete_old_checks(instance, Names(), before=TOMORROW, limit=2) == 2
    assert delete_old_checks(instance, Names(), before=TOMORROW) == due - 2, "also planned evaluations that never ran"
    assert dict(said(home)) == dict.fromkeys(dict(before), 1) | {"of no run": 0}
    (newest,) = instance.event_log_storage.get_asset_check_execution_history(check, limit=5)
    assert newest.evaluation is not None
    assert not newest.evaluation.passed, "the UI shows the latest evaluation"


def test_the_latest_observation_of_each_work_date_stays(launcher: Launcher) -> None:
    instance, work_dates = launcher.instance, Names().work_dates
    for day, version in ((MONDAY, "1"), (MONDAY, "2"), (TUESDAY, "1")):
        instance.report_runless_asset_event(
            dg.AssetObservation(work_dates, partition=str(day), tags={DATA_VERSION_TAG: version})
        )
    delete_old_checks(instance, Names(), before=TOMORROW)
    events = [record.asset_observation for record in instance.fetch_observations(work_dates, limit=5).records]
    assert [(event.partition, event.tags) for event in events if event is not None] == [
        (str(TUESDAY), {DATA_VERSION_TAG: "1"}),
        (str(MONDAY), {DATA_VERSION_TAG: "2"}),
    ]


def test_the_clean_up_fills_the_partitions_of_work_dates_that_an_earlier_release_processed(launcher: Launcher) -> None:
    instance, work_dates = launcher.instance, Names().work_dates
    assert instance.get_materialized_partitions(work_dates) == {str(MONDAY), str(TUESDAY)}
    instance.wipe_assets([work_dates])
    assert launcher.clean_up(dry_run=False).failure is None
    assert instance.get_materialized_partitions(work_dates) == {str(MONDAY), str(TUESDAY)}
    assert len(instance.fetch_materializations(work_dates, limit=9).records) == 2
    assert launcher.clean_up(dry_run=False).failure is None
    assert len(instance.fetch_materializations(work_dates, limit=9).records) == 2


def test_the_latest_freshness_event_of_an_asset_stays(launcher: Launcher) -> None:
    instance, polls = launcher.instance, dg.AssetKey("raw_punches")
    states = (FreshnessState.PASS, FreshnessState.FAIL, FreshnessState.PASS)
    for key, before, after in [(DAYS, *states[:2]), (DAYS, *states[1:]), (polls, *states[:2])]:
        change = FreshnessStateChange(key=key, new_state=after, previous_state=before, state_change_timestamp=1000.0)
        instance.report_runless_asset_event(change)
    delete_old_checks(instance, Names(), before=TOMORROW)
    records_filter = dg.EventRecordsFilter(event_type=dg.DagsterEventType.FRESHNESS_STATE_CHANGE)
    left = instance.event_log_storage.get_event_records(records_filter)
    changes = [one.event_log_entry.get_dagster_event().asset_freshness_state_change_data for one in left]
    assert {one.key: one.new_state for one in changes} == {DAYS: FreshnessState.PASS, polls: FreshnessState.FAIL}
    assert len(changes) == 2
