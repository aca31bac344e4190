"""Stale partitions ("Unsynced" in the UI): stale work dates of the store, and dates with changes to deliver."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.assets import asset_attributes, daily_attendance, work_dates
from zk_pipeline.defs.assets.data_versions import DATA_VERSION_TAG
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.operations.process import Processed, process_dates
from zk_pipeline.runs.launcher import Launcher, open_launcher
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline.store.store import Store
from zk_pipeline_tests.conftest import CRM_TOKEN, exported
from zk_pipeline_tests.defs.daemon_fixtures import Daemons, open_daemons
from zk_pipeline_tests.defs.run_fixtures import deliver, observe_dates, poll_all
from zk_pipeline_tests.gates import MONDAY, TUESDAY, WEDNESDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import execute, ingest

KEYS = [str(day) for day in (MONDAY, TUESDAY, WEDNESDAY)]
RANGE = DateRange(MONDAY, WEDNESDAY)
TOUCHED = [("DATA", "work_dates")]
CHANGED = [("DATA", "daily_attendance")]
OTHER_CODE = [("CODE", "daily_attendance")]


def terminals() -> tuple[EmulatedTerminal, EmulatedTerminal]:
    return gate("A", *present(MONDAY), *present(TUESDAY)), gate("B", *present(WEDNESDAY))


class Pipeline:
    """Runs in this process, ticks of `new_punches_sensor` with their cursor, and stale partitions by GraphQL."""

    def __init__(self, daemons: Daemons, store: Store) -> None:
        self.daemons, self.store = daemons, store
        self.launcher = Launcher(load_settings(), daemons.instance)
        self.cursor: str | None = None

    def poll(self) -> None:
        assert poll_all(self.launcher, self.store).failure is None

    def process(self, first: date = MONDAY, last: date = WEDNESDAY) -> None:
        assert self.launcher.process(DateRange(first, last)).failure is None

    def deliver(self) -> None:
        assert deliver(self.launcher, MONDAY, WEDNESDAY).failure is None

    def tick(self) -> list[str]:
        """The observed work dates."""
        observed, self.cursor = observe_dates(self.launcher, self.cursor)
        return observed

    def stale(self) -> dict[str, dict[str, list[tuple[str, str]]]]:
        """Causes per stale partition and asset."""
        gates = self.daemons.instance.get_dynamic_partitions("devices")
        keys = {"raw_punches": gates, "work_dates": KEYS, "daily_attendance": KEYS, "crm_sync": KEYS}
        found = {asset: self.daemons.stale(asset, partitions) for asset, partitions in keys.items()}
        return {asset: causes for asset, causes in found.items() if causes}


@pytest.fixture(scope="module")
def delivered_home(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose three dates with punches of two terminals are polled, processed and delivered."""
    home = shutil.copytree(empty_home, tmp_path_factory.mktemp("delivered") / "home")
    with exported(home) as patch, Fleet() as fleet, CrmReceiver(token=CRM_TOKEN) as crm:
        patch.setenv("CRM_API_URL", crm.url)
        patch.setenv("CRM_API_TOKEN", CRM_TOKEN)
        store = Store.at(home / "data" / "attendance.duckdb")
        switch_on(fleet, store, *terminals())
        with open_launcher(load_settings()) as launcher:
            assert poll_all(launcher, store).failure is None
            assert launcher.process(RANGE).failure is None
            assert deliver(launcher, MONDAY, WEDNESDAY).failure is None
    return home


@pytest.fixture
def delivered(
    home: Path,
    delivered_home: Path,
    home_store: Store,
    fleet: Fleet,
    crm: CrmReceiver,  # noqa: ARG001
) -> Iterator[Pipeline]:
    """A copy of `delivered_home` after a tick; the terminals are on, the CRM is another."""
    shutil.rmtree(home)
    shutil.copytree(delivered_home, home)
    for terminal in terminals():
        home_store.devices.update(terminal.name, port=fleet.add(terminal))
    with open_daemons(home) as daemons:
        pipeline = Pipeline(daemons, home_store)
        assert pipeline.tick() == []
        yield pipeline


