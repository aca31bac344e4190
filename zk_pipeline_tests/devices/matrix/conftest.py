"""The count of the fault matrix: every case says how it ended, and the summary adds them up by row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection

import pytest

from zk_pipeline_tests.devices.matrix.matrix_judge import WRONG

Settle = Callable[[str, Collection[str]], None]

_PROPERTY = "fault matrix"


@pytest.fixture
def settle(record_property: Callable[[str, object], None]) -> Settle:
    """Puts the outcome of a case on record and fails the test where it is not one of those allowed."""

    def settle(outcome: str, allowed: Collection[str]) -> None:
        record_property(_PROPERTY, outcome)
        assert outcome in allowed

    return settle


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, outcome in getattr(report, "user_properties", ()):
                if name == _PROPERTY and report.when == "call":
                    rows[report.nodeid.partition("::")[2].partition("[")[0]][outcome] += 1
    total = sum(rows.values(), Counter())
    if not total:
        return
    terminalreporter.section("fault matrix")
    for row, outcomes in sorted(rows.items()):
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        terminalreporter.write_line(f"{row.removeprefix('test_').replace('_', ' ')}: {counts}")
    terminalreporter.write_line(f"{total.total()} cases, {total[WRONG]} silently wrong")
