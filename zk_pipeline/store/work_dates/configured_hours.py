"""Versions of the hours of the settings, each with the first work date that is evaluated by it.

Changed settings apply from the current date on, so that a late punch does not bring other hours to a past date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.work_dates.sequence import mark_stale, next_seq

_COLUMNS = (
    "start_time, end_time, early_clock_in_hours, late_clock_in_hours, early_clock_out_hours, late_clock_out_hours"
)


@dataclass(frozen=True)
class ConfiguredHours:
    """Hours of the settings on work dates from `valid_from` to the next version; `date.min`: since ever."""

    valid_from: date
    start: time
    end: time
    early_clock_in_hours: float
    late_clock_in_hours: float
    early_clock_out_hours: float
    late_clock_out_hours: float

    @classmethod
    def of(cls, rules: WorkRules, valid_from: date) -> ConfiguredHours:
        bounds = (rules.early_clock_in, rules.late_clock_in, rules.early_clock_out, rules.late_clock_out)
        return cls(valid_from, rules.start, rules.end, *(bound / timedelta(hours=1) for bound in bounds))

    def rules(self, current: WorkRules) -> WorkRules:
        """`current` rules with these hours and bounds."""
        return replace(
            current,
            start=self.start,
            end=self.end,
            early_clock_in=timedelta(hours=self.early_clock_in_hours),
            late_clock_in=timedelta(hours=self.late_clock_in_hours),
            early_clock_out=timedelta(hours=self.early_clock_out_hours),
            late_clock_out=timedelta(hours=self.late_clock_out_hours),
        )

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


def read_configured_hours(connection: Connection) -> list[ConfiguredHours]:
    """All versions in order; none before the first processing."""
    rows = connection.execute(
        f"SELECT valid_from, {_COLUMNS} FROM configured_hours ORDER BY valid_from"  # noqa: S608 (constant names)
    ).fetchall()
    return [ConfiguredHours(*row) for row in rows]


def is_configured(connection: Connection, rules: WorkRules) -> bool:
    """True if the newest version has the hours of `rules`."""
    versions = read_configured_hours(connection)
    return bool(versions) and versions[-1] == ConfiguredHours.of(rules, versions[-1].valid_from)


def apply_configured_hours(connection: Connection, rules: WorkRules, now: datetime) -> None:
    """Apply the hours of `rules` from the current work date on; to all dates while none has been processed."""
    if is_configured(connection, rules):
        return
    versions = read_configured_hours(connection)
    is_first = not versions or not connection.execute(
        "SELECT EXISTS (FROM work_dates WHERE processed_at IS NOT NULL)"
    ).fetchall()[0][0]  # fmt: skip
    first = date.min if is_first else _current_date(connection, now)
    _replace(connection, [*(one for one in versions if one.valid_from < first), ConfiguredHours.of(rules, first)])
    if not is_first:
        _mark_stale(connection, first, date.max)


def rejudge(connection: Connection, rules: WorkRules, first: date, last: date) -> None:
    """Apply the hours of `rules` to the work dates from `first` to `last`, which become stale."""
    versions = read_configured_hours(connection) or [ConfiguredHours.of(rules, date.min)]
    kept = [one for one in versions if one.valid_from < first or one.valid_from > last]
    changed = [*kept, ConfiguredHours.of(rules, first)]
    if last < date.max and all(one.valid_from != last + timedelta(days=1) for one in kept):
        before = max((one for one in versions if one.valid_from <= last), key=lambda one: one.valid_from, default=None)
        following = before or ConfiguredHours.of(rules, first)
        changed.append(replace(following, valid_from=last + timedelta(days=1)))
    _replace(connection, changed)
    _mark_stale(connection, first, last)


def dated_rules(versions: Sequence[ConfiguredHours], rules: WorkRules) -> list[tuple[date, WorkRules]]:
    """Rules of the settings with their first work dates, for `evaluate_days`; `rules` are the newest."""
    former = [(one.valid_from, one.rules(rules)) for one in versions[:-1]]
    return [*former, (versions[-1].valid_from if versions else date.min, rules)]


def _replace(connection: Connection, versions: Sequence[ConfiguredHours]) -> None:
    """Store the versions, without those that equal the one before them."""
    connection.execute("DELETE FROM configured_hours")
    before: ConfiguredHours | None = None
    for one in sorted(versions, key=lambda version: version.valid_from):
        if before is None or replace(one, valid_from=before.valid_from) != before:
            connection.execute(
                f"INSERT INTO configured_hours (valid_from, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                astuple(one),
            )
            before = one


def _current_date(connection: Connection, now: datetime) -> date:
    """The latest calendar date that the time zone of a device has at `now`: no date that is over is in it or after."""
    zones = connection.execute("SELECT DISTINCT timezone FROM devices").fetchall()
    return max((now.astimezone(ZoneInfo(zone)).date() for (zone,) in zones), default=now.astimezone(UTC).date())


def _mark_stale(connection: Connection, first: date, last: date) -> None:
    connection.execute(
        """
        CREATE TEMP TABLE rejudged AS
        SELECT work_date, ?::BIGINT AS seq FROM work_dates
        WHERE work_date BETWEEN ? AND ? AND raw_purged_at IS NULL AND processed_at IS NOT NULL
        """,
        [next_seq(connection), first, last],
    )
    mark_stale(connection, "rejudged")
    connection.execute("DROP TABLE rejudged")
