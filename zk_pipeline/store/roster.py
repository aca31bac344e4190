"""Who has which shift on which work date, and where these begin, as a temporary table that punches are joined to.

The rule itself is `attendance.shifts`; here it is spread over the people and dates that a query is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import time
from typing import Any

import pyarrow as pa

from zk_pipeline.attendance.shifts import BOUNDS, Assignment, Hours, Shift, Target, begins
from zk_pipeline.store.database import Connection


def has_assignments(connection: Connection) -> bool:
    return bool(connection.execute("SELECT EXISTS (FROM shift_assignments)").fetchall()[0][0])


def read_shifts(connection: Connection) -> dict[str, Shift]:
    """All shifts, by name, in order."""
    rows = connection.execute(
        f"""
        SELECT name, start_time, end_time, weekdays, workday_starts_at, {", ".join(BOUNDS)} FROM shifts ORDER BY name
        """  # noqa: S608 (column names of ours)
    ).fetchall()
    return {
        name: Shift(
            name=name,
            start=start,
            end=end,
            weekdays=tuple(weekdays.split()),
            workday_starts_at=starts_at,
            **dict(zip(BOUNDS, bounds, strict=True)),
        )
        for name, start, end, weekdays, starts_at, *bounds in rows
    }


def read_assignments(connection: Connection) -> list[Assignment]:
    """All assignments, by target and time."""
    rows = connection.execute(
        """
        SELECT id, shift, user_id, site, device, valid_from, valid_to FROM shift_assignments
        ORDER BY user_id NULLS LAST, site NULLS LAST, device, valid_from NULLS FIRST, id
        """
    ).fetchall()
    return [
        Assignment(
            id=id_, shift=shift, target=Target(user_id=user, site=site, device=device), valid_from=first, valid_to=last
        )
        for id_, shift, user, site, device, first, last in rows
    ]


def make_roster(
    connection: Connection, pairs: str, values: Mapping[str, Any], *, settings: Hours, workday_starts_at: time
) -> None:
    """Make the temporary table `roster(device, user_id, first, last, shift, begins)`.

    `pairs` is a query of the (device, user_id) it is about, with its parameters in `values`. Only those with an
    assignment at some time get rows; theirs cover every date from 0001-01-01 to 9999-12-31 once. `begins` is in minutes
    after midnight; a null `shift` is the hours of the settings, `settings`, whose work dates follow each other at
    `workday_starts_at`.
    """
    connection.register("shift_begins", _begins_table(read_shifts(connection), settings, workday_starts_at))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE roster AS {_ROSTER.format(pairs=pairs)}", dict(values))
    connection.unregister("shift_begins")


def _begins_table(shifts: Mapping[str, Shift], settings: Hours, workday_starts_at: time) -> pa.Table:
    hours = {name: Hours(one.start, one.end, one.workday_starts_at) for name, one in shifts.items()}
    rows: Sequence[tuple[str, str, int]] = [
        (before, on, begins(hours_before, hours_on))
        for before, hours_before in [("", settings), *hours.items()]
        for on, hours_on in [("", settings), *hours.items()]
    ]
    usual = workday_starts_at.hour * 60 + workday_starts_at.minute
    return pa.table(
        {
            "before": pa.array([row[0] for row in rows], pa.string()),
            "on_date": pa.array([row[1] for row in rows], pa.string()),
            "minutes": pa.array([row[2] if row[0] or row[1] else usual for row in rows], pa.int32()),
        }
    )


# A person's assignments cut time into spans of one shift each; only the first date of a span has another one before it.
_ROSTER = """
WITH pairs AS ({pairs}),
known AS (
    SELECT pairs.device, pairs.user_id, coalesce(device.site, pairs.device) AS site
    FROM pairs LEFT JOIN devices AS device ON device.name = pairs.device
),
assigned AS (
    SELECT shift, user_id, site, device, coalesce(valid_from, DATE '0001-01-01') AS valid_from,
           coalesce(valid_to, DATE '9999-12-31') AS valid_to
    FROM shift_assignments
),
held AS (
    SELECT known.device, known.user_id, 1 AS level, shift, valid_from, valid_to
    FROM known JOIN assigned ON assigned.user_id = known.user_id AND assigned.site = known.site
    UNION ALL
    SELECT known.device, known.user_id, 2, shift, valid_from, valid_to
    FROM known JOIN assigned ON assigned.user_id = known.user_id AND assigned.site IS NULL
    UNION ALL
    SELECT known.device, known.user_id, 3, shift, valid_from, valid_to
    FROM known JOIN assigned ON assigned.device = known.device
    UNION ALL
    SELECT known.device, known.user_id, 4, shift, valid_from, valid_to
    FROM known JOIN assigned ON assigned.site = known.site AND assigned.user_id IS NULL
),
breaks AS (
    SELECT device, user_id, DATE '0001-01-01' AS first FROM held
    UNION SELECT device, user_id, valid_from FROM held
    UNION SELECT device, user_id, valid_to + 1 FROM held WHERE valid_to < DATE '9999-12-31'
),
spans AS (
    SELECT device, user_id, first,
           coalesce(lead(first) OVER (PARTITION BY device, user_id ORDER BY first) - 1, DATE '9999-12-31') AS last
    FROM breaks
),
chosen AS (
    SELECT spans.device, spans.user_id, spans.first, spans.last, coalesce(arg_min(held.shift, held.level), '') AS shift
    FROM spans
    LEFT JOIN held ON held.device = spans.device AND held.user_id = spans.user_id
        AND spans.first BETWEEN held.valid_from AND held.valid_to
    GROUP BY ALL
),
followed AS (
    SELECT *, lag(shift, 1, shift) OVER (PARTITION BY device, user_id ORDER BY first) AS before FROM chosen
),
dated AS (
    SELECT device, user_id, first, first AS last, before, shift FROM followed
    UNION ALL
    SELECT device, user_id, first + 1, last, shift AS before, shift FROM followed WHERE last > first
)
SELECT device, user_id, first, last, nullif(shift, '') AS shift, minutes AS begins
FROM dated JOIN shift_begins ON shift_begins.before = dated.before AND shift_begins.on_date = dated.shift
"""
