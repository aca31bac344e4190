"""Quality checks evaluated by the sensor and on demand, and the work dates that they block from the CRM."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import StepMaterializationData
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.test_utils import create_run_for_test

from zk_pipeline.config.settings import load_settings
from zk_pipeline.crm.payload import crm_record
from zk_pipeline.defs.assets.asset_attributes import CRM_FIELDS
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.checks.quality_checks import EvaluationLog, evaluation, is_due
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import DateRange, range_tags
from zk_pipeline.devices.addresses import check_name
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.alerting.quality_checks import CHECKS, FEW_REVISIONS, RUN_CHECKS, Check
from zk_pipeline.operations.alerting.quality_results import CheckResult
from zk_pipeline.runs.launcher import Launcher, open_launcher
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.queries.terminal_health import terminal_health
from zk_pipeline.store.store import Store
from zk_pipeline_tests.conftest import exported
from zk_pipeline_tests.defs.run_fixtures import deliver, poll_all, quality_tick, statuses
from zk_pipeline_tests.gates import MONDAY, TUESDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import device, execute, ingest

NAMES = {check.name for check in CHECKS}
DOUBLE = "INSERT INTO daily_attendance SELECT * FROM daily_attendance WHERE work_date = ?"


@pytest.fixture(scope="module")
def two_days_home(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where Monday and Tuesday are processed, not delivered."""
    home = shutil.copytree(empty_home, tmp_path_factory.mktemp("processed") / "home")
    store = Store.at(home / "data" / "attendance.duckdb")
    store.devices.add(device())
    ingest(store, "Gate", *present(MONDAY), *present(TUESDAY))
    with exported(home), open_launcher(load_settings()) as launcher:
        assert launcher.process(DateRange(MONDAY, TUESDAY)).success
    return home


@pytest.fixture
def two_days(
    home: Path,
    two_days_home: Path,
    crm: CrmReceiver,  # noqa: ARG001 (a CRM is there)
    request: pytest.FixtureRequest,
) -> Launcher:
    """Launcher on a copy of `two_days_home`."""
    shutil.rmtree(home)
    shutil.copytree(two_days_home, home)
    launcher: Launcher = request.getfixturevalue("launcher")
    return launcher


def shown(launcher: Launcher) -> dict[str, str]:
    """Status of each check in the UI, by the rule of Dagster's webserver; NOT_EVALUATED where it shows none."""
    context = LoadingContextForTest(launcher.instance)

    async def status(check: Check) -> str:
        key = dg.AssetCheckKey(dg.AssetKey(check.asset), check.name)
        record = await AssetCheckExecutionRecord.gen(context, key)
        if record is None or not await record.targets_latest_materialization(context):
            return "NOT_EVALUATED"
        return (await record.resolve_status(context)).value

    async def statuses() -> dict[str, str]:
        return {check.name: await status(check) for check in CHECKS}

    return asyncio.run(statuses())


def materialize(instance: dg.DagsterInstance, asset: str, partition: str | None) -> None:
    """A materialization in a run of its own, which evaluates no check."""
    run = create_run_for_test(instance)
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        job_name=run.job_name,
        event_specific_data=StepMaterializationData(dg.AssetMaterialization(asset, partition=partition)),
    )
    instance.report_dagster_event(event, run.run_id)


def evaluations(launcher: Launcher, run_id: str) -> list[dg.AssetCheckEvaluation]:
    entries = launcher.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return [entry.get_dagster_event().asset_check_evaluation_data for entry in entries]


def delivered(crm: CrmReceiver) -> list[tuple[str, int]]:
    return sorted((str(one["date"]), int(str(one["revision"]))) for one in crm.ledger.latest().values())


def test_the_sensor_writes_down_every_check_once_and_then_what_changed(launcher: Launcher, home_store: Store) -> None:
    first, cursor = quality_tick(launcher)
    assert first == dict.fromkeys(NAMES, True)
    again, cursor = quality_tick(launcher, cursor)
    assert again == {}
    home_store.devices.add(device("Gate"))
    execute(home_store, "UPDATE devices SET created_at = now() - INTERVAL 1 HOUR, updated_at = created_at")
    execute(home_store, "UPDATE devices SET updated_at = created_at")
    late, cursor = quality_tick(launcher, cursor)
    assert late == {"terminals_read_in_time": False}, "it fails although no run happens"
    assert quality_tick(launcher, cursor)[0] == {}
    assert launcher.instance.get_runs_count() == 0


