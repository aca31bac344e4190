"""Attendance days of any company through the real store equal those of a simple loop, row by row."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from zk_pipeline.store.engine.database import Where
from zk_pipeline_tests.attendance.any_company import Worked, companies
from zk_pipeline_tests.attendance.plain_absences import plain_absences
from zk_pipeline_tests.attendance.plain_company import plain_days
from zk_pipeline_tests.attendance.plain_presence import plain_presence
from zk_pipeline_tests.operations.company_directions import compare_directions
from zk_pipeline_tests.operations.company_fixtures import (
    enrol,
    establish,
    made_days,
    process_stale,
    read,
    settings_of,
    stale,
)
from zk_pipeline_tests.store.store_fixtures import StoppedClock, copied, rows

LONG_AFTER = datetime(2030, 1, 1, tzinfo=UTC)
ABSENCES = "SELECT site, user_id, work_date, shift FROM absences ORDER BY ALL"


def compare(worked: Worked, hours: int, split: random.Random, template: Where, counted: Counter[str]) -> None:
    """Read in two polls, some punches twice, made, and looked at again long after; each time as the plain loop says."""
    with tempfile.TemporaryDirectory() as folder:
        clock = StoppedClock(LONG_AFTER)  # ingest believes every clock
        store = copied(template, Path(folder), clock)
        config = settings_of(worked.company, Path(folder) / "home")
        establish(store, worked)
        enrol(store, worked)
        cut = split.randrange(len(worked.punches))
        read(store, worked.punches[cut:])
        read(store, [*worked.punches[:cut], *split.sample(worked.punches, k=min(5, len(worked.punches)))])
        compare_directions(store, config, worked, [], counted)
        for now in (
            datetime.combine(worked.middle, datetime.min.time(), UTC) + timedelta(hours=hours),
            LONG_AFTER,
        ):
            clock.now = now
            done = process_stale(store, config)
            assert (done.failed, done.overtaken) == ({}, [])
            assert stale(store, config) == []
            expected = plain_days(worked.company, worked.punches, now)
            made = made_days(store)
            wrong = [pair for pair in zip(made, expected, strict=False) if pair[0] != pair[1]]
            assert (len(made), wrong[:1]) == (len(expected), [])
        compare_directions(store, config, worked, expected, counted)
        for hour in range(-30, 60, 11):  # at the ends of different work dates
            now = datetime.combine(worked.middle, datetime.min.time(), UTC) + timedelta(hours=hour)
            muster = store.muster.read(now, debounce_seconds=config.debounce_seconds)
            present = sorted((one.site, one.user_id, one.device, one.direction) for one in muster.people())
            assert present == plain_presence(worked.company, worked.punches, now)
            counted.update(direction for *_, direction in present)
        enrolled = {(gate.site, name) for gate, name in worked.enrolled}
        absent = plain_absences(worked.company, expected, enrolled)
        assert rows(store, ABSENCES) == absent
        report = store.daily_reports.read(worked.middle)
        assert [line[:2] for line in absent if line[2] == worked.middle] == [
            (line.site, line.user_id) for line in sorted(report.lines, key=lambda line: (line.site, line.user_id))
            if line.status == "absent" and line.clock_in_local is None
        ]  # fmt: skip
        assert sum(line.clock_in_local is not None for line in report.lines) == sum(
            day.work_date == worked.middle for day in expected
        )
        counted["companies"] += 1
        counted["people"] += len({(day.site, day.user) for day in expected})
        counted["rows"] += len(expected)
        counted["absences"] += len(absent)
        counted.update(code for day in expected for code in day.codes)


@pytest.mark.parametrize(
    ("with_shifts", "examples", "people"),
    [
        (True, 1, 250),
        pytest.param(False, 1, 100, marks=pytest.mark.matrix),
        pytest.param(True, 60, 250, marks=pytest.mark.stress),
        pytest.param(False, 20, 250, marks=pytest.mark.stress),
    ],
)
@pytest.mark.timeout(3600)
def test_every_day_of_any_company_is_that_of_the_plainest_loop(
    with_shifts: bool,
    examples: int,
    people: int,
    empty_store_file: Where,
    record_property: Callable[[str, object], None],
) -> None:
    counted: Counter[str] = Counter()

    # A failure is reported as found: shrinking it would take many more stores.
    @settings(
        deadline=None,
        max_examples=examples,
        derandomize=examples == 1,  # one company at random may have no terminal that alternates
        suppress_health_check=list(HealthCheck),
        phases=[Phase.reuse, Phase.generate],
    )
    @given(companies(users=people, with_shifts=with_shifts), st.integers(-48, 120), st.integers(0, 2**32))
    def every(worked: Worked, hours: int, seed: int) -> None:
        compare(worked, hours, random.Random(seed), empty_store_file, counted)

    every()
    assert counted["rows"] >= 3 * examples * people
    assert counted["people"] >= examples * people
    assert min(counted["in"], counted["out"]) > examples * people / 8
    assert bool(counted["absences"]) is with_shifts
    assert min(counted["alternation in"], counted["alternation out"]) > 0
    record_property("compared", ", ".join(f"{count:,} {what}" for what, count in sorted(counted.items())))
