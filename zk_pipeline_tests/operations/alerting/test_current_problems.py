"""Problems of this instant, from the store and from open alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from zk_pipeline.config.settings import load_settings
from zk_pipeline.operations.alerting.current import current_problems
from zk_pipeline.store.quality.alerts import KnownAlert, Problem
from zk_pipeline.store.quality.quality import DeviceReach, Freshness, Undelivered
from zk_pipeline.store.queries.terminal_health import TerminalHealth

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SETTINGS = load_settings({"CRM_API_URL": "https://crm.example", "CRM_API_TOKEN": "x"})
WELL = Freshness([DeviceReach("Gate", NOW, None, None, None, None, 0)], {}, Undelivered(0, None, 0, None, None))
FAILED = replace(WELL.devices[0], failed_at=NOW, error_code="no_answer", error="no answer")


def alert(key: str, severity: str = "warning", *, ended: bool = False) -> KnownAlert:
    kind = key.partition(":")[0]
    problem = Problem(key=key, kind=kind, severity=severity, owner="terminals", title=key, body="Do this.")
    return KnownAlert(
        problem=problem, first_seen_at=NOW - timedelta(hours=1), notified_at=None, resolved_at=NOW if ended else None
    )


def listed(
    found: Freshness, *known: KnownAlert, daemon: str | None = None, health: Sequence[TerminalHealth] = ()
) -> list[tuple[str, bool]]:
    """Key of each problem, and whether its begin is known."""
    current = current_problems(found, health, known, SETTINGS, NOW, daemon=daemon)
    return [(one.problem.key, one.since is not None) for one in current]


def test_an_alert_that_is_over_is_not_listed_before_the_next_tick_ends_it() -> None:
    over = [alert(key) for key in ("device:Gate", "push:Yard", "lock:Gate", "crm:dead_letters", "daemon")]
    assert listed(WELL, *over) == []


def test_a_problem_is_listed_before_its_alert_begins_and_then_with_its_begin() -> None:
    late = replace(WELL, devices=[FAILED], undelivered=Undelivered(0, None, 2, NOW, "refused"))
    assert listed(late) == [("device:Gate", False), ("crm:dead_letters", False)]
    assert listed(late, alert("device:Gate")) == [("device:Gate", True), ("crm:dead_letters", False)]


def test_alerts_of_checks_runs_and_ticks_are_listed_while_they_are_open_and_critical_ones_first() -> None:
    known = [alert("check:devices:x"), alert("run:poll_devices", "critical"), alert("tick:s", ended=True)]
    assert listed(WELL, *known, daemon="No heartbeat.") == [
        ("daemon", False), ("run:poll_devices", True), ("check:devices:x", True)
    ]  # fmt: skip
    assert listed(WELL, alert("crm:misconfigured", "critical")) == [("crm:misconfigured", True)]  # by a failed run


def test_a_wrong_clock_and_a_full_log_are_listed_as_measured_and_not_again_by_the_alert_of_their_check() -> None:
    known = [alert(f"check:raw_punches:{name}") for name in ("clock_drift_within_limit", "log_capacity_available")]
    health = [TerminalHealth("Main gate", NOW, 10, 10, -421.0, 0.95, None)]
    assert listed(WELL, *known, health=health) == [
        ("clock_drift_within_limit:Main gate", False), ("log_capacity_available:Main gate", False)
    ]  # fmt: skip
    assert listed(WELL, *known) == []
    (clock, _) = current_problems(WELL, health, known, SETTINGS, NOW, daemon=None)
    assert clock.problem.body.startswith("Off by -421 s. `zk-pipeline device set-clock 'Main gate'`.")