def test_the_ui_shows_the_last_evaluation_of_every_check_from_the_first_tick_on_and_after_every_materialization(
    two_days: Launcher, home_store: Store
) -> None:
    quality_tick(two_days)
    assert shown(two_days) == dict.fromkeys(NAMES, "SUCCEEDED")
    assert deliver(two_days, MONDAY, TUESDAY).success
    for asset, partition in (("devices", None), ("raw_punches", "Gate"), ("daily_attendance", str(MONDAY))):
        materialize(two_days.instance, asset, partition)
    assert shown(two_days) == dict.fromkeys(NAMES, "SUCCEEDED")
    execute(home_store, "UPDATE crm_deliveries SET state = 'failed'")
    quality_tick(two_days, str(datetime.now(UTC) - timedelta(hours=1)))
    assert shown(two_days) == dict.fromkeys(NAMES, "SUCCEEDED") | {"no_dead_letters": "FAILED"}


def test_a_check_that_a_run_evaluated_or_left_out_is_logged_by_the_next_tick_and_one_in_progress_is_not(
    launcher: Launcher,
) -> None:
    _, cursor = quality_tick(launcher)
    assert quality_tick(launcher, cursor)[0] == {}
    run = create_run_for_test(launcher.instance, status=dg.DagsterRunStatus.STARTED)
    planned = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
        job_name=run.job_name,
        event_specific_data=AssetCheckEvaluationPlanned(
            asset_key=dg.AssetKey("raw_punches"), check_name="punches_unique"
        ),
    )
    launcher.instance.report_dagster_event(planned, run.run_id)
    assert shown(launcher)["punches_unique"] == "IN_PROGRESS"
    assert quality_tick(launcher, cursor)[0] == {}
    launcher.instance.report_run_failed(run)  # an asset failed: the step of the checks was skipped
    assert shown(launcher)["punches_unique"] == "EXECUTION_FAILED"
    assert quality_tick(launcher, cursor)[0] == {"punches_unique": True}
    assert shown(launcher)["punches_unique"] == "SUCCEEDED"

    by_hand = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("raw_punches"), check_name="punches_unique", passed=True, metadata={}
    )
    launcher.instance.report_runless_asset_event(by_hand)
    materialize(launcher.instance, "raw_punches", "Gate")
    assert shown(launcher)["punches_unique"] == "NOT_EVALUATED"
    assert quality_tick(launcher, cursor)[0] == {"punches_unique": True}
    assert shown(launcher)["punches_unique"] == "SUCCEEDED"


def test_all_checks_are_evaluated_hourly_and_logged_every_six_hours(launcher: Launcher) -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert is_due(None, now)
    assert is_due('{"facts": ["2026-03-02T11:59:00+00:00"]}', now), "the cursor of an earlier version"
    assert [is_due(str(now - timedelta(minutes=minutes)), now) for minutes in (59, 60)] == [False, True]

    quality_tick(launcher)
    log, logged = EvaluationLog(launcher.instance, Names()), datetime.now(UTC)
    passed, failed = CheckResult(FEW_REVISIONS, [], {}), CheckResult(FEW_REVISIONS, ["too many, now for 3 h"], {})
    assert [log.is_news(passed, logged + timedelta(hours=hours)) for hours in (5, 7)] == [False, True]
    assert log.is_news(failed, logged)
    launcher.instance.report_runless_asset_event(evaluation(failed, Names(), at=logged))
    older = CheckResult(FEW_REVISIONS, ["too many, now for 4 h"], {})
    log = EvaluationLog(launcher.instance, Names())
    assert not log.is_news(older, logged), "only its age has changed"
    assert log.is_news(CheckResult(FEW_REVISIONS, ["another one"], {}), logged)


def test_the_problems_are_the_description_with_the_remedy_and_their_number_is_plotted() -> None:
    many = CheckResult(FEW_REVISIONS, [f"a problem\n{number}" for number in range(60)], {"found": 60})
    logged = evaluation(many, Names())
    lines = str(logged.description).splitlines()
    assert lines[0] == "- a problem 0"
    assert lines[49:] == ["- a problem 49", "- and 10 more", "", f"Remedy: {FEW_REVISIONS.remedy}"]
    assert {name: value.value for name, value in logged.metadata.items()} == {"failing": 60, "found": 60}
    assert evaluation(CheckResult(FEW_REVISIONS, [], {}), Names()).description is None
    with pytest.raises(UsageError):
        check_name(str(logged.partition))


@pytest.mark.parametrize("is_reachable", [True, False])
def test_a_run_of_the_materialize_button_evaluates_each_check_once(
    launcher: Launcher, home_store: Store, fleet: Fleet, *, is_reachable: bool
) -> None:
    switch_on(fleet, home_store, gate("North", *present(MONDAY)), gate("South", *present(MONDAY)))
    if not is_reachable:
        fleet.switch_off("South")
    launcher.instance.add_dynamic_partitions("devices", ["North", "South"])
    job = build_definitions(load_settings()).resolve_implicit_global_asset_job_def()
    result = job.get_subset(asset_selection={dg.AssetKey("raw_punches")}).execute_in_process(
        instance=launcher.instance,
        tags=range_tags("North", "South"),
        raise_on_error=False,
    )
    assert result.success is is_reachable
    evaluated = sorted(one.check_name for one in evaluations(launcher, result.run_id))
    of_the_run = sorted(check.name for check in RUN_CHECKS if check.asset == "raw_punches")
    assert evaluated == (
        sorted(check.name for check in CHECKS if check.asset == "raw_punches") if is_reachable else of_the_run
    )
    quality_tick(launcher)
    assert {shown(launcher)[check.name] for check in CHECKS if check.asset == "raw_punches"} <= {"SUCCEEDED", "FAILED"}


