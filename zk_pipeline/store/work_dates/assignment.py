"""Which work date each punch belongs to, in SQL: the one place that says it, for every query that asks.

Nothing of it is stored: with the hours of the settings alone it is one subtraction; with shifts, a join to the roster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shifts import Hours, minutes
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.work_dates.roster import is_needed, make_roster


@dataclass(frozen=True)
class WorkDateAssignment:
    """Fragments of a query over punches under the name `punch`; they hold for the connection they were made for.

    `FROM {punches} AS punch {join}` and then `{work_date}`; `punches` are those that are part of a day: device,
    user_id, punched_at, punched_at_local, punch_state, seq, first_poll_id.
    """

    punches: str
    join: str
    work_date: str
    usual: int  # minutes after midnight at which work dates begin without a shift

    @property
    def by_shifts(self) -> bool:
        """Whether there is a temporary table `roster` that says who has which shift."""
        return bool(self.join)


_VALID = """
    SELECT device, user_id, punched_at, punched_at_local, punch_state, seq, first_poll_id
    FROM raw_punches WHERE NOT is_clock_suspect AND voided_at IS NULL
"""
# A reading under a correction counts as what it should have been, also where the clock was beyond belief.
_CORRECTED = f"""
    {_VALID} AND seq NOT IN (SELECT seq FROM corrected_punches)
    UNION ALL
    SELECT device, user_id, punched_at, punched_at_local, punch_state, seq, first_poll_id FROM corrected_punches
"""  # noqa: S608 (SQL of ours)
_BEGUN = """
    LEFT JOIN roster AS begun ON begun.device = punch.device AND begun.user_id = punch.user_id
        AND punch.punched_at_local::DATE BETWEEN begun.first AND begun.last
"""


def assign_work_dates(
    connection: Connection,
    *,
    pairs: str | None = None,
    values: Mapping[str, Any] | None = None,
    workday_starts_at: time | None = None,
    first: date = date.min,
    last: date = date.max,
) -> WorkDateAssignment:
    """How to place punches; `pairs` (with parameters `values`) is a query of the (device, user_id) that can occur,
    `first` and `last` bound the dates on which they can, and those whose shifts will be asked for.

    `workday_starts_at`: of the settings; None takes what the store was grouped by last.
    """
    usual = stored_workday_start(connection) if workday_starts_at is None else workday_starts_at
    punches = valid_punches(connection)
    if not is_needed(connection):
        plain = f"CAST(punch.punched_at_local - INTERVAL {minutes(usual)} MINUTE AS DATE)"
        return WorkDateAssignment(punches, "", plain, minutes(usual))
    make_roster(
        connection,
        pairs or f"SELECT DISTINCT device, user_id FROM {punches}",  # noqa: S608 (SQL of ours)
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


def assign_date_range(connection: Connection, begin: date, end: date, *, workday_starts_at: time) -> WorkDateAssignment:
    """How to place the punches from `begin` to `end` (wall clocks, `end` excluded) for who punched then: without that
    bound the whole history would be asked who ever did.
    """
    pairs = f"""
        SELECT DISTINCT device, user_id FROM {valid_punches(connection)}
        WHERE punched_at_local >= $begin AND punched_at_local < $end
    """  # noqa: S608 (SQL of ours)
    values = {"begin": begin, "end": end}
    return assign_work_dates(
        connection, pairs=pairs, values=values, workday_starts_at=workday_starts_at, first=begin, last=end
    )


def valid_punches(connection: Connection) -> str:
    """The punches that are part of a day, as a subquery."""
    is_corrected = connection.execute("SELECT EXISTS (FROM corrected_punches)").fetchall()[0][0]
    return f"({_CORRECTED if is_corrected else _VALID})"


def stored_workday_start(connection: Connection) -> time:
    """Where the work dates now stored begin by the settings; midnight in a store that has none."""
    value = _setting(connection, "workday_starts_at")
    return time.fromisoformat(value) if value else time(0)


def stored_hours(connection: Connection, workday_starts_at: time) -> Hours:
    """The settings' hours that the work dates now stored were grouped by."""
    hours = _setting(connection, "work_hours")
    start, end, is_set = hours.split() if hours else ("09:00", "18:00", str(workday_starts_at != time(0)))
    return Hours(time.fromisoformat(start), time.fromisoformat(end), workday_starts_at if is_set == "True" else None)


def is_grouped_by(connection: Connection, rules: WorkRules) -> bool:
    """Whether the work dates now stored are those of the hours of `rules`."""
    starts_at = stored_workday_start(connection)
    return starts_at == rules.workday_starts_at and stored_hours(connection, starts_at) == hours_of(rules)


def hours_of(rules: WorkRules) -> Hours:
    """The hours of `rules` as far as they decide where work dates begin."""
    return Hours(rules.start, rules.end, rules.workday_starts_at if rules.workday_is_set else None)


def _setting(connection: Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM store_settings WHERE name = ?", [name]).fetchone()
    return None if row is None else str(row[0])
