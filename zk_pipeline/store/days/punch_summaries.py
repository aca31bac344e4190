"""Punch summaries for the rules: one row per site, user and work date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta

import pandas as pd

from zk_pipeline.attendance.rules import CLOSING_STATES, OPENING_STATES
from zk_pipeline.attendance.shift_rules import Breaks
from zk_pipeline.attendance.shifts import Shift
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.terminals.namesakes import candidates, namesakes
from zk_pipeline.store.work_dates.assignment import WorkDateAssignment, assign_date_range
from zk_pipeline.store.work_dates.configured_hours import ConfiguredHours, read_configured_hours
from zk_pipeline.store.work_dates.punch_directions import IS_TRUSTED, STATE
from zk_pipeline.store.work_dates.roster import read_shifts


@dataclass(frozen=True)
class Summaries:
    """`frame` as declared by `attendance.frames.SUMMARIES`; `seq`: the highest punch of each work date; `shifts`: the
    shifts that rows name; `hours`: versions of the hours of the settings; `namesakes`: ids that belong to different
    employees at different sites.
    """

    frame: pd.DataFrame
    seq: dict[date, int]
    shifts: Mapping[str, Shift]
    hours: Sequence[ConfiguredHours] = ()
    namesakes: frozenset[str] = frozenset()


def summarize(
    database: Database, dates: Sequence[date], *, workday_starts_at: time, debounce_seconds: int
) -> Summaries:
    """Summaries of every site and user on each of `dates`, in one read. Raises ValueError for no dates."""
    if not dates:
        raise ValueError("no work dates to summarize")
    # A work date begins at its date's midnight or later, and ends within the next date.
    span = {"begin": min(dates), "end": max(dates) + timedelta(days=2)}
    with database.read("summarize punches") as connection:
        seq = connection.execute(
            "SELECT work_date, latest_punch_seq FROM work_dates WHERE list_contains(?, work_date)", [list(dates)]
        ).fetchall()
        placing = assign_date_range(connection, span["begin"], span["end"], workday_starts_at=workday_starts_at)
        shifts = read_shifts(connection) if placing.by_shifts else {}
        values = span | {"dates": list(dates), "debounce": debounce_seconds * 1_000_000}
        table = connection.execute(_query(connection, placing, shifts), values).to_arrow_table()
        hours = read_configured_hours(connection)
        named = candidates(connection)
    known = dict(seq)
    frame = table.to_pandas(timestamp_as_object=False, date_as_object=False)
    apart = frozenset(user_id for user_id, _ in namesakes(named))
    return Summaries(_typed(frame), {day: known.get(day, 0) for day in dates}, shifts, hours, apart)


def _query(connection: Connection, placing: WorkDateAssignment, shifts: Mapping[str, Shift]) -> str:
    """The query with only the joins that this store needs: shifts, holidays and trusted punch states are costly."""
    alternates = any(Breaks.parse(one.breaks).from_punches for one in shifts.values())
    has_holidays, has_trust = connection.execute(
        f"SELECT EXISTS (FROM holidays), coalesce((SELECT bool_or({IS_TRUSTED}) FROM devices AS device), false)"  # noqa: S608
    ).fetchall()[0]
    columns, joins, lists = [], [], []
    if has_trust or alternates:
        lists.append(_KEPT)
        columns.append(_SPANS)
    if placing.by_shifts:
        columns.append(
            "today.shift, coalesce(today.begins, $usual)::INTEGER AS begins, "
            "coalesce(tomorrow.begins, $usual)::INTEGER AS next_begins"
        )
        joins.append(_ROSTER)
    if has_holidays:
        columns.append("coalesce(own.name, common.name) AS holiday")
        joins.append(_HOLIDAYS)
    return _SUMMARIZE.format(
        punches=placing.punches,
        join=placing.join,
        work_date=placing.work_date,
        states=_STATES if lists else "",
        trusted=_TRUSTED if lists else "",
        lists="".join(lists),
        columns="".join(f",\n    {column}" for column in columns).replace("$usual", str(placing.usual)),
        joins="".join(joins),
    )


# Each user's punches of a date as one sorted list: a window function, which first sorts all rows, takes three times as
# long. Punches at one instant are in the order of their devices' names, so the result is deterministic.
_SUMMARIZE = """
WITH placed AS (
    SELECT
        coalesce(device.site, punch.device) AS site,
        punch.user_id,
        {work_date} AS work_date,
        epoch_us(punch.punched_at) AS moment,
        punch.device,
        punch.punched_at_local{trusted}
    FROM {punches} AS punch {join}
    LEFT JOIN devices AS device ON device.name = punch.device
    WHERE punch.punched_at_local >= $begin AND punch.punched_at_local < $end
),
listed AS (
    SELECT site, user_id, work_date, list_sort(list(struct_pack(moment, device, punched_at_local{states}))) AS punches
    FROM placed
    WHERE list_contains($dates, work_date)
    GROUP BY ALL
),
spaced AS (
    SELECT *, list_transform(punches, lambda punch: punch.moment) AS moments{lists} FROM listed
)
SELECT
    spaced.site, spaced.user_id, work_date,
    punches[1].device AS device,
    coalesce(device.timezone, 'UTC') AS timezone,
    make_timestamptz(punches[1].moment) AS first_punch,
    make_timestamptz(punches[-1].moment) AS last_punch,
    punches[1].punched_at_local AS first_punch_local,
    punches[-1].punched_at_local AS last_punch_local,
    len(list_filter(moments, lambda moment, nth: nth = 1 OR moment - moments[nth - 1] >= $debounce))::INTEGER
        AS punch_count{columns}
