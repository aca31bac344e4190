"""Polling runs: one run for many terminals, with the success or failure of each device's partition."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pandas as pd
import pytest

from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import range_tags
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.simulator.terminal.faults import Faults, HangAt
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FinishedReading, PreparedReading
from zk_pipeline.store.terminals.punches import PunchStore
from zk_pipeline_tests.defs.run_fixtures import QUIET, metadata_of, poll_all, run_status, statuses, table_of
from zk_pipeline_tests.gates import MONDAY, NASTY, TUESDAY, gate, present, switch_on

GATES = ["North", "South", "Yard"]


def three_gates(fleet: Fleet, store: Store) -> None:
    switch_on(fleet, store, *(gate(name, *present(MONDAY, f"100{i}")) for i, name in enumerate(GATES, start=1)))


def test_one_run_reads_all_terminals_and_each_partition_says_what_it_brought(
    launcher: Launcher, fleet: Fleet, home_store: Store
) -> None:
    three_gates(fleet, home_store)
    result = poll_all(launcher, home_store)

    assert result.failure is None
    assert run_status(launcher, result) is dg.DagsterRunStatus.SUCCESS
    assert launcher.instance.get_runs_count() == 1
    assert statuses(launcher, "raw_punches", GATES) == dict.fromkeys(GATES, "materialized")
    assert {name: values["new_punches"] for name, values in result.partitions.items()} == dict.fromkeys(GATES, 2)
    assert [poll.device for poll in home_store.punches.polls_of(result.run_id)] == GATES
    assert metadata_of(launcher, "devices")["dagster/row_count"] == 3


def hang(fleet: Fleet) -> None:
    fleet.inject("South", HangAt(Command.CMD_CONNECT))


def heal(fleet: Fleet) -> None:
    fleet.inject("South", Faults())


@pytest.mark.parametrize(
    ("fall_ill", "recover", "code"),
    [
        (lambda fleet: fleet.switch_off("South"), lambda fleet: fleet.switch_on("South"), "refused"),
        pytest.param(hang, heal, "no_answer", marks=pytest.mark.matrix),
    ],
    ids=["switched off", "hangs"],
)
def test_a_dead_terminal_turns_the_run_and_only_its_own_partition_red_until_it_recovers(
    *,
    fall_ill: Callable[[Fleet], None],
    recover: Callable[[Fleet], None],
    code: str,
    launcher: Launcher,
    fleet: Fleet,
    home_store: Store,
) -> None:
    three_gates(fleet, home_store)
    fall_ill(fleet)
    result = poll_all(launcher, home_store)

    assert run_status(launcher, result) is dg.DagsterRunStatus.FAILURE
    assert result.failure is not None
    assert result.failure.startswith(f"1 of 3 devices failed: [{code}] South (127.0.0.1:{fleet.port_of('South')})")
    assert sorted(result.partitions) == ["North", "Yard"]
    assert statuses(launcher, "raw_punches", GATES) == {
        "North": "materialized",
        "South": "failed",
        "Yard": "materialized",
    }
    polls = {poll.device: (poll.status, poll.error_code) for poll in home_store.punches.polls_of(result.run_id)}
    assert polls == {"North": ("success", None), "South": ("failed", code), "Yard": ("success", None)}

    recover(fleet)
    again = poll_all(launcher, home_store)
    assert again.failure is None
    assert statuses(launcher, "raw_punches", GATES) == dict.fromkeys(GATES, "materialized")
    assert {name: values["new_punches"] for name, values in again.partitions.items()} == {
        "North": 0,
        "South": 2,
        "Yard": 0,
    }


def test_a_terminal_that_is_not_polled_keeps_its_colour_when_another_fails(
    launcher: Launcher, fleet: Fleet, home_store: Store
) -> None:
    three_gates(fleet, home_store)
    assert poll_all(launcher, home_store).failure is None
    fleet.switch_off("Yard")
    assert [run.failure is None for run in launcher.poll(["North", "Yard"], GATES)] == [True, False]
    assert statuses(launcher, "raw_punches", GATES) == {
        "North": "materialized",
        "South": "materialized",
        "Yard": "failed",
    }


def test_only_the_named_terminals_are_read_and_a_disabled_one_too_if_named(
    launcher: Launcher, fleet: Fleet, home_store: Store
) -> None:
    three_gates(fleet, home_store)
    home_store.devices.update("Yard", enabled=False)
    assert [sorted(run.partitions) for run in launcher.poll(["Yard", "South"], GATES)] == [["South", "Yard"]]
    assert sorted(poll_all(launcher, home_store).partitions) == ["North", "South"]


def test_a_run_over_all_partitions_does_not_connect_to_a_terminal_that_is_not_polled(
    launcher: Launcher, fleet: Fleet, home_store: Store
) -> None:
    three_gates(fleet, home_store)
    home_store.devices.update("South", polled=False)
    names = Names()
    (run,) = launcher.poll(GATES, GATES)
    assert "South is not polled" in str(run.failure)
    launcher.instance.add_dynamic_partitions(names.device_partitions_name, GATES)
    result = (
        build_definitions(launcher.settings)
        .resolve_job_def(names.poll)
        .execute_in_process(instance=launcher.instance, tags=range_tags(GATES[0], GATES[-1]), run_config=QUIET)
    )
    assert result.success
    events = {one.partition: one.description for one in result.asset_materializations_for_node("raw_punches")}
    assert events["South"] == "South gets its punches from files: not polled"
    assert (events["North"], events["Yard"]) == ("North: 2 new of 2 (full)", "Yard: 2 new of 2 (full)")


def test_the_metadata_of_a_poll_counts_and_shows_what_is_new(
    launcher: Launcher, fleet: Fleet, home_store: Store
) -> None:
    punches = [*present(MONDAY), *present(TUESDAY, NASTY)]
    switch_on(fleet, home_store, gate("Gate", *punches, clock_offset_seconds=-420, record_capacity=40))
    poll_all(launcher, home_store)
    made = metadata_of(launcher, "raw_punches", "Gate")

    numbers = {name: value for name, value in made.items() if isinstance(value, int | float)}
    assert numbers == {"new_punches": 4, "reported": 4, "fill_percent": 10.0}, "what the UI plots over the terminals"
    poll = made["poll"]
    assert isinstance(poll, dict)
    assert (poll["mode"], poll["fetched"], poll["stored"], poll["quarantined"]) == ("full", 4, 4, 0)
    assert poll["clock_drift_seconds"] == pytest.approx(-420, abs=2)
    assert made["affected_dates"] == {str(MONDAY): 2, str(TUESDAY): 2}
    assert made["admin_page"] == f"https://admin.example/devices/{home_store.devices.get('Gate').id}"
    preview = table_of(made["preview"])
    assert [row["user_id"] for row in preview] == [NASTY, NASTY, "1001", "1001"]
    assert preview[0]["punched_at_local"] == f"{TUESDAY} 18:00:00"
    fleet.punch("Gate", "1001")
    assert poll_all(launcher, home_store).partitions["Gate"]["new_punches"] == 1


def test_a_comm_key_that_is_not_set_is_that_devices_failure_and_says_which_variable(
    launcher: Launcher, fleet: Fleet, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GATE_KEY", raising=False)
    switch_on(fleet, home_store, gate("Locked", *present(MONDAY), comm_key=4711), comm_key_env="GATE_KEY")
    switch_on(fleet, home_store, gate("Open", *present(MONDAY)))
    result = poll_all(launcher, home_store)
    assert sorted(result.partitions) == ["Open"]
    assert "variable GATE_KEY is not set" in str(result.failure)

    monkeypatch.setenv("GATE_KEY", "4711")
    assert poll_all(launcher, home_store).partitions["Locked"]["new_punches"] == 2


def test_a_reading_that_cannot_be_stored_turns_only_its_own_partition_red(
    launcher: Launcher, fleet: Fleet, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unstorable(one: FinishedReading) -> PreparedReading:
        if one.device.name == "North":
            raise OverflowError("a number that no column can store")
        return made(one)

    made = PreparedReading.of
    monkeypatch.setattr(PreparedReading, "of", unstorable)
    three_gates(fleet, home_store)
    result = poll_all(launcher, home_store)
    assert str(result.failure).startswith("1 of 3 devices failed: [not_stored] North: its log was read and cannot")
    assert statuses(launcher, "raw_punches", GATES) == dict.fromkeys(GATES, "materialized") | {"North": "failed"}
    polls = {poll.device: poll.error_code for poll in home_store.punches.polls_of(result.run_id)}
    assert polls == {"North": "not_stored", "South": None, "Yard": None}


def test_an_event_that_cannot_be_made_costs_the_other_terminals_nothing(
    launcher: Launcher, fleet: Fleet, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unprintable(store: PunchStore, device: str, poll_id: int, limit: int = 5) -> pd.DataFrame:
        if device == "North":
            raise ValueError("no table of that")
        return shown(store, device, poll_id, limit)

    shown = PunchStore.preview
    monkeypatch.setattr(PunchStore, "preview", unprintable)
    three_gates(fleet, home_store)
    result = poll_all(launcher, home_store)
    assert "North: 2 new of 2 (full); stored, but not logged as materialization (ValueError: no table of that)" in str(
        result.failure
    )
    assert sorted(result.partitions) == ["South", "Yard"]
    assert {poll.device: poll.new for poll in home_store.punches.polls_of(result.run_id)} == dict.fromkeys(GATES, 2)
