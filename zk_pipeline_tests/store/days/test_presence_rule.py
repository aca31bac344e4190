"""The presence rule on hand-made punches; `operations/test_any_company` compares it with the plain loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from zk_pipeline.attendance.presence import NewestPunch, presence
from zk_pipeline.store.days.muster import NEWEST

NOW = datetime(2026, 3, 2, 20, tzinfo=UTC)
TRUSTED = {"Turnstile"}
Punch = tuple[str, str, int]  # device, `day HH:MM[:SS]` in March 2026, state


@dataclass
class Rule:
    connection: duckdb.DuckDBPyConnection

    def directions(
        self, punches: Sequence[Punch], *, site: str = "Works", next_begins: int = 0, quay: Sequence[Punch] = (),
        apart: Sequence[str] = (), timezone: str = "UTC", now: datetime = NOW,
    ) -> list[tuple[str, str]]:  # fmt: skip
        """Site and direction of user 1, with punches at one site and at the quay."""
        self.connection.execute("DELETE FROM placed")
        for place, (device, at, state) in [*((site, one) for one in punches), *(("Quay", one) for one in quay)]:
            local = datetime.fromisoformat(f"2026-03-{at}")
            work_date = (local - timedelta(minutes=next_begins)).date()
            self.connection.execute(
                "INSERT INTO placed VALUES (?, '1', ?, ?, ?, timezone(?, ?::TIMESTAMP), ?, ?, ?)",
                [place, work_date, device, timezone, timezone, local, local, state, device in TRUSTED],
            )
        rows = self.connection.execute(f"WITH {NEWEST} FROM newest", {"debounce": 60}).fetchall()
        newest = [NewestPunch(*(*row, next_begins)) for row in rows]
        return sorted((one.site, one.direction) for one in presence(newest, now, apart=apart))


@pytest.fixture(scope="module")
def rule() -> Iterator[Rule]:
    with duckdb.connect() as connection:
        connection.execute(
            """
            SET TimeZone = 'UTC';
            CREATE TABLE placed (
                site VARCHAR, user_id VARCHAR, work_date DATE, device VARCHAR, timezone VARCHAR, punched_at TIMESTAMPTZ,
                punched_at_local TIMESTAMP, punch_state UTINYINT, is_trusted BOOLEAN
            )
            """
        )
        yield Rule(connection)


@pytest.mark.parametrize(
    ("punches", "direction"),
    [
        ([("Gate", "02 08:00", 0)], "in"),
        ([("Gate", "02 08:00", 1)], "in"),  # states of this device are not trusted
        ([("Gate", "02 08:00", 0), ("Gate", "02 17:00", 0)], "out"),
        ([("Gate", "02 08:00", 0), ("Gate", "02 08:00:59", 0)], "in"),  # one debounced punch
        ([("Gate", "02 08:00", 0), ("Gate", "02 08:01:00", 0)], "out"),
        ([("Gate", "02 08:00", 0), ("Gate", "02 08:00", 0)], "in"),
        ([("Turnstile", "02 08:00", 0), ("Turnstile", "02 12:00", 0)], "in"),
        *(([("Turnstile", "02 08:00", state)], "in") for state in (0, 3, 4, 255)),
        *(([("Turnstile", "02 08:00", state)], "out") for state in (1, 2, 5)),
    ],
)
def test_the_last_punch_decides(rule: Rule, punches: list[Punch], direction: str) -> None:
    assert rule.directions(punches) == [("Works", direction)]


def test_a_clock_in_of_an_earlier_work_date_is_over(rule: Rule) -> None:
    yesterday = ("Gate", "01 08:00", 0)
    assert rule.directions([yesterday]) == []
    assert rule.directions([yesterday, ("Gate", "02 08:00", 0)]) == [("Works", "in")]
    assert rule.directions([("Gate", "01 22:00", 0)], next_begins=20 * 60 + 1) == [("Works", "in")]
    assert rule.directions([("Gate", "01 22:00", 0)], next_begins=20 * 60) == []


def test_a_work_date_ends_at_the_wall_clock_of_its_terminal_on_the_day_of_a_clock_change(rule: Rule) -> None:
    saturday: list[Punch] = [("Gate", "28 20:00", 0)]  # ends at 02:30, which Berlin skips: half past one in UTC
    for minute, present in ((29, [("Works", "in")]), (30, [])):
        now = datetime(2026, 3, 29, 1, minute, tzinfo=UTC)
        assert rule.directions(saturday, next_begins=150, timezone="Europe/Berlin", now=now) == present


def test_a_user_is_at_the_site_of_the_newest_punch_only(rule: Rule) -> None:
    works, pier = [("Gate", "02 08:00", 0)], [("Pier", "02 09:00", 0)]
    assert rule.directions(works, quay=pier) == [("Quay", "in")]
    assert rule.directions(works, quay=[*pier, ("Pier", "02 10:00", 0)]) == [("Quay", "out")]
    assert rule.directions(works, quay=pier, apart=["1"]) == [("Quay", "in"), ("Works", "in")]
    assert rule.directions([]) == []
