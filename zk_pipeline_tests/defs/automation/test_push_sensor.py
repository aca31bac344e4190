"""Materializations of pushed punches: one per terminal and tick, each upload exactly once, without a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.assets.data_versions import data_version
from zk_pipeline.defs.automation.push_sensor import push_sensor
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.check_retention import delete_old_checks
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.resources import resources
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.store import Store, utc_now
from zk_pipeline_tests.defs.run_fixtures import metadata_of, poll_all, statuses
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, push
from zk_pipeline_tests.store.store_fixtures import busy, device

ASSET = dg.AssetKey("raw_punches")


@dataclass
class Sensor:
    """Ticks as the daemon performs them: first the events of a tick are logged, then its cursor is saved."""

    launcher: Launcher
    cursor: str | None = None
    logged: list[dg.AssetMaterialization] = field(default_factory=list)

    def evaluate(self) -> SensorExecutionData:
        settings = load_settings()
        sensor, definitions = push_sensor(settings), build_definitions(settings)
        with dg.build_sensor_context(
            instance=self.launcher.instance,
            resources=resources(settings),
            definitions=definitions,
            cursor=self.cursor,
        ) as context:
            return sensor.evaluate_tick(context)

    def tick(self, *, crash_after: int | None = None) -> list[tuple[str, str | None]]:
        """Asset and description of the logged events; with `crash_after` only the first few, and no cursor."""
        data = self.evaluate()
        events = [one for one in data.asset_events if isinstance(one, dg.AssetMaterialization)][:crash_after]
        assert data.run_requests in (None, [])
        for event in events:
            self.launcher.instance.report_runless_asset_event(event)
        self.logged += events
        if crash_after is None:
            self.cursor = data.cursor
        return [(event.partition or event.asset_key.to_user_string(), event.description) for event in events]

    def counts(self) -> dict[str, int]:
        """Uploads that all events together include, by device."""
        found: dict[str, int] = {}
        for event in self.logged:
            if "push" in event.metadata:
                value: Any = event.metadata["push"].value
                found[str(event.partition)] = found.get(str(event.partition), 0) + value["uploads"]
        return found


@pytest.fixture
def sensor(launcher: Launcher, home_store: Store) -> Sensor:
    """With the terminals A and B, which only push, and a device Polled; each has a partition."""
    adopt(home_store, "A", "SERIAL-A")
    adopt(home_store, "B", "SERIAL-B")
    home_store.devices.add(device("Polled"))
    launcher.instance.add_dynamic_partitions(Names().device_partitions_name, ["A", "B", "Polled"])
    return Sensor(launcher)


def push_a(store: Store, *times: str) -> None:
    push(store, *(("1", f"2026-03-02 {at}") for at in times), name="A", serial="SERIAL-A")


def push_b(store: Store, *times: str) -> None:
    push(store, *(("1", f"2026-03-02 {at}") for at in times), name="B", serial="SERIAL-B")


def test_the_uploads_since_the_last_tick_are_one_materialization_per_terminal(
    sensor: Sensor, home_store: Store
) -> None:
    push_a(home_store, "08:00", "08:01")
    push_a(home_store, "08:01", "08:02")
    push_b(home_store, "09:00")
    contact(home_store, "SERIAL-A", record_count=3, info_at=home_store.clock())
    assert sensor.tick() == [("A", "A: 3 new of 4 lines in 2 uploads"), ("B", "B: 1 new of 1 line in 1 upload")]
    assert sensor.launcher.instance.get_runs_count() == 0
    assert statuses(sensor.launcher, "raw_punches", ["A", "B"]) == {"A": "materialized", "B": "materialized"}
    metadata = metadata_of(sensor.launcher, "raw_punches", "A")
    assert (metadata["source"], metadata["new_punches"], metadata["reported"]) == ("push", 3, 3)
    uploads: Any = metadata["push"]
    assert (uploads["uploads"], uploads["lines"], uploads["duplicates"], uploads["quarantined"]) == (2, 4, 1, 0)
    assert uploads["max_lag_seconds"] > uploads["median_lag_seconds"] - 1 > 0
    assert metadata["admin_page"] == f"https://admin.example/devices/{home_store.devices.get('A').id}"

    assert sensor.tick() == []
    push_b(home_store, "09:00")
    assert sensor.tick() == [("B", "B: 0 new of 1 line in 1 upload")]


@pytest.mark.parametrize(
    "logged", [pytest.param(0, marks=pytest.mark.matrix), 1, pytest.param(2, marks=pytest.mark.matrix)]
)
def test_a_crash_before_the_cursor_is_saved_repeats_no_upload(sensor: Sensor, home_store: Store, logged: int) -> None:
    push_a(home_store, "08:00")
    sensor.tick()
    push_a(home_store, "08:01")
    push_b(home_store, "09:00")
    sensor.tick(crash_after=logged)
    push_a(home_store, "08:02")
    sensor.tick()
    sensor.tick()
    assert sensor.counts() == {"A": 3, "B": 1}


def test_a_tick_at_a_busy_store_keeps_the_cursor(
    sensor: Sensor, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_a(home_store, "08:00")
    sensor.tick()
    push_a(home_store, "08:01")
    before = sensor.cursor
    with monkeypatch.context() as patch, busy(home_store, "a long write"):
        patch.setattr(Store, "at", lambda path: Store(Database(path, wait_seconds=0.1)))
        data = sensor.evaluate()
    assert (data.cursor, data.asset_events) == (before, [])
    assert "a long write" in str(data.skip_message)
    assert sensor.tick() == [("A", "A: 1 new of 1 line in 1 upload")]


def test_a_terminal_without_a_partition_gets_one_and_a_removed_one_is_left_out(
    sensor: Sensor, home_store: Store
) -> None:
    adopt(home_store, "New", "SERIAL-N")
    push(home_store, ("1", "2026-03-02 08:00"), name="New", serial="SERIAL-N")
    push_a(home_store, "08:00")
    home_store.devices.remove("A")
    assert sensor.tick() == [("New", "New: 1 new of 1 line in 1 upload")]
    assert statuses(sensor.launcher, "raw_punches", ["New"]) == {"New": "materialized"}


def test_polls_and_uploads_of_one_device_have_one_version_that_changes_with_new_punches(
    launcher: Launcher, fleet: Fleet, home_store: Store
) -> None:
    switch_on(fleet, home_store, gate("Gate", *present(MONDAY)))
    sensor = Sensor(launcher)

    def version() -> str | None:
        wanted = dg.AssetRecordsFilter(asset_key=ASSET, asset_partitions=["Gate"])
        return data_version(launcher.instance.fetch_materializations(wanted, limit=1).records)

    poll_all(launcher, home_store)
    serial = str(home_store.devices.get("Gate").serial_number)
    adopt(home_store, "Gate", serial, timezone=None)
    polled = version()
    push(home_store, ("9", "2026-03-02 08:00"), serial=serial)
    sensor.tick()
    pushed = version()
    assert (polled, pushed) == ("poll 1", "poll 1, upload 1")
    push(home_store, ("9", "2026-03-02 08:00"), serial=serial)
    assert sensor.tick() == [("Gate", "Gate: 0 new of 1 line in 1 upload")]
    assert version() == pushed
    poll_all(launcher, home_store)
    assert version() == pushed


def test_where_no_device_is_polled_contacts_keep_the_assets_fresh(sensor: Sensor, home_store: Store) -> None:
    home_store.devices.remove("Polled")
    push_b(home_store, "09:00")
    assert [name for name, _ in sensor.tick()] == ["B", "A", "devices"]
    assert str(sensor.logged[1].description).startswith("A: no upload; last contact 20")
    assert metadata_of(sensor.launcher, "devices")["dagster/row_count"] == 2
    old = replace(home_store, clock=lambda: utc_now() - timedelta(hours=1))
    contact(old, "SERIAL-A")
    assert [name for name, _ in sensor.tick()] == ["B", "devices"], "A was not in contact since the last tick"


def test_superseded_materializations_are_deleted_with_old_runs(sensor: Sensor, home_store: Store) -> None:
    for minute in range(3):
        push_a(home_store, f"08:0{minute}")
        sensor.tick()
    delete_old_checks(sensor.launcher.instance, Names(), before=utc_now() - timedelta(days=1))
    assert len(sensor.launcher.instance.fetch_materializations(ASSET, limit=10).records) == 3
    delete_old_checks(sensor.launcher.instance, Names(), before=utc_now() + timedelta(days=1))
    (newest,) = sensor.launcher.instance.fetch_materializations(ASSET, limit=10).records
    assert newest.asset_materialization is not None
    assert newest.asset_materialization.metadata["last_upload"].value == 3