FROM spaced LEFT JOIN devices AS device ON device.name = punches[1].device{joins}
ORDER BY work_date, spaced.site, spaced.user_id
"""

_TRUSTED = f", {STATE} AS state, {IS_TRUSTED} AS is_trusted"
_STATES = ", state, is_trusted"

# `kept`: without a repeated key press, the same state again within the debounce time. Punches closer together than it
# are a cluster: `begun` and `ended` are its first and last punch.
_KEPT = """,
    list_filter(punches, lambda punch, nth: nth = 1 OR punch.state <> punches[nth - 1].state
        OR punch.moment - punches[nth - 1].moment >= $debounce) AS kept,
    list_filter(moments, lambda moment, nth: nth = 1 OR moment - moments[nth - 1] >= $debounce) AS begun,
    list_filter(moments, lambda moment, nth: nth = len(moments) OR moments[nth + 1] - moment >= $debounce) AS ended"""

_SPANS = f"""
    len(list_filter(punches, lambda punch: NOT punch.is_trusted)) = 0 AS is_trusted,
    CASE WHEN NOT is_trusted THEN
        CASE WHEN len(begun) % 2 = 0 THEN list_transform(begun, lambda moment, nth:
            CASE WHEN nth % 2 = 1 THEN moment ELSE ended[nth] END) END
    WHEN len(kept) % 2 = 0 AND len(list_filter(kept, lambda punch, nth:
            NOT list_contains(CASE WHEN nth % 2 = 1 THEN {[*OPENING_STATES]} ELSE {[*CLOSING_STATES]} END,
                              punch.state::INTEGER))) = 0
        THEN list_transform(kept, lambda punch: punch.moment)
    END AS spans"""

_ROSTER = """
LEFT JOIN roster AS today ON today.device = punches[1].device AND today.user_id = spaced.user_id
    AND work_date BETWEEN today.first AND today.last
LEFT JOIN roster AS tomorrow ON tomorrow.device = punches[1].device AND tomorrow.user_id = spaced.user_id
    AND work_date + 1 BETWEEN tomorrow.first AND tomorrow.last"""

_HOLIDAYS = """
LEFT JOIN holidays AS own ON own.holiday_date = work_date AND own.site = spaced.site
LEFT JOIN holidays AS common ON common.holiday_date = work_date AND common.site IS NULL"""


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    types = {
        "work_date": "datetime64[us]",
        "first_punch": "datetime64[us, UTC]",
        "last_punch": "datetime64[us, UTC]",
        "first_punch_local": "datetime64[us]",
        "last_punch_local": "datetime64[us]",
        "punch_count": "int32",
    }
    return frame.astype({name: kind for name, kind in types.items() if name in frame})
