"""Cases of golden_days.md, worked out by hand, through the real store and the real processing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.devices.models import Device
from zk_pipeline.operations.files.shift_file import read_shift_file
from zk_pipeline.operations.process import process_dates, stale_dates
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.shifts.leaves import NewLeave
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FinishedReading
from zk_pipeline.store.work_dates.manual_punches import STATES, PunchRequest
from zk_pipeline_tests.attendance.golden_days import (
    PAGE,
    ByHand,
    Case,
    ChangedSettings,
    Clock,
    Log,
    OnLeave,
    Processed,
    ShiftFile,
    Step,
    Terminal,
    cases,
    moment,
    wall,
)
from zk_pipeline_tests.attendance.golden_together import all_of, is_told_at_once
from zk_pipeline_tests.store.store_fixtures import StoppedClock, copied, device, reading, rows

LONG_AFTER = datetime(2027, 1, 1, tzinfo=UTC)
Row: TypeAlias = "tuple[Any, ...]"
Together: TypeAlias = "Callable[[Case], list[Row]]"
CASES = cases(PAGE.read_text("utf-8"))
DAYS = """
SELECT user_id, site, work_date, clock_in, clock_out, clock_in_local, clock_out_local, punch_count, worked_minutes,
       outlier_codes, outlier_reason, revision, is_incomplete, is_outlier, shift, day_off, worked_minutes_source,
       attendance_status, judged_by, late_minutes, early_leave_minutes, directions, break_minutes, break_source,
       overtime_minutes, overtime_class, night_minutes