def test_only_dates_with_new_punches_are_stale_and_then_their_deliveries(delivered: Pipeline, fleet: Fleet) -> None:
    assert delivered.stale() == {}
    delivered.poll()  # nothing new
    assert delivered.tick() == []
    assert delivered.stale() == {}

    fleet.punch("A", "1001", datetime.combine(TUESDAY, time(20)))
    delivered.poll()
    assert delivered.stale() == {"daily_attendance": {KEYS[1]: TOUCHED}}
    assert delivered.tick() == []

    delivered.process()
    assert delivered.tick() == []
    assert delivered.stale() == {"crm_sync": {KEYS[1]: CHANGED}}
    delivered.deliver()
    assert delivered.stale() == {}

    delivered.process()  # changes nothing
    assert delivered.stale() == {}


def test_changed_rules_make_their_dates_stale_and_without_a_change_of_the_days_no_delivery(
    delivered: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKDAY_STARTS_AT", "04:00")
    delivered.launcher = Launcher(load_settings(), delivered.launcher.instance)
    assert delivered.tick() == KEYS
    assert delivered.stale() == {"daily_attendance": dict.fromkeys(KEYS, TOUCHED)}
    delivered.process()
    assert delivered.stale() == {}


def test_a_date_whose_processing_fails_stays_stale(delivered: Pipeline) -> None:
    ingest(delivered.store, "A", *present(MONDAY, "1002"))  # as a push: without a run
    assert delivered.tick() == [KEYS[0]]
    execute(delivered.store, "UPDATE devices SET timezone = 'Mars/Base' WHERE name = 'A'")
    assert delivered.launcher.process(DateRange(MONDAY, MONDAY)).failure is not None
    assert delivered.tick() == []
    delivered.cursor = None
    assert delivered.tick() == []
    assert delivered.stale() == {"daily_attendance": {KEYS[0]: TOUCHED}}
    execute(delivered.store, "UPDATE devices SET timezone = 'UTC'")
    delivered.process(MONDAY, MONDAY)
    assert "daily_attendance" not in delivered.stale()


def test_nothing_is_observed_during_a_run_and_at_most_some_dates_in_a_tick(
    delivered: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(delivered.store, "UPDATE work_dates SET latest_punch_seq = latest_punch_seq + 1000")
    selected = frozenset({Names().asset("daily_attendance"), Names().asset("crm_sync")})
    run = delivered.daemons.instance.add_run(
        dg.DagsterRun("__ASSET_JOB", asset_selection=selected, status=dg.DagsterRunStatus.STARTED)
    )
    assert delivered.tick() == []
    delivered.daemons.instance.delete_run(run.run_id)
    monkeypatch.setattr(work_dates, "MAX_OBSERVATIONS", 2)
    assert [delivered.tick(), delivered.tick(), delivered.tick()] == [KEYS[:2], KEYS[2:], []]
    assert set(delivered.stale()["daily_attendance"]) == set(KEYS)


def test_what_is_observed_during_a_run_is_not_part_of_it(delivered: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def observe_and_process(*arguments: Any, **options: Any) -> Processed:
        event = dg.AssetObservation(Names().work_dates, partition=KEYS[0], tags={DATA_VERSION_TAG: "newer"})
        delivered.daemons.instance.report_runless_asset_event(event)
        return process_dates(*arguments, **options)

    monkeypatch.setattr(daily_attendance, "process_dates", observe_and_process)
    delivered.process()
    assert delivered.stale() == {"daily_attendance": {KEYS[0]: TOUCHED}}


def test_materializations_of_an_earlier_release_are_not_stale_until_they_are(delivered: Pipeline, fleet: Fleet) -> None:
    for asset in ("daily_attendance", "crm_sync"):
        for key in KEYS:  # without data versions
            delivered.daemons.instance.report_runless_asset_event(
                dg.AssetMaterialization(Names().asset(asset), partition=key)
            )
    delivered.poll()
    assert delivered.tick() == []
    assert delivered.stale() == {}
    fleet.punch("A", "1001", datetime.combine(MONDAY, time(20)))
    delivered.poll()
    delivered.process(MONDAY, MONDAY)
    assert delivered.stale().keys() == {"crm_sync"}
    delivered.deliver()
    assert delivered.stale() == {}


def test_another_version_of_the_code_is_a_cause(delivered: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    now = delivered.launcher
    with monkeypatch.context() as patch:
        patch.setitem(asset_attributes.CODE, "daily_attendance", ("zk_pipeline.attendance",))
        delivered.launcher = Launcher(now.settings, now.instance)
        delivered.process()
    assert delivered.stale() == {"daily_attendance": dict.fromkeys(KEYS, OTHER_CODE)}
    delivered.launcher = now
    delivered.process()
    assert delivered.stale() == {}
