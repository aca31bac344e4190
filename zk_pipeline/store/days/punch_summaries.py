"""Punch summaries for the rules: one row per site, user and work date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

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
from zk_pipeline.store.work_dates.sequence import STALE_SITES


@dataclass(frozen=True)
class Summaries:
    """`frame` as declared by `attendance.frames.SUMMARIES`; `seq`: the highest punch of each work date; `shifts`: the
    shifts that rows name; `hours`: versions of the hours of the settings; `namesakes`: ids that belong to different
    employees at different sites; `sites`: those to evaluate on a work date, None for all. Of other sites the frame has
    the rows of their users, for the records merged over sites.
    """

    frame: pd.DataFrame
    seq: dict[date, int]
    shifts: Mapping[str, Shift]
    hours: Sequence[ConfiguredHours] = ()
    namesakes: frozenset[str] = frozenset()
    sites: Mapping[date, Sequence[str] | None] = field(default_factory=dict)

    @property
    def to_evaluate(self) -> pd.DataFrame:
        """The rows of the sites to evaluate."""
        scope = _scope(self.sites)
        if not scope["dates"]:
            return self.frame
        chosen = pd.MultiIndex.from_arrays([pd.DatetimeIndex(scope["dates"]).as_unit("us"), scope["sites"]])
        is_scoped = self.frame["work_date"].isin(chosen.levels[0])
        return self.frame[~is_scoped | pd.MultiIndex.from_frame(self.frame[["work_date", "site"]]).isin(chosen)]


def summarize(
    database: Database,
    dates: Sequence[date],
    *,
    workday_starts_at: time,
    debounce_seconds: int,
    stale_at: datetime | None = None,
) -> Summaries:
    """Summaries of every site and user on each of `dates`, in one read. Of a date that is stale at `stale_at`, if
    given, only the sites that make it so. Raises ValueError for no dates.
    """
    if not dates:
        raise ValueError("no work dates to summarize")
    # A work date begins at its date's midnight or later, and ends within the next date.
    span = {"begin": min(dates), "end": max(dates) + timedelta(days=2)}
    with database.read("summarize punches") as connection:
        known = connection.execute(
            f"SELECT work_date, latest_punch_seq, {STALE_SITES} FROM work_dates "  # noqa: S608 (constant SQL)
            "WHERE list_contains($dates, work_date)",
            {"dates": list(dates), "now": stale_at},
        ).fetchall()
        sites = {day: named if stale_at else None for day, _, named in known}
        placing = assign_date_range(connection, span["begin"], span["end"], workday_starts_at=workday_starts_at)
        shifts = read_shifts(connection) if placing.by_shifts else {}
        values = span | {"dates": list(dates), "debounce": debounce_seconds * 1_000_000}
        scope = _scope(sites)
        if scope["dates"]:
            values |= {"scoped_dates": scope["dates"], "scoped_sites": scope["sites"]}
        query = _query(connection, placing, shifts, is_scoped=bool(scope["dates"]))
        table = connection.execute(query, values).to_arrow_table()
        hours = read_configured_hours(connection)
        named = candidates(connection)
    seq = {day: latest for day, latest, _ in known}
    frame = table.to_pandas(timestamp_as_object=False, date_as_object=False)
    apart = frozenset(user_id for user_id, _ in namesakes(named))
    return Summaries(_typed(frame), {day: seq.get(day, 0) for day in dates}, shifts, hours, apart, sites)


def _scope(sites: Mapping[date, Sequence[str] | None]) -> dict[str, list[Any]]:
    """Dates and sites, in pairs, of the dates of which not all sites are to be evaluated."""
    pairs = [(day, site) for day, named in sites.items() if named is not None for site in named]
    return {"dates": [day for day, _ in pairs], "sites": [site for _, site in pairs]}


def _query(connection: Connection, placing: WorkDateAssignment, shifts: Mapping[str, Shift], *, is_scoped: bool) -> str:
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
        scoped=_SCOPED if is_scoped else "",
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
    WHERE list_contains($dates, work_date){scoped}
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

# On the dates of which only some sites are evaluated: users with punches or a stored row at these.
_SCOPED = """ AND (
        NOT list_contains($scoped_dates, work_date) OR (user_id, work_date) IN (
            SELECT (user_id, work_date) FROM (
                SELECT site, user_id, work_date FROM placed
                UNION ALL
                SELECT site, user_id, work_date FROM daily_attendance WHERE list_contains($scoped_dates, work_date)
            ) SEMI JOIN (
                SELECT unnest($scoped_dates::DATE[]) AS work_date, unnest($scoped_sites::VARCHAR[]) AS site
            ) USING (work_date, site)
        )
    )"""

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
