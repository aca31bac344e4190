"""Assignment of punches to work dates, as SQL fragments for all queries.

The assignment is not stored: with only the hours of the settings it is one subtraction; with shifts, a join to the
roster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shifts import Hours, minutes
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.work_dates.roster import is_needed, make_roster


@dataclass(frozen=True)
class WorkDateAssignment:
    """SQL fragments for a query over punches with the alias `punch`, valid for their connection only.

    `FROM {punches} AS punch {join}` and then `{work_date}`; `punches` has the valid punches: device, user_id,
    punched_at, punched_at_local, punch_state, seq, first_poll_id.
    """

    punches: str
    join: str
    work_date: str
    usual: int  # minutes after midnight at which work dates begin without a shift

    @property
    def by_shifts(self) -> bool:
        """Whether the temporary table `roster` with the shifts of users is used."""
        return bool(self.join)


# Condition on a relation with user ids for the parameter `user_ids`, of which None takes all.
IS_ASKED = "($user_ids::VARCHAR[] IS NULL OR list_contains($user_ids::VARCHAR[], user_id))"
_VALID = """
    SELECT device, user_id, punched_at, punched_at_local, punch_state, seq, first_poll_id
    FROM raw_punches WHERE NOT is_clock_suspect AND voided_at IS NULL
"""
# A corrected punch counts with its corrected time, even if its clock was implausible.
_CORRECTED = f"""
    {_VALID} AND seq NOT IN (SELECT seq FROM corrected_punches)
    UNION ALL
    SELECT device, user_id, punched_at, punched_at_local, punch_state, seq, first_poll_id FROM corrected_punches
"""  # noqa: S608 (constant SQL)
_MANUAL = """
    UNION ALL
    SELECT device, user_id, punched_at, punched_at_local, punch_state, seq, NULL::BIGINT AS first_poll_id
    FROM manual_punches WHERE decision = 'approved'
"""
_BEGUN = """
    LEFT JOIN roster AS begun ON begun.device = punch.device AND begun.user_id = punch.user_id
        AND punch.punched_at_local::DATE BETWEEN begun.first AND begun.last
"""


def assign_work_dates(
    connection: Connection,
    *,
    punches: str | None = None,
    pairs: str | None = None,
    values: Mapping[str, Any] | None = None,
    workday_starts_at: time | None = None,
    first: date = date.min,
    last: date = date.max,
) -> WorkDateAssignment:
    """Assignment of `punches`, a relation, or else of the valid punches. `pairs`: query of the possible (device,
    user_id), or else those of the punches; `values`: parameters of both; `first` and `last` bound the dates of punches
    and of queried shifts.

    `workday_starts_at`: of the settings; None takes the stored setting of the last assignment.
    """
    usual = stored_workday_start(connection) if workday_starts_at is None else workday_starts_at
    punches = punches or valid_punches(connection)
    if not is_needed(connection):
        plain = f"CAST(punch.punched_at_local - INTERVAL {minutes(usual)} MINUTE AS DATE)"
        return WorkDateAssignment(punches, "", plain, minutes(usual))
    make_roster(
        connection,
        pairs or f"SELECT DISTINCT device, user_id FROM {punches}",  # noqa: S608 (constant SQL)
        values or {},
        settings=stored_hours(connection, usual),
        workday_starts_at=usual,
        first=first,
        last=last,
    )
    begun = f"coalesce(begun.begins, {minutes(usual)})"
    return WorkDateAssignment(
        punches, _BEGUN, f"CAST(punch.punched_at_local - to_minutes({begun}) AS DATE)", minutes(usual)
    )


def assign_date_range(
    connection: Connection, begin: date, end: date, *, workday_starts_at: time, user_ids: Sequence[str] | None = None
) -> WorkDateAssignment:
    """Assignment of the punches from `begin` to `end` (wall clock, `end` exclusive), for the users with punches then,
    or those of `user_ids`: without that bound, the query of users would scan the whole history.
    """
    punches = valid_punches(connection)
    pairs = f"""
        SELECT DISTINCT device, user_id FROM {punches}
        WHERE punched_at_local >= $begin AND punched_at_local < $end
          AND {IS_ASKED}
    """  # noqa: S608 (constant SQL)
    values = {"begin": begin, "end": end, "user_ids": user_ids}
    return assign_work_dates(
        connection,
        punches=punches,
        pairs=pairs,
        values=values,
        workday_starts_at=workday_starts_at,
        first=begin,
        last=end,
    )


def valid_punches(connection: Connection) -> str:
    """Subquery of valid punches: of terminals, not voided and with a plausible or corrected clock; and approved manual
    ones, which have no poll.
    """
    is_corrected, has_manual = connection.execute(
        "SELECT EXISTS (FROM corrected_punches), EXISTS (FROM manual_punches WHERE decision = 'approved')"
    ).fetchall()[0]
    return f"({_CORRECTED if is_corrected else _VALID}{_MANUAL if has_manual else ''})"


def stored_workday_start(connection: Connection) -> time:
    """Stored setting of the start of work dates; midnight in a store without one."""
    value = _setting(connection, "workday_starts_at")
    return time.fromisoformat(value) if value else time(0)


def stored_hours(connection: Connection, workday_starts_at: time) -> Hours:
    """Stored work hours of the settings, by which work dates were assigned."""
    hours = _setting(connection, "work_hours")
    start, end, is_set = hours.split() if hours else ("09:00", "18:00", str(workday_starts_at != time(0)))
    return Hours(time.fromisoformat(start), time.fromisoformat(end), workday_starts_at if is_set == "True" else None)


def stored_debounce(connection: Connection) -> int:
    """Stored DEBOUNCE_SECONDS of the last processing; the default in a store without one."""
    value = _setting(connection, "debounce_seconds")
    return int(value) if value else WorkRules.debounce_seconds


def is_grouped_by(connection: Connection, rules: WorkRules) -> bool:
    """Whether the stored work dates were assigned by the hours of `rules`."""
    starts_at = stored_workday_start(connection)
    return starts_at == rules.workday_starts_at and stored_hours(connection, starts_at) == hours_of(rules)


def hours_of(rules: WorkRules) -> Hours:
    """The hours of `rules` that determine the start of work dates."""
    return Hours(rules.start, rules.end, rules.workday_starts_at if rules.workday_is_set else None)


def _setting(connection: Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM store_settings WHERE name = ?", [name]).fetchone()
    return None if row is None else str(row[0])
