"""Alerts and checks of terminals that push: silence, and punches that are missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from zk_pipeline.operations.alerting.problems import push_problems
from zk_pipeline.operations.alerting.quality_results import CheckResult, evaluate_freshness, evaluate_terminals
from zk_pipeline.store.quality.quality import DeviceReach, Freshness, PushReach, Undelivered
from zk_pipeline.store.queries.terminal_health import TerminalHealth

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SILENCE = timedelta(minutes=45)
DUE = Undelivered(0, None, 0, None, None)
HERE = PushReach("Gate", NOW, 0, None, None, None, None)
GONE = PushReach("Main Yard", NOW - timedelta(minutes=46), 0, None, None, None, None)


def found(*pushing: PushReach) -> Freshness:
    return Freshness([DeviceReach("Polled", NOW, None, None, None, None, 0)], {}, DUE, pushing=list(pushing))


def test_a_terminal_without_a_contact_for_longer_than_its_interval_is_an_alert() -> None:
    (problem,) = push_problems(found(HERE, GONE), NOW, SILENCE)
    assert (problem.key, problem.kind, problem.severity, problem.title) == (
        "push:Main Yard", "push", "warning", "Main Yard is silent",
    )  # fmt: skip
    assert problem.body.startswith("no contact with the receiver since 2026-03-04 11:14 UTC: check")
    assert push_problems(found(HERE), NOW, SILENCE) == []
    assert push_problems(found(), NOW, SILENCE) == []


def test_silence_of_every_terminal_that_pushes_is_critical() -> None:
    assert [one.severity for one in push_problems(found(GONE), NOW, SILENCE)] == ["critical"]


def test_missing_punches_are_an_alert_that_names_their_dates_and_the_commands() -> None:
    lost = PushReach("Main Gate", NOW, 3, date(2026, 3, 2), date(2026, 3, 3), None, None)
    (problem,) = push_problems(found(lost, HERE), NOW, SILENCE)
    assert (problem.key, problem.severity, problem.title) == (
        "missing:Main Gate", "warning", "punches of Main Gate are missing",
    )  # fmt: skip
    assert problem.body.startswith("the terminal counts 3 punches from 2026-03-02 to 2026-03-03 that are not in")
    assert "device command 'Main Gate' punches --start-date 2026-03-02 --end-date 2026-03-03`" in problem.body


def test_uploads_that_cannot_be_read_are_an_alert_until_an_hour_after_the_last_one() -> None:
    why = "90 bytes of table ATTLOG are no text"
    refused = [replace(HERE, refused_at=NOW - timedelta(minutes=minutes), refusal=why) for minutes in (60, 61)]
    (problem,) = push_problems(found(refused[0]), NOW, SILENCE)
    assert (problem.key, problem.severity, problem.title) == (
        "refused:Gate", "critical", "uploads of Gate cannot be read",
    )  # fmt: skip
    assert problem.body.startswith(f"{why}. The terminal keeps the punches")
    assert push_problems(found(refused[1]), NOW, SILENCE) == []


def test_the_check_of_late_polls_includes_terminals_that_push() -> None:
    late = evaluate_freshness(found(HERE, GONE), NOW, silence=SILENCE)[0]
    assert late.problems == ["Main Yard: no contact with the receiver for 46 min"]
    assert late.measured == {"terminals": 3, "minutes": 46}


def problems(health: TerminalHealth) -> list[str]:
    results: list[CheckResult] = evaluate_terminals([health])
    return [problem for one in results for problem in one.problems]


def test_a_terminal_that_only_pushes_is_complete_unless_it_counts_more_and_its_clock_may_be_unknown() -> None:
    assert problems(TerminalHealth("Gate", NOW, 900, 900, None, None, None, True)) == []
    assert problems(TerminalHealth("Gate", NOW, 900, 898, 61.0, None, None, True)) == [
        "Gate: 2 of 900 records are not in the store", "Gate: off by 61 s",
    ]  # fmt: skip
