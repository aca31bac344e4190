"""The days of one person, as stored. What a sheet makes of them is `operations.month_sheet`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.store.database import Database


@dataclass(frozen=True)
class PersonDay:
    """A row of `daily_attendance`; wall clocks are those of the site's terminals."""

    site: str
    work_date: date
    device: str
    timezone: str
    clock_in_local: datetime
    clock_out_local: datetime | None
    punch_count: int
    worked_minutes: int | None
    is_outlier: bool
    outlier_reason: str
    revision: int


@dataclass(frozen=True)
class Person:
    """What is known of a person: `name` as enrolled last ("" where never), and every site they were seen at."""

    user_id: str
    name: str
    sites: list[str]
    days: list[PersonDay]


@dataclass(frozen=True)
class PersonDays:
    database: Database

    def read(self, user_id: str, first: date, last: date) -> Person:
        """The person with their days from `first` to `last`, ordered by site and date, all of one state of the store.

        One who was never enrolled and has no day has no site either.
        """
        with self.database.read("days of a person") as connection:
            name = connection.execute(
                "SELECT arg_max(name, (updated_at, device)) FROM device_users WHERE user_id = ? AND name <> ''",
                [user_id],
            ).fetchone()
            sites = connection.execute(
                """
                SELECT DISTINCT site FROM daily_attendance WHERE user_id = $user_id
                UNION
                SELECT DISTINCT coalesce(device.site, enrolled.device)
                FROM device_users AS enrolled LEFT JOIN devices AS device ON device.name = enrolled.device
                WHERE user_id = $user_id
                ORDER BY site
                """,
                {"user_id": user_id},
            ).fetchall()
            rows = connection.execute(
                """
                SELECT site, work_date, device, timezone, clock_in_local, clock_out_local, punch_count, worked_minutes,
                       is_outlier, outlier_reason, revision
                FROM daily_attendance WHERE user_id = ? AND work_date BETWEEN ? AND ? ORDER BY site, work_date
                """,
                [user_id, first, last],
            ).fetchall()
        return Person(user_id, (name and name[0]) or "", [site for (site,) in sites], [PersonDay(*row) for row in rows])
