"""Signals in the UI for an engineer on call: errors of partitions, skip reasons of ticks, links to the runbook."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import dagster as dg
import pytest

from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.failures import partial_failure
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import WORK_DATES_TAG, DateRange
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.run_fixtures import QUIET, deliver, metadata_of, poll_all, statuses, table_of, tick
from zk_pipeline_tests.gates import MONDAY, TUESDAY, WEDNESDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import execute


@pytest.fixture
def polled(launcher: Launcher, fleet: Fleet, home_store: Store) -> None:
    """Monday at North, Tuesday at South."""
    switch_on(fleet, home_store, gate("North", *present(MONDAY)))
    switch_on(fleet, home_store, gate("South", *present(TUESDAY, "1002"), clock_offset_seconds=-420), site="Yard")
    assert poll_all(launcher, home_store).failure is None


def errors_shown(launcher: Launcher, asset: str, keys: Sequence[str | date]) -> dict[str, object]:
    """Error on the page of each partition: metadata of an observation since the latest materialization."""
    found: dict[str, object] = {}
    for key in map(str, keys):
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[key])
        made = launcher.instance.fetch_materializations(wanted, limit=1).records
        seen = launcher.instance.fetch_observations(wanted, limit=1).records
        if seen and (not made or seen[0].storage_id > made[0].storage_id):
            observation = seen[0].event_log_entry.asset_observation
            assert observation is not None
            found[key] = observation.metadata["error"].value
    return found


@pytest.mark.usefixtures("polled")
def test_the_page_of_a_terminal_has_the_error_of_its_failed_poll_until_the_next_success(
    launcher: Launcher, fleet: Fleet, home_store: Store
) -> None:
    fleet.switch_off("South")
    result = poll_all(launcher, home_store)
    assert result.failure is not None
    shown = errors_shown(launcher, "raw_punches", ["North", "South"])
    assert list(shown) == ["South"]
    assert str(shown["South"]).startswith("[refused] South (127.0.0.1:")
    assert result.observed == {}, "no figure of the run"
    fleet.switch_on("South")
    assert poll_all(launcher, home_store).failure is None
    assert errors_shown(launcher, "raw_punches", ["North", "South"]) == {}


@pytest.mark.usefixtures("polled")
def test_a_failed_work_date_is_on_its_page_and_in_the_tick_that_does_not_request_it_again(
    launcher: Launcher, home_store: Store
) -> None:
    execute(home_store, "UPDATE devices SET timezone = 'Mars/Base' WHERE name = 'South'")
    definitions, names = build_definitions(launcher.settings), Names()
    repository = definitions.get_repository_def()
    sensor = repository.get_sensor_def("new_punches_sensor")
    with dg.build_sensor_context(
        launcher.instance, definitions=definitions, resources=definitions.resources
    ) as context:
        (request,) = sensor.evaluate_tick(context).run_requests or ()
    assert request.tags[WORK_DATES_TAG] == f"{MONDAY}..{TUESDAY}"
    tags = {**request.tags, "dagster/run_key": str(request.run_key), "dagster/sensor_name": sensor.name}
    job = definitions.resolve_job_def(names.process)
    run = job.execute_in_process(instance=launcher.instance, tags=tags, run_config=QUIET, raise_on_error=False)
    assert not run.success
    assert "Mars/Base" in str(errors_shown(launcher, "daily_attendance", [MONDAY, TUESDAY])[str(TUESDAY)])
    assert statuses(launcher, "daily_attendance", [MONDAY, TUESDAY])[str(MONDAY)] == "materialized"

    # The sensor requests Tuesday alone once, then names the run of that request.
    with dg.build_sensor_context(
        launcher.instance, definitions=definitions, resources=definitions.resources
    ) as context:
        (request,) = sensor.evaluate_tick(context).run_requests or ()
    tags = {**request.tags, "dagster/run_key": str(request.run_key)}
    run = job.execute_in_process(instance=launcher.instance, tags=tags, run_config=QUIET, raise_on_error=False)
    assert tick(definitions, launcher.instance, sensor.name) == (
        f"requested before: {TUESDAY} by run {run.run_id[:8]} (failure); "
        "process_attendance_schedule requests stale dates again"
    )
    execute(home_store, "UPDATE devices SET timezone = 'UTC' WHERE name = 'South'")
    assert launcher.process(DateRange(TUESDAY, TUESDAY)).failure is None
    assert errors_shown(launcher, "daily_attendance", [MONDAY, TUESDAY]) == {}


@pytest.mark.usefixtures("polled")
def test_a_rejected_delivery_is_named_by_the_failure_and_on_the_page_of_its_date(
    launcher: Launcher, crm: CrmReceiver
) -> None:
    assert launcher.process(DateRange(MONDAY, WEDNESDAY)).failure is None
    crm.unknown_users = {"1002"}
    result = deliver(launcher, MONDAY, WEDNESDAY)
    assert result.failure == f"1 delivered, 0 to retry, 1 failed, 0 unsent; {TUESDAY} 1002: 422: no employee 1002"
    assert errors_shown(launcher, "crm_sync", [MONDAY, TUESDAY, WEDNESDAY]) == {
        str(TUESDAY): "deliveries are left: 1 in state failed (1002: 422: no employee 1002)"
    }


@pytest.mark.usefixtures("polled")
def test_an_observed_work_date_names_the_reason(launcher: Launcher, fleet: Fleet, home_store: Store) -> None:
    assert launcher.process(DateRange(MONDAY, WEDNESDAY)).failure is None
    fleet.punch("North", "1003", datetime.combine(MONDAY, time(12)))
    assert poll_all(launcher, home_store).failure is None
    (record,) = launcher.instance.fetch_observations(Names().work_dates, limit=5).records
    observation = record.event_log_entry.asset_observation
    assert observation is not None
    assert observation.partition == str(MONDAY)
    assert observation.metadata["stale"].value == "punches or rules newer than its attendance days"


@pytest.mark.usefixtures("polled")
def test_ticks_name_the_current_problems_and_failing_checks(launcher: Launcher) -> None:
    definitions = build_definitions(launcher.settings)
    for _ in range(2):
        checked = tick(definitions, launcher.instance, "quality_check_sensor")
    assert checked == "no check result changed; failing: clock_drift_within_limit"
    assert tick(definitions, launcher.instance, "alert_sensor") == (
        "1 problem (raw_punches: check clock drift within limit failed); ALERT_URLS is not set: no message was sent"
    )


def test_a_partial_failure_names_the_partition_of_each_error() -> None:
    failures = {"2024-03-04": "2024-03-04: no rule", "2024-03-05": "its punches were deleted"}
    failure = partial_failure("work date", failures, 3)
    assert failure.description == (
        "2 of 3 work dates failed: 2024-03-04: no rule; its punches were deleted (2024-03-05)"
    )


def test_the_first_poll_of_a_long_log_shows_the_newest_dates_in_place(
    launcher: Launcher, fleet: Fleet, home_store: Store
) -> None:
    days = [MONDAY + timedelta(days=number) for number in range(12)]
    switch_on(fleet, home_store, gate("Gate", *(punch for day in days for punch in present(day))))
    assert poll_all(launcher, home_store).failure is None
    newest = {str(day): 2 for day in reversed(days[2:])}
    assert metadata_of(launcher, "raw_punches", "Gate")["affected_dates"] == newest | {"earlier": 4}
    assert poll_all(launcher, home_store).failure is None
    table = metadata_of(launcher, "devices")["preview"]
    assert isinstance(table, dg.TableMetadataValue)
    columns = [column.name for column in table.schema.columns]
    assert columns[:4] == ["name", "site", "enabled", "last_sync"], "the UI cuts off the last columns"
    assert str(table_of(table)[0]["last_sync"]).endswith(" UTC")


def test_descriptions_of_instigators_are_plain_text_and_those_of_checks_link_to_the_runbook(
    launcher: Launcher,
) -> None:
    settings = launcher.settings.model_copy(update={"docs_url": "https://docs.example"})
    repository = build_definitions(settings).get_repository_def()
    instigators: list[dg.ScheduleDefinition | dg.SensorDefinition] = [*repository.schedule_defs]
    for one in [*instigators, *repository.sensor_defs]:
        assert one.description, one.name
        assert not set("`*") & set(one.description), "the UI shows Markdown as written"
    checks = repository.asset_graph.asset_check_keys
    assert len(checks) >= 18
    for check in checks:
        description = repository.asset_graph.get_check_spec(check).description
        assert description is not None
        assert description.endswith(" [Runbook](https://docs.example/operating.md#checks)")
