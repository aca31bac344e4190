"""Times as text: one module formats them, by kind; nothing uses the zone of the host."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from zk_pipeline.time_text import either, in_zone, instant, time_of_day, wall_clock

PACKAGE = Path(__file__).parents[1] / "zk_pipeline"
READING = datetime(2026, 3, 2, 8, 41)  # noqa: DTZ001 (a wall-clock time)
AT = datetime(2026, 3, 2, 5, 41, tzinfo=UTC)


def test_each_kind_of_time_has_its_text_and_refuses_the_other() -> None:
    assert (wall_clock(READING), time_of_day(READING)) == ("2026-03-02 08:41:00", "08:41")
    assert instant(AT, "Africa/Nairobi") == "2026-03-02 08:41:00 Africa/Nairobi"
    assert instant(AT, precision="minutes") == "2026-03-02 05:41 UTC"
    assert [either(READING, "Africa/Nairobi"), either(AT)] == [wall_clock(READING), instant(AT)]
    for form in (wall_clock, time_of_day):
        with pytest.raises(ValueError, match="is an instant"):
            form(AT)
    with pytest.raises(ValueError, match="is a wall-clock time"):
        in_zone(READING, "UTC")


# The zone of the host; a date with a time of day in one format; a bare name of a time in an f-string or on a page.
_TIME = r"[\w.]+(?:_local|(?<!starts)_at)"
FAULT = re.compile(rf"\.astimezone\(\)|%Z|%d %H|(?<!\{{)\{{{_TIME}\}}|\{{\{{ *{_TIME} *\}}\}}")
EXEMPT = {
    "store/terminals/slots.py",
    "cli/terminals/device_clock.py",
    "operations/files/punch_file.py",
}


@pytest.mark.parametrize(
    "source", ["at.astimezone()", "f'{one:%Y-%m-%d %H:%M} UTC'", "f'since {one.seen_at}'", "{{ day.clock_in_local }}"]
)
def test_the_search_finds_a_time_that_is_formatted_elsewhere(source: str) -> None:
    assert FAULT.search(source)


def test_no_other_module_formats_times_and_none_uses_the_zone_of_the_host() -> None:
    found = {
        f"{name}: {fault}"
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".html") and (name := str(path.relative_to(PACKAGE))) not in EXEMPT
        for fault in FAULT.findall(path.read_text(encoding="utf-8"))
    }
    assert found == set()