def test_a_poll_evaluates_the_checks_also_when_a_terminal_is_dead(
    launcher: Launcher, home_store: Store, fleet: Fleet
) -> None:
    switch_on(fleet, home_store, gate("North", *present(MONDAY)), gate("South", *present(MONDAY)))
    fleet.switch_off("South")
    result = poll_all(launcher, home_store)
    assert not result.success
    assert {one.check_name: one.passed for one in evaluations(launcher, result.run_id)} == {
        "every_record_accounted_for": False,
        "clock_drift_within_limit": True,
        "log_capacity_available": True,
    }
    north = next(one for one in terminal_health(home_store.database) if one.device == "North")
    assert (north.missing, north.error) == (0, None)


def test_a_person_may_have_them_evaluated_in_the_ui(two_days: Launcher) -> None:
    definitions = build_definitions(load_settings())
    keys = [
        dg.AssetCheckKey(dg.AssetKey("daily_attendance"), name)
        for name in ("attendance_rows_consistent", "no_revision_churn")
    ]
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection=set(keys)
    )
    result = job.execute_in_process(instance=two_days.instance)
    assert {one.check_name: one.passed for one in result.get_asset_check_evaluations()} == {
        "attendance_rows_consistent": True,
        "no_revision_churn": True,
    }


def test_the_scheduled_jobs_do_not_evaluate_them(launcher: Launcher) -> None:
    definitions = build_definitions(launcher.settings)
    for name in ("poll_devices", "process_attendance", "sync_to_crm", "retry_failed_syncs"):
        nodes = {node.name for node in definitions.resolve_job_def(name).nodes}
        assert nodes <= {"devices", "raw_punches", "daily_attendance", "crm_sync"}


def test_a_bad_date_never_reaches_the_crm_whoever_looked_last(
    two_days: Launcher, home_store: Store, crm: CrmReceiver
) -> None:
    execute(home_store, DOUBLE, [MONDAY])  # no check was evaluated since
    result = deliver(two_days, MONDAY, TUESDAY)
    assert "1 of 2 work dates failed: a user has more than one day at a site" in str(result.failure)
    assert delivered(crm) == [(str(TUESDAY), 1)]
    assert statuses(two_days, "crm_sync", [MONDAY, TUESDAY]) == {
        str(MONDAY): "failed",
        str(TUESDAY): "materialized",
    }
    assert home_store.deliveries.due_dates(SyncScope()) == {}, "the schedule does not request it again"
    evaluated, _ = quality_tick(two_days)
    assert not evaluated["attendance_rows_consistent"]

    assert two_days.process(DateRange(MONDAY, MONDAY)).success  # the remedy of the check
    assert deliver(two_days, MONDAY, MONDAY).success
    assert delivered(crm) == [(str(MONDAY), 2), (str(TUESDAY), 1)]
    assert quality_tick(two_days)[0]["attendance_rows_consistent"]


def test_a_bad_date_that_a_check_found_is_not_even_asked_for(two_days: Launcher, home_store: Store) -> None:
    execute(home_store, DOUBLE, [MONDAY])
    quality_tick(two_days)
    assert list(home_store.deliveries.due_dates(SyncScope())) == [TUESDAY]


def test_nothing_is_sent_while_the_tables_are_not_what_they_should_be(
    two_days: Launcher, home_store: Store, crm: CrmReceiver
) -> None:
    execute(home_store, "ALTER TABLE daily_attendance ALTER punch_count TYPE BIGINT")
    result = deliver(two_days, MONDAY, TUESDAY)
    assert "nothing was sent to the CRM: daily_attendance.punch_count is BIGINT, not INTEGER" in str(result.failure)
    assert delivered(crm) == []


def test_a_blocking_check_that_fails_in_a_run_fails_the_run(two_days: Launcher, home_store: Store) -> None:
    execute(home_store, DOUBLE, [MONDAY])
    definitions = build_definitions(load_settings())
    keys = {dg.AssetCheckKey(dg.AssetKey("daily_attendance"), "attendance_rows_consistent")}
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection=keys
    )
    assert not job.execute_in_process(instance=two_days.instance, raise_on_error=False).success


@pytest.mark.usefixtures("two_days")
def test_the_fields_of_the_request_are_those_that_are_sent(home_store: Store) -> None:
    (delivery, *_) = home_store.deliveries.peek(SyncScope(), 1)
    assert [f"request.{name}" for name in crm_record(delivery)] == list(CRM_FIELDS)
