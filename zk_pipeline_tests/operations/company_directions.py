"""Directions of the punches of a company: the view `punch_directions` against the reference model and the spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from zk_pipeline.config.settings import Settings
from zk_pipeline.store.store import Store
from zk_pipeline_tests.attendance.any_company import Worked
from zk_pipeline_tests.attendance.plain_company import PlainDay, by_day, direction_of
from zk_pipeline_tests.store.store_fixtures import rows

_DIRECTIONS = """
SELECT site, user_id, device, punched_at_local, punched_at, work_date, punch_direction, direction_source
FROM punch_directions
"""


def compare_directions(
    store: Store, config: Settings, worked: Worked, days: Sequence[PlainDay], counted: Counter[str]
) -> None:
    """Every punch as in the reference model. Without `days`, which are processed: only by device or state.

    Users whose days overlap, which gates of one site in different zones can cause, are left out: the rows do not show
    which punch is of which.
    """
    overlapping = {
        (one.site, one.user)
        for one, following in pairwise(sorted(days))
        if (one.site, one.user) == (following.site, following.user)
        and (one.clock_out or one.clock_in) >= following.clock_in
    }
    expected = {}
    for (site, user, day), of_day in by_day(worked.company, worked.punches).items():
        for punch in of_day:
            direction = direction_of(worked.company, of_day, punch)
            if not days:
                known = direction if direction[1] != "alternation" else (None, None)
                expected[site, user, punch.gate.name, punch.local] = (None, *known)
            else:
                expected[site, user, punch.gate.name, punch.local] = (day, *direction)
    found = rows(store, _DIRECTIONS)
    assert len(found) == len(expected)
    wrong = [
        (row, expected[row[:4]])
        for row in found
        if (row[0], row[1]) not in overlapping and tuple(row[5:]) != expected[row[:4]]
    ]
    assert wrong[:1] == []
    if days:
        counted.update(f"{source} {direction}" for *_, direction, source in found)
        counted["overlapping"] += len(overlapping)
        _compare_spans(store, config, days, [row for row in found if (row[0], row[1]) not in overlapping], counted)


def _compare_spans(
    store: Store,
    config: Settings,
    days: Sequence[PlainDay],
    found: Sequence[tuple[object, ...]],
    counted: Counter[str],
) -> None:
    """Spans begin with a punch in and end with a punch out, where all punches of the day are of one kind."""
    frame = store.days.summarize(
        sorted({day.work_date for day in days}),
        workday_starts_at=config.workday_starts_at,
        debounce_seconds=config.debounce_seconds,
    ).frame
    if "spans" not in frame:
        return
    directions: dict[object, dict[object, set[object]]] = {}
    sources: dict[object, set[object]] = {}
    for site, user, _, _, at, day, direction, source in found:
        directions.setdefault((site, user, day), {}).setdefault(at, set()).add(direction)
        sources.setdefault((site, user, day), set()).add(source)
    for one in frame.itertuples():
        row: Any = one
        key = (row.site, row.user_id, row.work_date.date())
        is_alike = row.is_trusted or sources.get(key) == {"alternation"}
        if row.spans is None or key not in directions or not is_alike:
            continue
        for number, micros in enumerate(row.spans):
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(micros))
            assert ("out" if number % 2 else "in") in directions[key][at], (key, row.spans)
        counted["trusted spans" if row.is_trusted else "alternating spans"] += len(row.spans) // 2
