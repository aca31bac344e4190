"""Any change of shifts, assignments, holidays and hours makes exactly the affected dates stale."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from zk_pipeline.store.engine.database import Where
from zk_pipeline_tests.attendance.any_company import Worked, changes, companies
from zk_pipeline_tests.attendance.plain_company import (
    ONE_DAY,
    PlainCompany,
    begins,
    by_day,
    holiday_of,
    plain_days,
    shift_of,
)
from zk_pipeline_tests.operations.company_fixtures import (
    establish,
    made_days,
    plan_of,
    process_stale,
    read,
    settings_of,
    stale,
)
from zk_pipeline_tests.store.store_fixtures import StoppedClock, copied

LONG_AFTER = datetime(2030, 1, 1, tzinfo=UTC)


def made_from(worked: Worked, company: PlainCompany) -> dict[Any, Any]:
    """All that a row is made from and judged by."""
    found = {}
    for (site, user, day), held in by_day(company, worked.punches).items():
        who = (site, user, held[0].gate.name)
        shift = shift_of(company, *who, day)
        judged = (replace(shift, weekdays=()), day.weekday() in shift.weekdays, bool(shift.weekdays))
        borders = (begins(company, *who, day), begins(company, *who, day + ONE_DAY))
        own = judged if shift.name else None  # other hours of the settings alone are no reason to make days again
        found[site, user, day] = (held, own, borders, holiday_of(company, site, day))
    return found


def differing(worked: Worked, other: PlainCompany) -> list[date]:
    before, after = made_from(worked, worked.company), made_from(worked, other)
    return sorted({key[2] for key in before.keys() | after.keys() if before.get(key) != after.get(key)})


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("examples", [2, pytest.param(60, marks=pytest.mark.stress)])
def test_exactly_the_dates_go_stale_that_any_change_makes_differ(
    examples: int, empty_store_file: Where, record_property: Any
) -> None:
    counted = [0, 0]

    @settings(
        deadline=None,
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.reuse, Phase.generate],
    )
    @given(
        st.tuples(st.sampled_from([3, 60]), st.booleans()).flatmap(
            lambda pair: companies(users=pair[0], with_shifts=pair[1])
        ),
        st.data(),
    )
    def every(worked: Worked, data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = copied(empty_store_file, Path(folder), StoppedClock(LONG_AFTER))
            config = settings_of(worked.company, Path(folder) / "home")
            establish(store, worked)
            read(store, worked.punches)
            process_stale(store, config)
            for _ in range(3):
                other = data.draw(changes(worked.company, worked.middle))
                expected = differing(worked, other)
                store.apply_shifts(plan_of(other), prune=True)
                assert stale(store, config) == expected
                process_stale(store, config)
                worked = replace(worked, company=other)
                counted[0] += 1
                counted[1] += len(expected)
            assert made_days(store) == plain_days(worked.company, worked.punches, LONG_AFTER)

    every()
    record_property("compared", f"{counted[0]} changes, {counted[1]} stale dates")
