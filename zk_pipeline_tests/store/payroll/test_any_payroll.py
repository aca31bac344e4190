"""Any sequence of changed days and closed periods pays each minute exactly once, compared with a plain model."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from zk_pipeline.store.engine.database import Where
from zk_pipeline_tests.store.payroll.payroll_fixtures import Day, Key, Minutes, PlainPayroll, paid, put_days, unpaid
from zk_pipeline_tests.store.store_fixtures import copied

FIRST = date(2026, 3, 2)
# Ends within a week, and at the end of one.
SPANS = {
    "a": (FIRST, date(2026, 3, 11)),
    "b": (date(2026, 3, 12), date(2026, 3, 22)),
    "c": (date(2026, 3, 23), date(2026, 3, 29)),
}
keys = st.tuples(
    st.sampled_from(["HQ", "Mill"]), st.sampled_from(["1", "2"]), st.integers(0, 29).map(lambda n: FIRST + timedelta(n))
)
days = st.builds(
    lambda regular, overtime, night, threshold: Day(regular + overtime[1], overtime[1], overtime[0], night, threshold),
    st.integers(0, 700),
    st.one_of(st.just((None, 0)), st.tuples(st.sampled_from(["weekday", "rest_day", "holiday"]), st.integers(1, 200))),
    st.integers(0, 100),
    st.sampled_from([None, 900, 2400]),
)
changed = st.lists(
    st.tuples(keys, st.one_of(days, days, st.none())), min_size=1, max_size=12, unique_by=lambda one: one[0]
)
steps = st.lists(st.tuples(changed, st.sampled_from(sorted(SPANS))), min_size=4, max_size=8)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("examples", [2, pytest.param(150, marks=pytest.mark.stress)])
def test_paid_and_pending_minutes_are_those_of_the_current_days(
    examples: int, empty_store_file: Where, record_property: Any
) -> None:
    closed = [0]

    @settings(
        deadline=None,
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.reuse, Phase.generate],
    )
    @given(steps)
    def every(sequence: list[Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            store, plain = copied(empty_store_file, Path(folder)), PlainPayroll(SPANS)
            for name, (first, last) in SPANS.items():
                store.payroll.open(name, "test", first=first, last=last)
            for drawn, name in sequence:
                changes = [(key, day) for key, day in drawn if day is not None or key in plain.days]
                put_days(store, changes)
                plain.days = {key: day for key, day in {**plain.days, **dict(changes)}.items() if day is not None}
                if name in plain.paid:
                    store.payroll.reopen(name, "test")
                    plain.reopen(name)
                else:
                    store.payroll.close(name, "test", force=True)
                    plain.close(name)
                    assert paid(store, name) == plain.paid[name]
                    closed[0] += 1
            pending = {one: unpaid(store, one) for one in plain.paid}
            assert pending == {one: plain.due([one]) for one in plain.paid}
            stored = [paid(store, one) for one in plain.paid]
            assert _sums(plain, *stored, *pending.values()) == _sums(plain, plain.current())

    every()
    record_property("compared", f"{closed[0]} closed periods")


def _sums(plain: PlainPayroll, *minutes: Mapping[Key, Minutes]) -> dict[tuple[str, str], int]:
    """Minutes by user and pay class, on the dates of closed periods."""
    total: Counter[tuple[str, str]] = Counter()
    for (_, user, on), classes in (item for rows in minutes for item in rows.items()):
        if any(SPANS[one][0] <= on <= SPANS[one][1] for one in plain.paid):
            total.update({(user, kind): value for kind, value in classes.items()})
    return {key: value for key, value in total.items() if value}
