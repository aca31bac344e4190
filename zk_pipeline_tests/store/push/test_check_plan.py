"""Decisions of the reconciliation, without a store."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from zk_pipeline.store.push.check_plan import (
    HISTORY_BEGINS,
    MAX_QUERIED_PUNCHES,
    Answer,
    CheckedTerminal,
    PushCheck,
    Span,
    Verdict,
    due_checks,
    explained_surplus,
    judge,
)

NOW = datetime(2026, 3, 10, 22, 30, tzinfo=UTC)  # the 11th in Istanbul
DAY = date(2026, 3, 9)


def check(first: date = DAY, last: date = DAY, state: str = "asked", **values: object) -> PushCheck:
    return PushCheck(
        serial_number="S", first_date=first, last_date=last, state=state, checked_at=NOW - timedelta(days=2), **values
    )  # type: ignore[arg-type]


def terminal(*checks: PushCheck, zone: str = "Europe/Istanbul", begins: date = date.min) -> CheckedTerminal:
    return CheckedTerminal(
        serial_number="S",
        family="A",
        zone=zone,
        adopted_at=NOW - timedelta(hours=1),
        begins=begins,
        record_count=None,
        stored=0,
        checks=checks,
    )


def answer(count: int | None, stored: int, *, resent: int = 0, explained: int = 0, **more: object) -> Answer:
    values = {"command_state": "done", "return_code": 0, "finished_at": NOW, "may_query": True, **more}
    return Answer(count=count, stored=stored, resent=resent, explained=explained, **values)  # type: ignore[arg-type]


def test_complete_dates_are_those_of_the_terminals_zone() -> None:
    spans = {one.span for one in due_checks(terminal(), NOW)}
    assert max(one.first for one in spans) == date(2026, 3, 10)
    assert Span(HISTORY_BEGINS, date(2026, 3, 10)) in spans
    west = {one.span for one in due_checks(terminal(zone="America/Lima"), NOW)}
    assert max(one.first for one in west) == DAY


def test_nothing_is_due_right_after_an_adoption() -> None:
    assert due_checks(terminal(), NOW - timedelta(minutes=50)) == []


@pytest.mark.parametrize(("days", "halves"), [(2, (1, 1)), (3, (1, 2)), (9566, (4783, 4783))])
def test_the_halves_of_a_span_have_each_of_its_dates_once(days: int, halves: tuple[int, int]) -> None:
    span = Span(HISTORY_BEGINS, HISTORY_BEGINS + timedelta(days=days - 1))
    first, second = span.halves()
    assert (first.first, second.last, second.first - first.last) == (span.first, span.last, timedelta(days=1))
    assert (first.days, second.days) == halves


def test_explained_differences_of_nested_spans_count_once() -> None:
    month = check(date(2026, 2, 1), date(2026, 2, 28), terminal_punches=10, stored_punches=7, resent_punches=10)
    inside = check(date(2026, 2, 3), date(2026, 2, 3), terminal_punches=4, stored_punches=3, resent_punches=4)
    later = check(terminal_punches=4, stored_punches=3, resent_punches=5)
    lost = check(date(2026, 3, 1), date(2026, 3, 1), terminal_punches=4, stored_punches=3, resent_punches=2)
    checks = [inside, lost, later, month]
    assert explained_surplus(checks, Span(HISTORY_BEGINS, date(2026, 3, 10))) == 4
    assert explained_surplus(checks, Span(date(2026, 2, 2), date(2026, 2, 5))) == 1
    assert explained_surplus(checks, Span(date(2026, 3, 1), date(2026, 3, 1))) == 0


WIDE = check(HISTORY_BEGINS, DAY)
QUERIED = check(state="queried", terminal_punches=5, stored_punches=3)


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        (check(), answer(5, 5), Verdict("equal", 5, 5, None)),
        (check(), answer(5, 9), Verdict("equal", 5, 9, None)),
        (check(), answer(5, 4), Verdict("queried", 5, 4, None)),
        (check(), answer(5, 4, may_query=False), None),
        (check(), answer(5, 4, explained=1), Verdict("resent", 5, 4, None)),
        (check(), answer(None, 4), Verdict("unsupported", None, None, None)),
        (check(), answer(None, 4, command_state="failed", return_code=-1), Verdict("unsupported", None, None, None)),
        (check(), answer(None, 0, command_state="failed", return_code=-1), Verdict("equal", 0, 0, None)),
        (check(), answer(None, 0, command_state="failed", return_code=-1002), Verdict("unsupported", None, None, None)),
        (check(), answer(None, 4, command_state="expired"), Verdict("unanswered", None, None, None)),
        (WIDE, answer(MAX_QUERIED_PUNCHES, 4), Verdict("queried", MAX_QUERIED_PUNCHES, 4, None)),
        (WIDE, answer(9999, 4), Verdict("split", 9999, 4, None, WIDE.span.halves())),
        (check(), answer(9999, 4), Verdict("queried", 9999, 4, None)),
        (QUERIED, answer(None, 5, resent=5), Verdict("equal", 5, 5, 5)),
        (QUERIED, answer(None, 4, resent=5), Verdict("resent", 5, 4, 5)),
        (QUERIED, answer(None, 4, resent=3), None),
        (
            QUERIED,
            answer(None, 4, resent=3, finished_at=NOW - timedelta(minutes=10)),
            Verdict("differs", 5, 4, 3),
        ),
        (QUERIED, answer(None, 3, command_state="failed", return_code=-1), Verdict("differs", 5, 3, 0)),
    ],
)
def test_an_answer_leads_to_the_next_state(before: PushCheck, given: Answer, after: Verdict | None) -> None:
    assert judge(before, given, "A", NOW) == after


def test_a_terminal_of_access_control_is_never_halved() -> None:
    assert judge(WIDE, answer(9999, 4), "C", NOW) == Verdict("queried", 9999, 4, None)
