"""Runs and backfills over several assets: what succeeded goes on, what failed is red, and nothing after it is done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._cli.asset import asset_cli

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.instance import backfill_order
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.runs.launcher import Launcher, open_launcher
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.faults import Faults, HangAt
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline.store.store import Store
from zk_pipeline_tests.conftest import exported
from zk_pipeline_tests.defs.daemon_fixtures import IN_PROCESS_LAUNCHER, Daemons, open_daemons
from zk_pipeline_tests.defs.run_fixtures import poll_all, statuses
from zk_pipeline_tests.gates import MONDAY, TUESDAY, WEDNESDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import execute, ingest

DATES = [MONDAY, TUESDAY, WEDNESDAY]
KEYS = [str(day) for day in DATES]
CHAIN = ("daily_attendance", "crm_sync")
EVERYTHING = ("devices", "raw_punches", *CHAIN)
SYNC_CHECKS, DAY_CHECKS = {"no_dead_letters", "no_overdue_deliveries"}, {"every_work_date_has_a_partition"}


@pytest.fixture(scope="module")
def punched_home(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after a poll: Monday and Wednesday at North, Tuesday at South."""
    home = shutil.copytree(empty_home, tmp_path_factory.mktemp("punched") / "home")
    with exported(home), Fleet() as fleet, open_launcher(load_settings()) as launcher:
        store = Store.at(home / "data" / "attendance.duckdb")
        switch_on(fleet, store, gate("North", *present(MONDAY), *present(WEDNESDAY, "1002")))
        switch_on(fleet, store, gate("South", *present(TUESDAY, "1003")), site="Yard")
        assert poll_all(launcher, store).failure is None
    return home


@pytest.fixture
def punched(home: Path, punched_home: Path) -> None:
    """`home` as a copy of `punched_home`."""
    shutil.rmtree(home)
    shutil.copytree(punched_home, home)


def break_tuesday(store: Store, *, is_broken: bool = True) -> None:
    execute(store, "UPDATE devices SET timezone = ? WHERE name = 'South'", ["Mars/Base" if is_broken else "UTC"])


def materialize(launcher: Launcher, assets: Sequence[str], first: str, last: str) -> dg.DagsterRun:
    """A run of the selection, as the UI's Materialize button and `dagster asset materialize` start it."""
    keys = {dg.AssetKey(name) for name in assets}
    job = launcher.definitions.get_repository_def().get_implicit_job_def_for_assets(sorted(keys))
    assert job is not None
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    result = job.execute_in_process(
        instance=launcher.instance, asset_selection=sorted(keys), tags=tags, raise_on_error=False
    )
    run = launcher.instance.get_run_by_id(result.run_id)
    assert run is not None
    return run


def failure_of(launcher: Launcher, run: dg.DagsterRun) -> dict[str, str]:
    """Description of the failure of each failed step."""
    entries = launcher.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    data = {entry.step_key: entry.get_dagster_event().step_failure_data.user_failure_data for entry in entries}
    return {str(step): str(failure and failure.description) for step, failure in data.items()}


def checks_of(launcher: Launcher, run: dg.DagsterRun) -> set[str]:
    entries = launcher.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return {entry.get_dagster_event().asset_check_evaluation_data.check_name for entry in entries}


@pytest.mark.usefixtures("punched")
def test_days_are_processed_and_delivered_by_one_run(launcher: Launcher, crm: CrmReceiver) -> None:
    for first, last in ((KEYS[1], KEYS[1]), (KEYS[0], KEYS[2])):
        run = materialize(launcher, CHAIN, first, last)
        assert run.status is dg.DagsterRunStatus.SUCCESS
        done = [key for key in KEYS if first <= key <= last]
        for asset in CHAIN:
            assert statuses(launcher, asset, done) == dict.fromkeys(done, "materialized")
        assert {str(day) for _, day in crm.ledger.latest()} == set(done)
        assert crm.posts == len(done), "nothing is delivered twice"


