"""Complete tables as plain values, for independent recounts: the demo's verification, and tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.store.engine.database import Database


@dataclass(frozen=True)
class DayRow:
    """Plain values of a row of `daily_attendance`."""

    site: str
    user_id: str
    work_date: date
    clock_in: datetime
    clock_out: datetime | None
    clock_in_local: datetime
    clock_out_local: datetime | None
    punch_count: int
    revision: int


@dataclass(frozen=True)
class Audit:
    """Reads complete tables: for small stores only."""

    database: Database

    def punches(self) -> list[tuple[str, str, datetime]]:
        """(device, user_id, punched_at_local) of every punch."""
        with self.database.read("audit punches") as connection:
            return connection.execute("SELECT device, user_id, punched_at_local FROM raw_punches").fetchall()

    def days(self) -> list[DayRow]:
        """Every attendance day."""
        with self.database.read("audit days") as connection:
            rows = connection.execute(
                """
                SELECT site, user_id, work_date, clock_in, clock_out, clock_in_local, clock_out_local, punch_count,
                       revision
                FROM daily_attendance
                """
            ).fetchall()
        return [DayRow(*row) for row in rows]
