"""Run requests and partition changes of the sensors. Alert sensors: `test_alerts_of_runs.py`."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.automation.sensors import PartitionChange, partition_change, sensors
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import STALE_SITES_TAGS, DateRange
from zk_pipeline.defs.resources import resources
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.runtime.processes import process_identity
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.run_fixtures import poll_all
from zk_pipeline_tests.gates import MONDAY, WEDNESDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import busy, device, execute, ingest, on

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def tick(launcher: Launcher, name: str) -> SensorExecutionData:
    settings = load_settings()
    (sensor,) = (one for one in sensors(settings) if one.name == name)
    with dg.build_sensor_context(instance=launcher.instance, resources=resources(settings)) as context:
        return sensor.evaluate_tick(context)


def asked(launcher: Launcher) -> list[tuple[str | None, str, str]]:
    """Run key, first and last work date of each run request of `new_punches_sensor`."""
    requests = tick(launcher, "new_punches_sensor").run_requests or ()
    assert all(STALE_SITES_TAGS.items() <= one.tags.items() for one in requests)
    return [(one.run_key, one.tags[START], one.tags[END]) for one in requests]


def follow_registry(launcher: Launcher) -> list[str]:
    """Tick `device_registry_sensor`, apply its partition changes as the daemon does, and return the partitions."""
    name = Names().device_partitions_name
    for request in tick(launcher, "device_registry_sensor").dynamic_partitions_requests or ():
        assert request.partitions_def_name == name
        if isinstance(request, dg.AddDynamicPartitionsRequest):
            launcher.instance.add_dynamic_partitions(name, request.partition_keys)
        else:
            for key in request.partition_keys:
                launcher.instance.delete_dynamic_partition(name, key)
    return list(launcher.instance.get_dynamic_partitions(name))


def add_unfinished_run(launcher: Launcher, job: str) -> str:
    tags = {PROCESS_TAG: process_identity()}
    run = dg.DagsterRun(job_name=job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    return launcher.instance.add_run(run).run_id


def test_exactly_the_touched_dates_are_asked_for(launcher: Launcher, home_store: Store) -> None:
    assert (
        tick(launcher, "new_punches_sensor").skip_message
        == "no stale work date: no punches newer than their attendance days"
    )
    home_store.devices.add(device("Gate"))
    ingest(home_store, "Gate", *present(MONDAY), *present(WEDNESDAY))
    spans = [(first, last) for _, first, last in asked(launcher)]
    assert spans == [(str(MONDAY), str(MONDAY)), (str(WEDNESDAY), str(WEDNESDAY))]

    launcher.process(DateRange(MONDAY, WEDNESDAY))
    assert asked(launcher) == []
    later = MONDAY + timedelta(days=30)
    ingest(home_store, "Gate", *on(MONDAY, "12:00"), *on(later, "12:00"))  # backdated
    assert [first for _, first, _ in asked(launcher)] == [str(MONDAY), str(later)]


def test_a_date_is_asked_for_once_for_the_same_punches_and_again_for_newer_ones(
    launcher: Launcher, home_store: Store
) -> None:
    home_store.devices.add(device("Gate"))
    ingest(home_store, "Gate", *present(MONDAY))
    ((first_key, *_),) = asked(launcher)
    ingest(home_store, "Gate", *present(MONDAY))  # no new punches
    assert asked(launcher)[0][0] == first_key

    ingest(home_store, "Gate", *on(MONDAY, "12:00"))
    ((second_key, *span),) = asked(launcher)
    assert second_key != first_key
    assert span == [str(MONDAY), str(MONDAY)]


def test_a_punch_that_no_partition_covers_does_not_break_the_tick(
    launcher: Launcher, fleet: Fleet, home_store: Store
) -> None:
    outside = [date(2099, 12, 31), launcher.settings.history_start - timedelta(days=1), date(2000, 1, 1)]
    switch_on(fleet, home_store, gate("Gate", *present(MONDAY), *(p for day in outside for p in present(day))))
    assert poll_all(launcher, home_store).partitions["Gate"]["new_punches"] == 8
    ((_, first, last),) = asked(launcher)
    assert (first, last) == (str(MONDAY), str(MONDAY))
    assert launcher.process(DateRange(MONDAY, MONDAY)).failure is None


def test_new_punches_wait_while_days_are_being_made(launcher: Launcher) -> None:
    run_id = add_unfinished_run(launcher, "process_attendance")
    why = tick(launcher, "new_punches_sensor").skip_message
    assert why == f"run {run_id} of process_attendance is still started"


def test_registered_devices_become_partitions_and_removed_ones_leave(launcher: Launcher, home_store: Store) -> None:
    for name in ("Gate A", "Gate B"):
        home_store.devices.add(device(name))
    assert follow_registry(launcher) == ["Gate A", "Gate B"]
    assert tick(launcher, "device_registry_sensor").skip_message == "the partitions match the registered devices"

    home_store.devices.remove("Gate A")
    home_store.devices.add(device("Gate C"))
    assert follow_registry(launcher) == ["Gate B", "Gate C"]


def test_no_partition_is_taken_from_under_a_poll(launcher: Launcher, home_store: Store) -> None:
    home_store.devices.add(device("Gate A"))
    follow_registry(launcher)
    home_store.devices.remove("Gate A")
    home_store.devices.add(device("Gate B"))
    run_id = add_unfinished_run(launcher, "poll_devices")
    assert follow_registry(launcher) == ["Gate A", "Gate B"]
    launcher.instance.delete_run(run_id)
    assert follow_registry(launcher) == ["Gate B"]


def test_what_changes_of_the_partitions_is_a_plain_question() -> None:
    assert partition_change(["b", "c"], ["a", "b"], is_poll_in_progress=False) == PartitionChange(["c"], ["a"])
    assert partition_change(["b", "c"], ["a", "b"], is_poll_in_progress=True) == PartitionChange(["c"], [])


@pytest.mark.parametrize("sensor", ["new_punches_sensor", "device_registry_sensor"])
def test_a_busy_store_skips_the_tick_and_takes_no_partition_away(
    launcher: Launcher, home_store: Store, monkeypatch: pytest.MonkeyPatch, sensor: str
) -> None:
    home_store.devices.add(device("Gate A"))
    follow_registry(launcher)
    monkeypatch.setattr(Store, "at", lambda path: Store(Database(path, wait_seconds=0.1)))
    with busy(home_store, "a long job"):
        data = tick(launcher, sensor)
    assert "a long job" in str(data.skip_message)
    assert not data.run_requests
    assert not data.dynamic_partitions_requests


def test_a_bad_date_is_asked_for_again_only_by_the_schedule(launcher: Launcher, home_store: Store) -> None:
    home_store.devices.add(device("Gate"))
    ingest(home_store, "Gate", *present(MONDAY))
    before = asked(launcher)
    execute(home_store, "UPDATE devices SET timezone = 'Mars/Base'")
    assert launcher.process(DateRange(MONDAY, MONDAY)).failure is not None
    assert asked(launcher) == before  # the same run key: the daemon starts no run
