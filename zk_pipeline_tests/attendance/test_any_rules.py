"""The rules over any company's whole columns: on every row equal to the plainest loop."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from zk_pipeline.attendance.evaluate import evaluate_days
from zk_pipeline_tests.attendance.any_company import Worked, companies
from zk_pipeline_tests.attendance.plain_company import plain_days
from zk_pipeline_tests.attendance.rules_fixtures import as_days, rules_of, shifts_of, summaries

PEOPLE, EXAMPLES = 100, 12


def compare(worked: Worked, hours: int) -> int:
    """Judged at some moment and at every moment told; how many people it was about."""
    company, zero = worked.company, datetime.combine(worked.middle, datetime.min.time(), timezone.utc)
    given, rules, shifts = summaries(company, worked.punches), rules_of(company), shifts_of(company)
    now = zero + timedelta(hours=hours)
    judged = evaluate_days(given, rules, now, shifts)
    assert as_days(judged) == plain_days(company, worked.punches, now)
    assert list(judged.days["is_incomplete"]) == list(judged.days["clock_out"].isna())
    assert list(judged.days["is_outlier"]) == [bool(codes) for codes in judged.days["outlier_codes"]]
    # Whoever judges again at the moments told ends where somebody does who comes when all is over.
    while judged.reprocess_after:
        assert min(judged.reprocess_after.values()) > now
        now = max(judged.reprocess_after.values())
        judged = evaluate_days(given, rules, now, shifts)
    assert as_days(judged) == plain_days(company, worked.punches, zero + timedelta(days=1000))
    return len({(day.site, day.user) for day in as_days(judged)})


@pytest.mark.parametrize("examples", [EXAMPLES, pytest.param(20 * EXAMPLES, marks=pytest.mark.stress)])
@pytest.mark.timeout(1800)
def test_whole_columns_equal_the_plainest_loop(examples: int) -> None:
    counted = []

    @settings(
        deadline=None,
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    @given(st.booleans().flatmap(lambda some: companies(people=PEOPLE, with_shifts=some)), st.integers(-72, 144))
    def every(worked: Worked, hours: int) -> None:
        counted.append(compare(worked, hours))

    every()
    assert sum(counted) >= 1000
