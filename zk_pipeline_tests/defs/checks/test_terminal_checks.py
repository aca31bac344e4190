"""Asset checks of `raw_punches`: each passes for healthy terminals and fails for its problem."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pytest

from zk_pipeline.defs.checks.terminal_checks import check_results
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.queries.terminal_health import TerminalHealth, terminal_health
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.run_fixtures import poll_all
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on

WELL = TerminalHealth(
    device="Gate",
    read_at=datetime(2026, 3, 2, 8, tzinfo=UTC),
    reported=100,
    records_accounted_for=102,
    clock_drift_seconds=-59.9,
    fill=0.79,
    error=None,
)


def failing(*health: TerminalHealth) -> dict[str | None, str]:
    """Failing check → its problems."""
    results = check_results(dg.AssetKey("raw_punches"), health)
    return {one.check_name: str(one.metadata["problems"].value) for one in results if not one.passed}


def test_a_terminal_that_is_well_fails_no_check() -> None:
    assert failing(WELL) == {}


@pytest.mark.parametrize(
    ("ill", "check", "problem"),
    [
        ({"records_accounted_for": 97}, "every_record_accounted_for", "3 of 100 records are not in the store"),
        (
            {"error": "it fell | silent"},
            "every_record_accounted_for",
            "no successful poll since 2026-03-02 08:00 UTC: it fell",
        ),
        ({"clock_drift_seconds": 60.0}, "clock_drift_within_limit", "off by 60 s"),
        ({"clock_drift_seconds": -420.0}, "clock_drift_within_limit", "off by -420 s"),
        ({"clock_drift_seconds": None}, "clock_drift_within_limit", "its clock shows no valid date"),
        ({"fill": 0.8}, "log_capacity_available", "filled to 80%"),
    ],
)
def test_each_check_names_the_terminal_that_fails_it_and_says_why(
    ill: dict[str, object], check: str, problem: str
) -> None:
    other = replace(WELL, device="Yard")
    found = failing(other, replace(WELL, **ill))  # type: ignore[arg-type]
    assert list(found) == [check]
    assert f"**Gate**: {problem}" in found[check]
    assert "Yard" not in found[check]


def test_a_terminal_that_was_never_read_is_incomplete_and_nothing_else() -> None:
    unread = TerminalHealth("Gate", None, None, None, None, None, "no route")
    assert failing(unread) == {"every_record_accounted_for": "- **Gate**: never polled successfully: no route"}


def test_a_poll_evaluates_the_checks_also_when_a_terminal_is_dead(
    launcher: Launcher, home_store: Store, fleet: Fleet
) -> None:
    switch_on(fleet, home_store, gate("North", *present(MONDAY)), gate("South", *present(MONDAY)))
    fleet.switch_off("South")
    result = poll_all(launcher, home_store)
    assert not result.success
    entries = launcher.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    events = [entry.dagster_event for entry in entries]
    passed = {
        event.asset_check_evaluation_data.check_name: event.asset_check_evaluation_data.passed
        for event in events
        if event is not None
    }
    assert passed == {
        "every_record_accounted_for": False,
        "clock_drift_within_limit": True,
        "log_capacity_available": True,
    }
    north = next(one for one in terminal_health(home_store.database) if one.device == "North")
    assert (north.missing, north.error) == (0, None)