@pytest.mark.usefixtures("punched")
def test_a_date_that_cannot_be_processed_is_red_for_both_assets_and_is_not_delivered(
    launcher: Launcher, crm: CrmReceiver, home_store: Store
) -> None:
    assert launcher.process(DateRange(TUESDAY, TUESDAY)).failure is None  # its delivery is due
    break_tuesday(home_store)
    run = materialize(launcher, CHAIN, KEYS[0], KEYS[-1])
    assert run.status is dg.DagsterRunStatus.FAILURE
    red = {KEYS[0]: "materialized", KEYS[1]: "failed", KEYS[2]: "materialized"}
    for asset in CHAIN:
        assert statuses(launcher, asset, KEYS) == red
    assert {day for _, day in crm.ledger.latest()} == {MONDAY, WEDNESDAY}
    failures = failure_of(launcher, run)
    assert set(failures) == {"crm_sync"}
    assert failures["crm_sync"].startswith("1 of 3 work dates failed: ")
    assert "Mars/Base" in failures["crm_sync"]
    assert checks_of(launcher, run) >= DAY_CHECKS | SYNC_CHECKS

    assert launcher.sync(DateRange(TUESDAY, TUESDAY), {}).failure is None, "by itself, a sync sends what is due"
    break_tuesday(home_store, is_broken=False)
    assert materialize(launcher, CHAIN, KEYS[1], KEYS[1]).status is dg.DagsterRunStatus.SUCCESS
    assert statuses(launcher, "crm_sync", KEYS) == dict.fromkeys(KEYS, "materialized")
    assert all(crm.ledger.revisions(user_id, day) == [1] for user_id, day in crm.ledger.latest())


@pytest.mark.usefixtures("punched")
def test_without_a_date_that_was_processed_or_without_a_sync_the_processing_fails_itself(
    launcher: Launcher, crm: CrmReceiver, home_store: Store
) -> None:
    break_tuesday(home_store)
    assert set(failure_of(launcher, materialize(launcher, CHAIN, KEYS[1], KEYS[1]))) == {"daily_attendance"}
    assert crm.posts == 0
    assert set(statuses(launcher, "crm_sync", [KEYS[1]]).values()) == {"failed"}
    alone = materialize(launcher, CHAIN[:1], KEYS[0], KEYS[-1])
    assert set(failure_of(launcher, alone)) == {"daily_attendance"}
    assert checks_of(launcher, alone) >= DAY_CHECKS


@pytest.mark.usefixtures("punched")
def test_a_refused_delivery_and_a_date_that_cannot_be_processed_are_one_failure(
    launcher: Launcher, crm: CrmReceiver, home_store: Store
) -> None:
    break_tuesday(home_store)
    crm.unknown_users = {"1001"}
    run = materialize(launcher, CHAIN, KEYS[0], KEYS[-1])
    assert failure_of(launcher, run) == {
        "crm_sync": "1 delivered, 0 to retry, 1 failed, 0 unsent; 1 work date not processed; "
        f"{KEYS[0]} 1001: 422: no employee 1001"
    }
    assert statuses(launcher, "crm_sync", KEYS) == {KEYS[0]: "failed", KEYS[1]: "failed", KEYS[2]: "materialized"}


def test_the_command_of_dagster_materializes_a_selection(
    launcher: Launcher, home_store: Store, fleet: Fleet, crm: CrmReceiver
) -> None:
    switch_on(fleet, home_store, gate("Gate", *present(MONDAY), *present(TUESDAY)))
    launcher.instance.add_dynamic_partitions("devices", ["Gate"])

    def run(*arguments: str) -> int:
        command = ["materialize", "-m", "zk_pipeline.definitions", *arguments]
        return CliRunner().invoke(asset_cli, command).exit_code

    assert run("--select", "devices,raw_punches", "--partition", "Gate") == 0
    assert run("--select", "daily_attendance,crm_sync", "--partition-range", f"{KEYS[0]}...{KEYS[1]}") == 0
    assert {day for _, day in crm.ledger.latest()} == {MONDAY, TUESDAY}
    execute(home_store, "UPDATE work_dates SET raw_purged_at = now() WHERE work_date = ?", [TUESDAY])
    assert run("--select", "daily_attendance,crm_sync", "--partition-range", f"{KEYS[0]}...{KEYS[1]}") == 1


# Backfills, with Dagster's own daemons.


@pytest.fixture
def daemons(home: Path, crm: CrmReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemons]:  # noqa: ARG001
    begin = datetime.now(UTC).date() - timedelta(days=3)
    monkeypatch.setenv("ZK_PIPELINE_HISTORY_START", str(begin))
    monkeypatch.setenv("ZKTECO_TIMEOUT", "1")
    with open_daemons(home, IN_PROCESS_LAUNCHER) as opened:
        yield opened


@pytest.fixture
def days(daemons: Daemons, fleet: Fleet, home_store: Store) -> list[str]:
    """Three work dates with punches, of one terminal each."""
    begin = load_settings().history_start
    found = [begin + timedelta(days=number) for number in range(3)]
    for number, day in enumerate(found):
        switch_on(fleet, home_store, gate(f"Gate {number}", *present(day)))
        ingest(home_store, f"Gate {number}", *present(day))
    daemons.instance.add_dynamic_partitions("devices", [f"Gate {number}" for number in range(3)])
    return [str(day) for day in found]


