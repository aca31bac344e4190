"""Holidays: work dates without expected attendance, rows of `holidays`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.errors import UsageError, unknown_name
from zk_pipeline.store.apply_result import ApplyResult
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.shifts.holiday_sources import HolidayCalendar, HolidaysImported, forget_sources, plan_import
from zk_pipeline.store.work_dates.shift_changes import changing_shifts


@dataclass(frozen=True)
class HolidayStore:
    """Repository of holidays. A change makes exactly the work dates stale that have rows on the holiday."""

    database: Database
    clock: Callable[[], datetime]

    def all(self) -> list[Holiday]:
        """Holidays by date, those of all sites first."""
        with self.database.read("list holidays") as connection:
            return read_holidays(connection)

    def put(self, holidays: Iterable[Holiday]) -> ApplyResult[Holiday]:
        """Add manual holidays, in one transaction; one with the same date and site gets the new name."""
        with self.database.write("enter holidays") as connection:
            return put_holidays(connection, list(holidays), self.clock())

    def restore(self, holiday: Holiday) -> None:
        """Add a holiday that was removed. Raises UsageError if its date and site have one again, or no devices."""
        with self.database.write("restore a holiday", str(holiday.day)) as connection:
            held = [one for one in read_holidays(connection) if (one.day, one.site) == (holiday.day, holiday.site)]
            if held:
                raise UsageError(f"not undone: {held[0].name!r} was entered for {holiday.day} since")
            put_holidays(connection, [holiday], self.clock())

    def take_over(self, calendar: HolidayCalendar, site: str | None = None) -> HolidaysImported:
        """Import the holidays of a calendar for a site, or (None) for all sites, in one transaction.

        Removes imported holidays that were moved or cancelled in it; manual ones stay. Raises UsageError for a site
        without devices.
        """
        with self.database.write("import holidays") as connection:
            check_sites(connection, [site])
            held = {one.day: one for one in read_holidays(connection) if one.site == site}
            done = plan_import(connection, calendar, held, site, self.clock())
            if done.added or done.changed or done.removed:
                with changing_shifts(connection):
                    for one in (*done.changed, *done.removed):
                        _delete(connection, one)
                    _insert(connection, [*done.added, *done.changed], self.clock())
        return done

    def remove(self, day: date, site: str | None = None) -> Holiday:
        """Remove the holiday of a site, or (None) of all sites. Raises UsageError if there is none."""
        with self.database.write("remove a holiday", str(day)) as connection:
            for one in read_holidays(connection):
                if (one.day, one.site) == (day, site):
                    drop_holidays(connection, [one])
                    return one
        raise UsageError(f"there is no holiday on {day} " + ("for all sites" if site is None else f"at {site!r}"))


def read_holidays(connection: Connection) -> list[Holiday]:
    rows = connection.execute(
        "SELECT holiday_date, name, site FROM holidays ORDER BY holiday_date, site NULLS FIRST"
    ).fetchall()
    return [Holiday(day=day, name=name, site=site) for day, name, site in rows]


def put_holidays(connection: Connection, holidays: list[Holiday], now: datetime) -> ApplyResult[Holiday]:
    """Store manual holidays, which no import removes. Raises UsageError for a site without devices."""
    for site, one in {one.site: one for one in reversed(holidays) if one.site is not None}.items():
        check_sites(connection, [site], what=f"holiday {one.day}: ")
    wanted = {(one.day, one.site): one for one in holidays}
    held = {(one.day, one.site): one for one in read_holidays(connection)}
    done = ApplyResult[Holiday]()
    for key, one in wanted.items():
        (done.added if key not in held else done.unchanged if held[key] == one else done.changed).append(one)
    forget_sources(connection, wanted)
    with changing_shifts(connection):
        for one in done.changed:
            _delete(connection, one)
        _insert(connection, [*done.added, *done.changed], now)
    return done


def drop_holidays(connection: Connection, holidays: list[Holiday]) -> None:
    forget_sources(connection, [(one.day, one.site) for one in holidays])
    with changing_shifts(connection):
        for one in holidays:
            _delete(connection, one)


def check_sites(connection: Connection, sites: Iterable[str | None], *, what: str = "") -> None:
    """Raise UsageError for a site without devices; None is all sites."""
    known = [row[0] for row in connection.execute("SELECT DISTINCT site FROM devices ORDER BY 1").fetchall()]
    for site in sites:
        if site is not None and site not in known:
            raise UsageError(what + unknown_name("site", site, known))


def _insert(connection: Connection, holidays: list[Holiday], now: datetime) -> None:
    for one in holidays:
        connection.execute("INSERT INTO holidays VALUES (?, ?, ?, ?)", [one.day, one.name, one.site, now])


def _delete(connection: Connection, one: Holiday) -> None:
    connection.execute(
        "DELETE FROM holidays WHERE holiday_date = ? AND site IS NOT DISTINCT FROM ?", [one.day, one.site]
    )
