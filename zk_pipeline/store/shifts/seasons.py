"""Seasons: rows of `shift_seasons`. The view `effective_assignments` applies them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from zk_pipeline.attendance.shifts import Season
from zk_pipeline.errors import UsageError, unknown_name
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.work_dates.roster import read_seasons, read_shifts
from zk_pipeline.store.work_dates.shift_changes import changing_shifts


def put_seasons(connection: Connection, seasons: Sequence[Season], now: datetime) -> list[Season]:
    """Store new seasons; returns them with their ids. Raises UsageError for an unknown shift or an overlap."""
    shifts, every = read_shifts(connection), read_seasons(connection)
    last = max((one.id or 0 for one in every), default=0)
    made = []
    for season in seasons:
        for name in (season.shift, season.use):
            if name not in shifts:
                raise UsageError(unknown_name("shift", name, shifts))
        for other in every:
            if (
                other.shift == season.shift
                and season.valid_from <= other.valid_to
                and other.valid_from <= season.valid_to
            ):
                raise UsageError(f"shift {season.shift!r} has a season already: {other}; {season} overlaps it")
        last += 1
        made.append(replace(season, id=last))
        every.append(made[-1])
    with changing_shifts(connection):
        for one in made:
            connection.execute(
                "INSERT INTO shift_seasons VALUES (?, ?, ?, ?, ?, ?)",
                [one.id, one.shift, one.use, one.valid_from, one.valid_to, now],
            )
    return made


def drop_seasons(connection: Connection, seasons: Sequence[Season]) -> None:
    with changing_shifts(connection):
        connection.execute("DELETE FROM shift_seasons WHERE list_contains(?, id)", [[one.id for one in seasons]])
