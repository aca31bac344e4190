"""Roster: shift of each user and work date, and its start, as a temporary table for joins with punches.

`attendance.shifts` has the rule; this module applies it to the users and dates of a query.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, time
from typing import Any

from zk_pipeline.attendance.shift_rules import RULE_TEXTS
from zk_pipeline.attendance.shifts import (
    BOUNDS,
    SHIFT_RULES,
    THRESHOLDS,
    Assignment,
    Hours,
    Season,
    Shift,
    Target,
    begins,
    minutes,
)
from zk_pipeline.data_libraries import pa
from zk_pipeline.store.engine.database import Connection

_OF_TARGETS = """
    SEMI JOIN (
        SELECT unnest($user_id::VARCHAR[]) AS user_id, unnest($site::VARCHAR[]) AS site,
               unnest($device::VARCHAR[]) AS device
    ) AS target
    ON held.user_id IS NOT DISTINCT FROM target.user_id AND held.site IS NOT DISTINCT FROM target.site
        AND held.device IS NOT DISTINCT FROM target.device
"""

# Precedence of an assignment `held`, the lowest first: user at a site, user, device, site.
ASSIGNMENT_LEVEL = """CASE WHEN held.user_id IS NOT NULL AND held.site IS NOT NULL THEN 1
    WHEN held.user_id IS NOT NULL THEN 2 WHEN held.device IS NOT NULL THEN 3 ELSE 4 END"""

_VALUES = {
    **{name: "{row}." + name for name in ("name", "start_time", "end_time", *BOUNDS)},
    **{name: f"coalesce({{row}}.{name}, 0)" for name in THRESHOLDS},
    **{name: f"coalesce({{row}}.{name}, '')" for name in RULE_TEXTS},
}


def shift_content(row: str) -> list[str]:
    """SQL of all values of a shift, a row of `shifts`, that decide on its days, except the weekdays (but whether it
    has any); those of its alternatives with their weekdays.
    """
    own, others = ([value.format(row=one) for value in _VALUES.values()] for one in (row, "other"))
    alternatives = f"""(
        SELECT coalesce(string_agg(concat_ws('|', {", ".join(others)}, other.weekdays), '|' ORDER BY other.name), '')
        FROM shifts AS other WHERE list_contains(string_split(coalesce({row}.alternatives, ''), ', '), other.name)
    )"""  # noqa: S608 (constant names)
    return [*own, f"({row}.weekdays = '')", alternatives]


def is_needed(connection: Connection) -> bool:
    """Whether work dates start at different times for different users."""
    # SELECT 1: on a shared store, each column of an empty table costs two queries of the catalog.
    needed = "SELECT EXISTS (SELECT 1 FROM shift_assignments) OR EXISTS (SELECT 1 FROM frozen_work_date_starts)"
    return bool(connection.execute(needed).fetchall()[0][0])


def read_shifts(connection: Connection) -> dict[str, Shift]:
    """All shifts, by name, in order."""
    rows = connection.execute(
        f"""
        SELECT name, start_time, end_time, weekdays, workday_starts_at, {", ".join(BOUNDS)},
               {", ".join(f"coalesce({name}, 0)" for name in THRESHOLDS)},
               {", ".join(f"coalesce({name}, '')" for name in RULE_TEXTS)}
        FROM shifts ORDER BY name
        """  # noqa: S608 (constant names)
    ).fetchall()
    return {
        name: Shift(
            name=name,
            start=start,
            end=end,
            weekdays=tuple(weekdays.split()),
            workday_starts_at=starts_at,
            **dict(zip(SHIFT_RULES, values, strict=True)),
        )
        for name, start, end, weekdays, starts_at, *values in rows
    }


def read_assignments(connection: Connection, targets: Collection[Target] | None = None) -> list[Assignment]:
    """Assignments of `targets`, or all, by target and time."""
    query = "SELECT id, shift, user_id, site, device, valid_from, valid_to FROM shift_assignments AS held"
    values: dict[str, Any] = {}
    if targets is not None:
        query += _OF_TARGETS
        values = {name: [getattr(one, name) for one in targets] for name in ("user_id", "site", "device")}
    rows = connection.execute(
        f"{query} ORDER BY user_id NULLS LAST, site NULLS LAST, device, valid_from NULLS FIRST, id", values
    ).fetchall()
    return [
        Assignment(
            id=id_, shift=shift, target=Target(user_id=user, site=site, device=device), valid_from=first, valid_to=last
        )
        for id_, shift, user, site, device, first, last in rows
    ]


def read_seasons(connection: Connection) -> list[Season]:
    """All seasons, by shift and time."""
    rows = connection.execute(
        "SELECT id, shift, use_shift, valid_from, valid_to FROM shift_seasons ORDER BY shift, valid_from"
    ).fetchall()
    return [
        Season(id=id_, shift=shift, use=use, valid_from=first, valid_to=last) for id_, shift, use, first, last in rows
    ]


def make_roster(
    connection: Connection,
    pairs: str,
    values: Mapping[str, Any],
    *,
    settings: Hours,
    workday_starts_at: time,
    first: date = date.min,
    last: date = date.max,
) -> None:
    """Create the temporary table `roster(device, user_id, first, last, shift, begins)`.

    `pairs` is a query of the (device, user_id) to include, with its parameters in `values`. Only those with an
    assignment at some time from `first` to `last` get rows, which cover each of these dates once (rows of the date
    before are unspecified). `begins` is in minutes after midnight; a null `shift` means the hours of the settings,
    `settings`, whose work dates start at `workday_starts_at`.
    """
    connection.register("shift_begins", _begins_table(read_shifts(connection), settings, workday_starts_at))
    span = {"roster_first": first, "roster_last": last}
    connection.execute(f"CREATE OR REPLACE TEMP TABLE roster AS {_ROSTER.format(pairs=pairs)}", {**values, **span})
    connection.unregister("shift_begins")
    fixed = "SELECT EXISTS (FROM frozen_work_date_starts WHERE on_date BETWEEN ? AND ?)"
    if connection.execute(fixed, [first, last]).fetchall()[0][0]:
        connection.execute("ALTER TABLE roster RENAME TO unfixed")
        connection.execute(_FIXED, {"first": first, "last": last, "usual": minutes(workday_starts_at)})
        connection.execute("DROP TABLE unfixed")


def _begins_table(shifts: Mapping[str, Shift], settings: Hours, workday_starts_at: time) -> pa.Table:
    hours = {name: one.hours for name, one in shifts.items()}
    rows: Sequence[tuple[str, str, int]] = [
        (before, on, begins(hours_before, hours_on))
        for before, hours_before in [("", settings), *hours.items()]
        for on, hours_on in [("", settings), *hours.items()]
    ]
    usual = minutes(workday_starts_at)
    return pa.table(
        {
            "before": pa.array([row[0] for row in rows], pa.string()),
            "on_date": pa.array([row[1] for row in rows], pa.string()),
            "minutes": pa.array([row[2] if row[0] or row[1] else usual for row in rows], pa.int32()),
        }
    )


# The shift depends on the user, the site, and the device if it has assignments: few combinations with few assignments
# each. These divide time into spans of one shift; only the first date of a span follows another shift.
_ROSTER = """
WITH pairs AS MATERIALIZED ({pairs}),
assigned AS (
    SELECT * REPLACE (greatest(valid_from, $roster_first - 1) AS valid_from, least(valid_to, $roster_last) AS valid_to)
    FROM (
        SELECT shift, user_id, site, device, coalesce(valid_from, DATE '0001-01-01') AS valid_from,
               coalesce(valid_to, DATE '9999-12-31') AS valid_to
        FROM effective_assignments
    )
    WHERE valid_from <= $roster_last AND valid_to >= $roster_first - 1
),
known AS (
    SELECT pairs.device, pairs.user_id, coalesce(device.site, pairs.device) AS site, coalesce(own.device, '') AS gate
    FROM pairs
    LEFT JOIN devices AS device ON device.name = pairs.device
    LEFT JOIN (SELECT DISTINCT device FROM assigned WHERE device IS NOT NULL) AS own ON own.device = pairs.device
),
kinds AS (SELECT DISTINCT user_id, site, gate FROM known),
held AS (
    SELECT kinds.*, CASE WHEN assigned.site IS NULL THEN 2 ELSE 1 END AS level, shift, valid_from, valid_to
    FROM kinds JOIN assigned ON assigned.user_id = kinds.user_id AND coalesce(assigned.site, kinds.site) = kinds.site
    UNION ALL
    SELECT kinds.*, 3, shift, valid_from, valid_to
    FROM kinds JOIN assigned ON assigned.device = kinds.gate
    UNION ALL
    SELECT kinds.*, 4, shift, valid_from, valid_to
    FROM kinds JOIN assigned ON assigned.site = kinds.site AND assigned.user_id IS NULL
),
gathered AS (
    SELECT user_id, site, gate, list(struct_pack(level, shift, valid_from, valid_to)) AS held FROM held GROUP BY ALL
),
cut AS (
    SELECT *, list_sort(list_distinct(list_concat(
        [($roster_first - 1)::DATE],
        list_transform(held, lambda one: one.valid_from),
        list_filter(list_transform(held, lambda one: (one.valid_to + 1)::DATE), lambda day: day <= $roster_last)
    ))) AS firsts
    FROM gathered
),
chosen AS (
    SELECT user_id, site, gate, list_transform(firsts, lambda day, nth: struct_pack(
        first := day,
        last := coalesce((firsts[nth + 1] - 1)::DATE, $roster_last),
        shift := coalesce(list_min(list_transform(
            list_filter(held, lambda one: day BETWEEN one.valid_from AND one.valid_to),
            lambda one: struct_pack(level := one.level, shift := one.shift)
        )).shift, '')
    )) AS spans
    FROM cut
),
dated AS (
    SELECT user_id, site, gate, unnest(list_transform(spans, lambda span, nth: struct_pack(
        before := CASE WHEN nth = 1 THEN span.shift ELSE spans[nth - 1].shift END, span := span
    ))) AS it
    FROM chosen
),
begun AS (
    SELECT user_id, site, gate, it.span.shift AS shift, it.before AS before, it.span.first AS first,
           CASE WHEN it.before = it.span.shift THEN it.span.last ELSE it.span.first END AS last
    FROM dated
    UNION ALL
    SELECT user_id, site, gate, it.span.shift, it.span.shift, it.span.first + 1, it.span.last
    FROM dated WHERE it.before <> it.span.shift AND it.span.first < it.span.last
)
SELECT known.device, known.user_id, begun.first, begun.last, nullif(begun.shift, '') AS shift, minutes AS begins
FROM known
JOIN begun ON begun.user_id = known.user_id AND begun.site = known.site AND begun.gate = known.gate
JOIN shift_begins ON shift_begins.before = begun.before AND shift_begins.on_date = begun.shift
"""

# Dates with a frozen start are cut out of their spans; a user without a span gets the start of the settings.
_FIXED = """
CREATE TEMP TABLE roster AS
WITH fixed AS (SELECT * FROM frozen_work_date_starts WHERE on_date BETWEEN $first AND $last),
whole AS (
    FROM unfixed
    UNION ALL BY NAME
    SELECT DISTINCT device, user_id, $first::DATE AS first, $last::DATE AS last, $usual::INTEGER AS begins
    FROM fixed ANTI JOIN unfixed USING (device, user_id)
),
cut AS (
    SELECT whole.*, list(on_date ORDER BY on_date) AS dates, list(fixed.start_minute ORDER BY on_date) AS starts
    FROM whole JOIN fixed USING (device, user_id) WHERE on_date BETWEEN first AND last GROUP BY ALL
),
gaps AS (
    SELECT device, user_id, shift, begins, unnest(list_prepend(first, list_transform(dates, lambda day: day + 1)))::DATE
           AS first, unnest(list_append(list_transform(dates, lambda day: day - 1), last))::DATE AS last
    FROM cut
),
dated AS (SELECT device, user_id, shift, unnest(dates) AS day, unnest(starts) AS begins FROM cut)
SELECT whole.* FROM whole ANTI JOIN fixed
    ON fixed.device = whole.device AND fixed.user_id = whole.user_id AND on_date BETWEEN first AND last
UNION ALL
SELECT device, user_id, first, last, shift, begins FROM gaps WHERE first <= last
UNION ALL
SELECT device, user_id, day, day, shift, begins FROM dated
"""
