"""Quality checks evaluated by the sensor and on demand, and the work dates that they block from the CRM."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.crm.payload import crm_record
from zk_pipeline.defs.assets.asset_attributes import CRM_FIELDS
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.checks.quality_checks import EvaluationLog
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.operations.alerting.quality_checks import CHECKS, FEW_REVISIONS
from zk_pipeline.operations.alerting.quality_results import CheckResult
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.run_fixtures import deliver, quality_tick, statuses
from zk_pipeline_tests.gates import MONDAY, TUESDAY, present
from zk_pipeline_tests.store.store_fixtures import device, execute, ingest

NAMES = {check.name for check in CHECKS}
DOUBLE = "INSERT INTO daily_attendance SELECT * FROM daily_attendance WHERE work_date = ?"


@pytest.fixture
def two_days(launcher: Launcher, home_store: Store, crm: CrmReceiver) -> Launcher:  # noqa: ARG001 (a CRM is there)
    """Monday and Tuesday processed, not delivered."""
    home_store.devices.add(device())
    ingest(home_store, "Gate", *present(MONDAY), *present(TUESDAY))
    launcher = Launcher(load_settings(), launcher.instance)
    assert launcher.process(DateRange(MONDAY, TUESDAY)).success
    return launcher


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


def test_a_failed_check_is_said_again_once_its_asset_was_made_anew_since_the_ui_shows_it_no_longer(
    launcher: Launcher, home_store: Store
) -> None:
    home_store.devices.add(device("Gate"))
    execute(home_store, "UPDATE devices SET created_at = now() - INTERVAL 1 HOUR, updated_at = created_at")
    execute(home_store, "UPDATE devices SET updated_at = created_at")
    found, cursor = quality_tick(launcher)
    assert found["terminals_read_in_time"] is False
    assert quality_tick(launcher, cursor)[0] == {}
    launcher.instance.report_runless_asset_event(dg.AssetMaterialization("raw_punches", partition="Gate"))
    again, cursor = quality_tick(launcher, cursor)
    assert again == {"terminals_read_in_time": False}, "passed ones are logged again within the hour"
    assert quality_tick(launcher, cursor)[0] == {}


def test_facts_that_failed_are_looked_at_again_a_quarter_of_an_hour_after_they_were_forgotten() -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    said = EvaluationLog.read(None)
    assert said.are_facts_due(now, {})
    bad, good = (
        CheckResult(FEW_REVISIONS, ["too many revisions"], {}),
        [CheckResult(check, [], {}) for check in CHECKS if check != FEW_REVISIONS],
    )
    assert len(said.new_evaluations([bad, *good], now, {}, Names())) == len(CHECKS)
    quarter, hour = now + timedelta(minutes=15), now + timedelta(hours=1)
    made = {FEW_REVISIONS.asset: now + timedelta(minutes=1)}
    assert [said.are_facts_due(when, {}) for when in (quarter, hour)] == [False, True]
    assert [said.are_facts_due(when, made) for when in (now + timedelta(minutes=14), quarter)] == [False, True]
    (failed,) = said.new_evaluations([bad, *good], quarter, made, Names())
    assert failed.check_name == FEW_REVISIONS.name
    renewed = {one.check_name for one in said.new_evaluations([bad, *good], hour, made, Names())}
    assert renewed == {check.name for check in CHECKS if check.asset == FEW_REVISIONS.asset} - {FEW_REVISIONS.name}


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