FROM daily_attendance LEFT JOIN (
    SELECT site, user_id, work_date, string_agg(punch_direction, ' ' ORDER BY punched_at, device) AS directions
    FROM punch_directions GROUP BY ALL
) USING (site, user_id, work_date)
ORDER BY user_id, site, work_date
"""


PAY = ("break", "break from", "overtime", "class", "night")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_day_worked_out_by_hand_is_the_day_that_is_stored(
    case: Case, request: pytest.FixtureRequest, together: Together
) -> None:
    if is_told_at_once(case):
        found = together(case)
    else:
        clock: StoppedClock = request.getfixturevalue("clock")
        clock.now = LONG_AFTER
        found = rows_of(case, request.getfixturevalue("store"), clock, request.getfixturevalue("tmp_path"))
    shows = [shown(row, case) for row in found]
    if "leave" in case.columns:
        shows = with_leave(shows, request.getfixturevalue("store"))
    assert shows == sorted(case.rows, key=lambda row: (row["person"], row["site"], row["work date"]))


def rows_of(case: Case, store: Store, clock: StoppedClock, folder: Path) -> list[Row]:
    """Attendance rows after the steps of a case."""
    given = {"ZK_PIPELINE_HOME": str(folder / "home"), **case.settings}
    settings = load_settings(given)
    if not any(isinstance(step, Terminal) for step in case.steps):
        store.devices.add(device("Gate", timezone="Europe/Istanbul"))
    for kind, steps in groupby((*case.steps, Processed()), type):
        if kind is Terminal:
            store.devices.apply(registered(step) for step in steps if isinstance(step, Terminal))
        elif kind is Log:
            read([step for step in steps if isinstance(step, Log)], store)
        else:
            for step in steps:
                if isinstance(step, ChangedSettings):
                    given |= dict(step.settings)
                    settings = load_settings(given)
                take(step, store, clock, settings, folder)
    assert stale_dates(store, settings, last=date(2200, 1, 1)) == []
    return rows(store, DAYS)


@pytest.fixture(scope="module")
def together(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Together:
    """Rows of a case without processing between its steps. Such cases with equal settings share a store, with users,
    sites, terminals and shifts of their own.
    """
    made: dict[str, list[Row]] = {}

    def of(case: Case) -> list[Row]:
        if case.name not in made:
            like = [one for one in CASES if is_told_at_once(one) and one.settings == case.settings]
            folder = tmp_path_factory.mktemp("together")
            clock = StoppedClock(LONG_AFTER)
            whole = Case("together", settings=case.settings, steps=all_of(like))
            by_case: dict[str, list[Row]] = {one.name: [] for one in like}
            for person, site, *rest in rows_of(whole, copied(empty_store_file, folder, clock), clock, folder):
                name, _, own = person.partition(": ")
                by_case[name].append((own, site.removeprefix(f"{name}: "), *rest))
            made.update(by_case)
        return made[case.name]

    return of


def with_leave(shows: list[dict[str, str]], store: Store) -> list[dict[str, str]]:
    """The rows with the leave of their dates, and the absences."""
    for row in shows:
        explained = store.explanations.explain(row["person"], date.fromisoformat(row["work date"]))
        row["leave"] = " / ".join(one.kind + (f" ({one.day_part})" if one.day_part else "") for one in explained.leaves)
    _, absences = store.absences.page(limit=100)
    blank = dict.fromkeys(shows[0], "")
    absent = [
        blank | {"person": one.user_id, "site": one.site, "work date": str(one.date)}
        | {"status": "absent", "leave": one.leave or ""}
        for one in absences
    ]  # fmt: skip
    return sorted(shows + absent, key=lambda row: (row["person"], row["site"], row["work date"]))


def registered(step: Terminal) -> Device:
    return replace(
        device(step.name, timezone=step.zone, site=step.site), trust_punch_states=step.trusted, direction=step.direction
    )


def take(step: Step, store: Store, clock: StoppedClock, settings: Settings, tmp_path: Path) -> None:
    if isinstance(step, Clock):
        clock.now = step.now
    elif isinstance(step, ShiftFile):
        file = tmp_path / "shifts.yaml"
        file.write_text(step.text, "utf-8")
        store.apply_shifts(read_shift_file(file))
    elif isinstance(step, ByHand):
        words = {number: word for word, number in STATES.items()}
        wanted = [PunchRequest(person, step.site, at, words[state], "forgotten") for person, at, state in step.punches]
        ids = [one.id for one in store.manual_punches.request(wanted, "supervisor")]
        if step.decision == "approved":
            store.manual_punches.decide(ids, "approved", "HR", may_be_own=False)
        elif step.decision == "rejected":
            store.manual_punches.decide(ids, "rejected", "HR", reason="not there", may_be_own=False)
    elif isinstance(step, OnLeave):
        leave = NewLeave(
            user_id=step.person, first_date=step.first, last_date=step.last, kind=step.kind, day_part=step.day_part
        )
        store.leaves.add(leave, "HR")
    elif isinstance(step, Processed):
        dates = [one.work_date for one in stale_dates(store, settings, last=date(2200, 1, 1))]
        assert process_dates(store, dates, work_rules(settings), run_id=None).failed == {}


def read(logs: Sequence[Log], store: Store) -> None:
    """Store the readings of the logs in their order, in one transaction: one for each takes ten times as long."""
    devices = {one.name: one for one in store.devices.all()}
    store.punches.ingest_all([finished(log, devices[log.terminal], store.clock()) for log in logs], run_id=None)


def finished(log: Log, of: Device, now: datetime) -> FinishedReading:
    first_reading = reading([(person, str(at)) for person, at, _ in log.punches], serial=f"SN {log.terminal}")
    states = np.array([state for _, _, state in log.punches], "uint8")
    with_states = replace(first_reading, punches=first_reading.punches.assign(punch_state=states))
    return FinishedReading(device=of, reading=with_states, started_at=now, finished_at=now)


def shown(row: Row, case: Case) -> dict[str, str]:
    """A stored row as on the page, with the columns of the case."""
    person, site, day, came, left, came_local, left_local, count, worked, codes, reason, revision, half, odd = row[:14]
    shift, day_off, worked_minutes_source, status, judged_by = (
        (text or "").replace(f"{case.name}: ", "") for text in row[14:19]
    )
    late, early, directions, *pay = row[19:]
    assert (half, odd) == (left is None, bool(codes))
    said = {
        "person": person,
        "site": site,
        "work date": str(day),
        "in": wall(came_local, day),
        "out": wall(left_local, day),
        "punches": str(count),
        "worked": "" if worked is None else str(worked),
        "codes": " ".join(codes),
        "reason": reason,
        "in UTC": moment(came),
        "out UTC": moment(left),
        "revision": str(revision),
        "shift": shift,
        "day off": day_off,
        "minutes source": worked_minutes_source,
        "late": str(late),
        "early": "" if early is None else str(early),
        "status": status,
        "judged by": judged_by,
        "directions": directions,
        **dict(zip(PAY, ("" if value is None else str(value) for value in pay), strict=True)),
        "leave": "",
    }
    return {name: said[name] for name in case.columns}


def test_there_are_at_least_forty_cases_each_with_a_name_of_its_own_and_a_story() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40
    assert [case.name for case in CASES if not case.story or not case.steps] == []
