"""Changed hours of the settings: their application to work dates, and its preview."""

from __future__ import annotations

from datetime import date, datetime

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.work_dates.assignment import hours_of, is_grouped_by, stored_debounce
from zk_pipeline.store.work_dates.configured_hours import apply_configured_hours, is_configured
from zk_pipeline.store.work_dates.staleness import (
    StaleDate,
    apply_work_hours,
    apply_workday_start,
    keep_setting,
    stale_dates,
)

_CHANGED_TABLES = ("store_settings", "work_dates", "frozen_work_date_starts", "configured_hours")


def is_applied(connection: Connection, rules: WorkRules) -> bool:
    """True if the store has applied the hours and the debounce time of `rules`."""
    is_debounced = stored_debounce(connection) == rules.debounce_seconds
    return is_debounced and is_grouped_by(connection, rules) and is_configured(connection, rules)


def apply_settings(connection: Connection, rules: WorkRules, now: datetime) -> None:
    """Apply the hours of `rules`: the work dates that they affect become stale. The debounce time, which makes none
    stale, is stored for the view `punch_directions` and for `explain`.
    """
    keep_setting(connection, "debounce_seconds", str(rules.debounce_seconds))
    apply_workday_start(connection, rules.workday_starts_at)
    apply_work_hours(connection, hours_of(rules))
    apply_configured_hours(connection, rules, now)


def preview_settings(
    connection: Connection, rules: WorkRules, *, first: date, last: date, now: datetime
) -> list[StaleDate]:
    """The stale work dates after `apply_settings`, which runs on temporary copies of the tables that it changes:
    DuckDB resolves a name to a temporary table first. Changes nothing; a read connection suffices.
    """
    copied: list[str] = []
    try:
        for table in _CHANGED_TABLES:
            connection.execute(f"CREATE TEMP TABLE {table} AS FROM {table}")
            copied.append(table)
        apply_settings(connection, rules, now)
        return stale_dates(connection, first=first, last=last, now=now)
    finally:
        for table in copied:
            connection.execute(f"DROP TABLE temp.{table}")