def runs(daemons: Daemons) -> list[tuple[str, list[str]]]:
    """Status and assets of all runs, oldest first."""
    return [
        (run.status.value, sorted(key.to_user_string() for key in run.asset_selection or ()))
        for run in reversed(daemons.instance.get_runs())
    ]


def states(daemons: Daemons, asset: str, keys: Sequence[str]) -> set[str]:
    """Statuses of the partitions in the UI."""
    return set(statuses(Launcher(load_settings(), daemons.instance), asset, keys).values())


def test_a_backfill_over_both_assets_is_one_run_and_ends_as_that_run(
    daemons: Daemons, days: list[str], home_store: Store, crm: CrmReceiver
) -> None:
    assert daemons.backfill(CHAIN, days) == "COMPLETED_SUCCESS"
    assert runs(daemons) == [("SUCCESS", sorted(CHAIN))]
    assert crm.posts == 3

    execute(home_store, "UPDATE devices SET timezone = 'Mars/Base' WHERE name = 'Gate 1'")
    assert daemons.backfill(CHAIN, days) == "COMPLETED_FAILED"
    assert runs(daemons)[1:] == [("FAILURE", sorted(CHAIN))]
    assert states(daemons, "crm_sync", [days[1]]) == states(daemons, "daily_attendance", [days[1]]) == {"failed"}
    assert crm.posts == 3


def test_a_backfill_of_deliveries_that_wait_for_an_operator_ends_as_failed_with_a_failed_run(
    daemons: Daemons, days: list[str], crm: CrmReceiver
) -> None:
    crm.unknown_users = {"1001"}
    assert daemons.backfill(CHAIN, days[:1]) == "COMPLETED_FAILED"
    assert daemons.backfill(CHAIN[1:], days[:1]) == "COMPLETED_FAILED"
    assert runs(daemons) == [("FAILURE", sorted(CHAIN)), ("FAILURE", ["crm_sync"])]
    assert crm.posts == 1, "a dead letter is not due"


def test_everything_is_materialized_and_a_terminal_that_cannot_be_polled_stops_no_date(
    daemons: Daemons, days: list[str], fleet: Fleet, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_order, "MAX_WAIT_SECONDS", 0)  # this launcher does not execute two runs at once
    execute(home_store, "UPDATE devices SET enabled = false WHERE name = 'Gate 2'")
    fleet.inject("Gate 1", HangAt(Command.CMD_CONNECT))
    assert daemons.backfill(EVERYTHING) == "COMPLETED_FAILED"
    assert sorted(runs(daemons)) == [
        ("FAILURE", ["raw_punches"]),
        ("SUCCESS", sorted(CHAIN)),
        ("SUCCESS", ["devices"]),
    ]
    assert states(daemons, "raw_punches", ["Gate 0", "Gate 2"]) == states(daemons, "crm_sync", days) == {"materialized"}
    fleet.inject("Gate 1", Faults())
    assert daemons.backfill(EVERYTHING[:2]) == "COMPLETED_SUCCESS"


def test_the_work_dates_of_a_backfill_wait_for_its_polls(
    daemons: Daemons, days: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    polls, attendance = (Names().asset(name) for name in ("raw_punches", "daily_attendance"))
    instance = daemons.instance

    def add_run(backfill_id: str, asset: dg.AssetKey, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        tags = {"dagster/backfill": backfill_id}
        return instance.add_run(
            dg.DagsterRun("__ASSET_JOB", tags=tags, asset_selection=frozenset({asset}), status=status)
        )

    def pauses(*assets: str, come: Sequence[tuple[dg.AssetKey, dg.DagsterRunStatus]]) -> int:
        """How often a run over work dates pauses; the other runs of its backfill appear in the pauses."""
        launched = daemons.launch_backfill(assets, days if len(assets) == 1 else None)
        run = add_run(launched, attendance, dg.DagsterRunStatus.STARTED)
        others, count = iter(come), 0

        def pause(_: float) -> None:
            nonlocal count
            count += 1
            add_run(launched, *next(others))

        monkeypatch.setattr("zk_pipeline.defs.instance.backfill_order.time.sleep", pause)
        backfill_order.wait_in_backfill(instance, run, polls)
        return count

    good, bad, going = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED
    registry = Names().asset("devices")
    assert pauses("daily_attendance", come=[]) == 0
    assert pauses(*EVERYTHING, come=[(registry, good), (polls, bad)]) == 2
    assert pauses(*EVERYTHING, come=[(registry, bad)]) == 1
    monkeypatch.setattr(backfill_order, "MAX_WAIT_SECONDS", 0.2)
    assert pauses(*EVERYTHING, come=[(polls, going), *[(registry, good)] * 500]) > 2
