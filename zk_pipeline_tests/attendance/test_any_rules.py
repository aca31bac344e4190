"""Vectorized rules against the reference model, for generated companies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from zk_pipeline.attendance.evaluate import evaluate_days
from zk_pipeline_tests.attendance.any_company import Worked, companies
from zk_pipeline_tests.attendance.plain_company import plain_days
from zk_pipeline_tests.attendance.rules_fixtures import as_days, dated_rules_of, shifts_of, summaries

USERS, EXAMPLES = 100, 3


def compare(worked: Worked, hours: int) -> int:
    """Compare the evaluation at some instant and at each `reprocess_after`. Returns the number of users."""
    company, zero = worked.company, datetime.combine(worked.middle, datetime.min.time(), UTC)
    frame, rules, shifts = summaries(company, worked.punches), dated_rules_of(company), shifts_of(company)
    now = zero + timedelta(hours=hours)
    evaluated = evaluate_days(frame, rules, now, shifts)
    assert as_days(evaluated) == plain_days(company, worked.punches, now)
    assert list(evaluated.days["is_incomplete"]) == list(evaluated.days["clock_out"].isna())
    assert list(evaluated.days["is_outlier"]) == [bool(codes) for codes in evaluated.days["outlier_codes"]]
    # Evaluations at each `reprocess_after` end with the same rows as one evaluation after the end of all work dates.
    while evaluated.reprocess_after:
        assert min(evaluated.reprocess_after.values()) > now
        now = max(evaluated.reprocess_after.values())
        evaluated = evaluate_days(frame, rules, now, shifts)
    assert as_days(evaluated) == plain_days(company, worked.punches, zero + timedelta(days=1000))
    return len({(day.site, day.user) for day in as_days(evaluated)})


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(240, marks=pytest.mark.stress)])
@pytest.mark.timeout(1800)
def test_whole_columns_equal_the_plainest_loop(examples: int) -> None:
    counted = []

    @settings(
        deadline=None,
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    @given(st.booleans().flatmap(lambda some: companies(users=USERS, with_shifts=some)), st.integers(-72, 144))
    def every(worked: Worked, hours: int) -> None:
        counted.append(compare(worked, hours))

    every()
    assert sum(counted) >= 80 * examples
