"""Attendance days written without punches, and the plainest model of payroll periods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from zk_pipeline.store.store import Store

Key = tuple[str, str, date]  # site, user id, work date
Minutes = Counter[str]


@dataclass(frozen=True)
class Day:
    """Minutes of an attendance day; None: the day is retracted."""

    worked: int = 480
    overtime: int = 0
    overtime_class: str | None = None
    night: int = 0
    threshold: int | None = None


def put_days(store: Store, days: Iterable[tuple[Key, Day | None]]) -> None:
    """Write the next revision of each day, as a processing run would."""
    with store.database.write("test") as connection:
        for (site, user, on), day in days:
            key = [site, user, on]
            where = "WHERE site = ? AND user_id = ? AND work_date = ?"
            revision = (
                1
                + connection.execute(
                    f"SELECT coalesce(max(revision), 0) FROM daily_attendance_revisions {where}", key
                ).fetchall()[0][0]
            )
            connection.execute(f"DELETE FROM daily_attendance {where}", key)
            worked = 0 if day is None else day.worked
            values = {"site": site, "user_id": user, "work_date": on, "revision": revision, "worked": worked}
            connection.execute(
                f"""
                INSERT INTO daily_attendance_revisions BY NAME
                SELECT {_ROW}, {day is None} AS is_retracted
                """,
                values,
            )
            if day is not None:
                more = {"overtime": day.overtime, "class": day.overtime_class}
                more |= {"night": day.night, "threshold": day.threshold}
                connection.execute(
                    f"""
                    INSERT INTO daily_attendance BY NAME
                    SELECT {_ROW}, $overtime AS overtime_minutes, $class AS overtime_class, $night AS night_minutes,
                           $threshold AS weekly_overtime_after_minutes, 'present' AS attendance_status,
                           clock_in AS updated_at
                    """,
                    values | more,
                )


_ROW = """
    1 AS id, $site AS site, 'Gate' AS device, $user_id AS user_id, $work_date::DATE AS work_date,
    $work_date::TIMESTAMP + INTERVAL 8 HOUR AS clock_in_local, clock_in_local AT TIME ZONE 'UTC' AS clock_in,
    'UTC' AS timezone, 2 AS punch_count, $worked AS worked_minutes, false AS is_incomplete, false AS is_outlier,
    []::VARCHAR[] AS outlier_codes, '' AS outlier_reason, $revision AS revision, 'hash' AS payload_hash,
    clock_in AS created_at
"""


def paid(store: Store, period: str) -> dict[Key, Minutes]:
    """Minutes by class that a period has paid, without rows of no minutes."""
    rows = store.payroll.rows(period).rows
    found = {}
    for row in rows.to_dict("records"):
        minutes = Counter({name: row[f"{name}_minutes"] for name in CLASSES if row[f"{name}_minutes"]})
        if minutes:
            found[row["site"], row["user_id"], row["work_date"].date()] = minutes
    return found


def unpaid(store: Store, period: str) -> dict[Key, Minutes]:
    found: dict[Key, Minutes] = {}
    for one in store.payroll.unpaid_adjustments(period):
        found.setdefault((one.site, one.user_id, one.work_date), Counter())[one.pay_class] = one.minutes
    return found


CLASSES = ("regular", "overtime_weekday", "overtime_rest_day", "overtime_holiday", "weekly_overtime", "night")


@dataclass
class PlainPayroll:
    """Model: the current days, the periods, and what each closed one has paid. No joins, no increments."""

    spans: dict[str, tuple[date, date]] = field(default_factory=dict)
    days: dict[Key, Day] = field(default_factory=dict)
    paid: dict[str, dict[Key, Minutes]] = field(default_factory=dict)  # of closed periods

    def current(self) -> dict[Key, Minutes]:
        found = {}
        for (site, user, on), day in self.days.items():
            monday = on - timedelta(on.weekday())
            week = sorted(
                (other for other in self.days if other[1] == user and monday <= other[2] <= monday + timedelta(6)),
                key=lambda one: (one[2], one[0]),
            )
            threshold = next((self.days[one].threshold for one in reversed(week) if self.days[one].threshold), None)
            before = sum(
                self.days[one].worked - self.days[one].overtime for one in week[: week.index((site, user, on))]
            )
            regular = day.worked - day.overtime
            weekly = 0 if threshold is None else min(max(before + regular - threshold, 0), regular)
            minutes = Counter(regular=regular - weekly, weekly_overtime=weekly, night=day.night)
            if day.overtime_class:
                minutes[f"overtime_{day.overtime_class}"] = day.overtime
            found[site, user, on] = minutes
        return found

    def all_paid(self) -> dict[Key, Minutes]:
        total: dict[Key, Minutes] = {}
        for rows in self.paid.values():
            for key, minutes in rows.items():
                total[key] = total.get(key, Counter())
                total[key].update(minutes)
        return total

    def due(self, periods: Iterable[str]) -> dict[Key, Minutes]:
        """Current less paid minutes on the dates of these periods."""
        current, paid = self.current(), self.all_paid()
        found = {}
        for key in current.keys() | paid.keys():
            if any(first <= key[2] <= last for first, last in map(self.spans.__getitem__, periods)):
                minutes = Counter(current.get(key, Counter()))
                minutes.subtract(paid.get(key, Counter()))
                if any(minutes.values()):
                    found[key] = Counter({name: one for name, one in minutes.items() if one})
        return found

    def earlier_closed(self, period: str) -> list[str]:
        return [name for name in self.paid if self.spans[name] < self.spans[period]]

    def close(self, period: str) -> None:
        self.paid[period] = self.due([period, *self.earlier_closed(period)])

    def reopen(self, period: str) -> None:
        del self.paid[period]
