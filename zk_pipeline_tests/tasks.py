"""Tasks of operators in the web admin: clicks and seconds of each, printed at the end of a run."""

from __future__ import annotations

import pytest

TASK = "tasks in the web admin"  # the property of a test that does one


def write_tasks(terminalreporter: pytest.TerminalReporter) -> None:
    """Write a line for each task; nothing without any."""
    lines = sorted(
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == TASK and report.when == "teardown"
    )
    if lines:
        terminalreporter.section(TASK)
    for line in lines:
        terminalreporter.write_line(line)
