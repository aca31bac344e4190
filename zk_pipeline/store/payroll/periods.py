"""Payroll periods: `payroll_periods`, and the minutes that closed ones have paid, `payroll_days`.

A closed period pays each day once. A later difference is an adjustment: it is due in the open period after it, and paid
when that one closes.
"""
# ruff: noqa: S608 (constant SQL)

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Literal

from zk_pipeline.attendance.pay_classes import INFORMATION, PayClass
from zk_pipeline.attendance.punctuality import AttendanceStatus
from zk_pipeline.counted import counted
from zk_pipeline.data_libraries import pa, pd
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.enrolled_users import NAMES
from zk_pipeline.store.errors import PayrollPeriodConflict, PayrollPeriodNotFinal, UnknownPayrollPeriod
from zk_pipeline.store.payroll.closing_problems import closing_problems, has_begun, unprocessed_dates
from zk_pipeline.store.payroll.unpaid_minutes import MINUTES, compare, read_version, unpaid_minutes
from zk_pipeline.store.terminals.namesakes import candidates, namesakes

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}"
_KINDS = (*PayClass, *INFORMATION)
_MAX_ROUNDS = 3  # while days change at the same time


@dataclass(frozen=True)
class PayrollPeriod:
    """A row of `payroll_periods`. `overridden`: problems in spite of which it was closed."""

    period: str
    first_date: date
    last_date: date
    state: Literal["open", "closed"]
    opened_at: datetime
    opened_by: str
    closed_at: datetime | None
    closed_by: str | None
    overridden: str | None
    reopened_at: datetime | None
    reopened_by: str | None

    @property
    def is_closed(self) -> bool:
        return self.state == "closed"

    @property
    def notice(self) -> str | None:
        """Notice that the figures of an open period are not final; None for a closed one."""
        return None if self.is_closed else f"{self.period} is open: these figures are not final, and nothing is paid"


_COLUMNS = ", ".join(field.name for field in fields(PayrollPeriod))


@dataclass(frozen=True)
class PeriodClosed:
    """A closed period: numbers of its attendance days, of absences (with or without leave), and of adjusted days of
    earlier periods.
    """

    period: PayrollPeriod
    days: int
    absences: int
    adjustments: int

    @property
    def summary(self) -> str:
        return (
            f"{counted(self.days, 'day')} worked, {counted(self.absences, 'absence')}, "
            f"{counted(self.adjustments, 'adjusted day')}"
        )


@dataclass(frozen=True)
class Adjustment:
    """Signed difference of one pay class on a work date of a closed `period`, and its reason."""

    period: str
    work_date: date
    site: str
    user_id: str
    pay_class: str
    minutes: int
    former_revision: int | None
    revision: int | None
    reason: str


@dataclass(frozen=True)
class PayrollRows:
    """Minutes to pay in a period, by site, user and work date. `rows` has the columns of `payroll_days`, `owner` (the
    period of the work date) and `name`; `totals`: the sums of `payroll_days` for a closed period; `apart`: ids that
    belong to different employees at different sites.
    """

    period: PayrollPeriod
    rows: pd.DataFrame
    totals: dict[str, int]
    apart: frozenset[str]


@dataclass(frozen=True)
class PayrollStore:
    database: Database
    clock: Callable[[], datetime]

    def all(self) -> list[PayrollPeriod]:
        """All periods, in order of their dates."""
        with self.database.read("list payroll periods") as connection:
            return _periods(connection)

    def get(self, period: str) -> PayrollPeriod:
        """Raises UsageError for an unknown period."""
        with self.database.read("list payroll periods") as connection:
            return _get(connection, period)

    def open(self, period: str, by: str, *, first: date | None = None, last: date | None = None) -> PayrollPeriod:
        """Open a period: a calendar month such as `2026-11`, or any name with both dates.

        An open period may be opened again with other dates: it has paid nothing. Raises UsageError for a bad name or
        dates, for dates of another period, and if a later period has paid adjustments of the former dates: without them
        those minutes would belong to no period, or to another one.
        """
        first, last = _span(period, first, last)
        with self.database.write("open a payroll period", period) as connection:
            others = _periods(connection)
            known = next((one for one in others if one.period == period), None)
            if known and known.is_closed:
                raise PayrollPeriodConflict(
                    f"period {period} is closed: its dates stay as they are, unless it is reopened first"
                )
            if known and (first, last) != (known.first_date, known.last_date):
                _check_unpaid(connection, known)
            for one in others:
                if one.period != period and one.first_date <= last and first <= one.last_date:
                    dates = f"{one.first_date} to {one.last_date}"
                    raise PayrollPeriodConflict(f"period {period} would overlap the period {one.period} ({dates})")
            if known:
                connection.execute(
                    "UPDATE payroll_periods SET first_date = ?, last_date = ? WHERE period = ?", [first, last, period]
                )
            else:
                connection.execute(
                    "INSERT INTO payroll_periods (period, first_date, last_date, state, opened_at, opened_by) "
                    "VALUES (?, ?, ?, 'open', ?, ?)",
                    [period, first, last, self.clock(), by],
                )
            return _get(connection, period)

    def close(self, period: str, by: str, *, force: bool = False) -> PeriodClosed:
        """Close an open period: pay its attendance days, and the adjustments of closed periods before it.

        Raises UsageError for a period that is not open or whose last date is in the future, and for `closing_problems`
        unless `force`, which stores them.
        """
        for _ in range(_MAX_ROUNDS):
            with self.database.read("figures of a payroll period", period) as connection:
                one, _ = _closable(connection, period, self.clock(), force=force)
                compared = compare(connection, _spans(connection, one), own=period)
            due = unpaid_minutes(compared)
            table = pa.Table.from_pandas(due, preserve_index=False)
            own = due["owner"] == period
            absences = int((own & (due["attendance_status"] == AttendanceStatus.ABSENT)).sum())
            days = int(own.sum()) - absences
            with self.database.write("close a payroll period", period) as connection:
                now = self.clock()
                one, problems = _closable(connection, period, now, force=force)
                if read_version(connection, _spans(connection, one)) != compared.version:
                    continue
                connection.register("due", table)
                connection.execute(f"INSERT INTO payroll_days BY NAME {_PAID}", {"period": period})
                connection.unregister("due")
                _check_paid(connection, one)
                connection.execute(
                    "UPDATE payroll_periods SET state = 'closed', closed_at = ?, closed_by = ?, overridden = ? "
                    "WHERE period = ?",
                    [now, by, "; ".join(problems) or None, period],
                )
                return PeriodClosed(_get(connection, period), days, absences, int((~own).sum()))
        raise PayrollPeriodConflict(f"period {period} was not closed: its days are being changed; try again later")

    def reopen(self, period: str, by: str) -> PayrollPeriod:
        """Open a closed period again: it has paid nothing until it is closed again. Raises UsageError if it is open."""
        with self.database.write("open a payroll period again", period) as connection:
            if not _get(connection, period).is_closed:
                raise PayrollPeriodConflict(f"period {period} is open")
            connection.execute("DELETE FROM payroll_days WHERE period = ?", [period])
            connection.execute(
                "UPDATE payroll_periods SET state = 'open', closed_at = NULL, closed_by = NULL, overridden = NULL, "
                "reopened_at = ?, reopened_by = ? WHERE period = ?",
                [self.clock(), by, period],
            )
            return _get(connection, period)

    def unpaid_adjustments(self, period: str) -> list[Adjustment]:
        """Of a closed period: differences of its days that no period has paid. Of an open one: those of the closed
        periods before it, which it will pay.
        """
        with self.database.read("figures of a payroll period", period) as connection:
            one = _get(connection, period)
            spans = {period: (one.first_date, one.last_date)} if one.is_closed else _spans(connection, one)
            compared = compare(connection, spans, own=None)
        due = unpaid_minutes(compared)
        return _adjustments(due if one.is_closed else due[due["owner"] != period])

    def unprocessed_dates(self, period: str) -> list[date]:
        """Work dates that must be processed before the unpaid adjustments of a period are complete."""
        with self.database.read("figures of a payroll period", period) as connection:
            one = _get(connection, period)
            earlier = [span for name, span in _spans(connection, one).items() if name != period]
            spans = [(one.first_date, one.last_date)] if one.is_closed else earlier
            return unprocessed_dates(connection, spans, self.clock())

    def paid_adjustments(self, period: str) -> list[Adjustment]:
        """Adjustments of earlier periods that a closed period has paid."""
        with self.database.read("adjustments of a payroll period") as connection:
            one = _get(connection, period)
            paid = connection.execute(
                f"SELECT * FROM ({_STORED}) WHERE owner IS DISTINCT FROM $period",
                {"period": one.period},
            ).to_arrow_table()
        return _adjustments(paid.to_pandas(date_as_object=False))

    def rows(self, period: str) -> PayrollRows:
        """Minutes that a closed period has paid, or that an open one would pay now."""
        totals: tuple[Any, ...] | None = None
        with self.database.read("figures of a payroll period", period) as connection:
            one = _get(connection, period)
            if one.is_closed:
                table = connection.execute(_STORED, {"period": period}).to_arrow_table()
                each = ", ".join(f"coalesce(sum({name}), 0)" for name in MINUTES)
                sums = f"SELECT {each} FROM payroll_days WHERE period = ?"
                totals = connection.execute(sums, [period]).fetchall()[0]
            else:
                compared = compare(connection, _spans(connection, one), own=period)
            named = candidates(connection)
            names = {
                (site, user_id): name
                for site, user_id, name in connection.execute(f"SELECT site, user_id, name FROM ({NAMES})").fetchall()
            }
        frame = table.to_pandas(date_as_object=False) if one.is_closed else unpaid_minutes(compared)
        frame["name"] = [names.get(who, "") for who in zip(frame["site"], frame["user_id"], strict=True)]
        found = totals or tuple(frame[name].sum() for name in MINUTES)
        by_name = {name: int(total) for name, total in zip(MINUTES, found, strict=True)}
        return PayrollRows(one, frame, by_name, frozenset(user_id for user_id, _ in namesakes(named)))


# Rows that a closed period has paid. `owner`: the period of the work date.
_STORED = """
SELECT paid.* EXCLUDE (period), owner.period AS owner
FROM payroll_days AS paid
LEFT JOIN payroll_periods AS owner ON paid.work_date BETWEEN owner.first_date AND owner.last_date
WHERE paid.period = $period ORDER BY work_date, site, user_id
"""
_PAID = "SELECT $period AS period, * EXCLUDE (owner) FROM due"


def _span(period: str, first: date | None, last: date | None) -> tuple[date, date]:
    if not re.fullmatch(NAME, period):
        raise UsageError(f"period {period!r} is no month such as 2026-11 and no name of letters, digits and . _ -")
    month = _MONTH.fullmatch(period)
    if month and first is None and last is None and int(month[1]):
        start = date(int(month[1]), int(month[2]), 1)
        return start, start.replace(day=calendar.monthrange(start.year, start.month)[1])
    if first is None or last is None:
        raise UsageError(
            f"period {period} needs its first and its last date" + ("" if month else ", as it is no month")
        )
    if last < first:
        raise UsageError(f"period {period}: the last date {last} is before the first date {first}")
    return first, last


def _periods(connection: Connection) -> list[PayrollPeriod]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM payroll_periods ORDER BY first_date")
    return [PayrollPeriod(*row) for row in rows.fetchall()]


def _get(connection: Connection, period: str) -> PayrollPeriod:
    known = {one.period: one for one in _periods(connection)}
    if period not in known:
        raise UnknownPayrollPeriod(f"no payroll period {period!r}; there are: {', '.join(known) or 'none'}")
    return known[period]


def _spans(connection: Connection, one: PayrollPeriod) -> dict[str, tuple[date, date]]:
    """Dates that an open period pays: its own, and those of the closed periods before it."""
    return {
        other.period: (other.first_date, other.last_date)
        for other in _periods(connection)
        if other.period == one.period or (other.is_closed and other.last_date < one.first_date)
    }


def _closable(connection: Connection, period: str, now: datetime, *, force: bool) -> tuple[PayrollPeriod, list[str]]:
    """The open period, and the problems that `force` overrides. Raises UsageError."""
    one = _get(connection, period)
    if one.is_closed:
        raise PayrollPeriodConflict(f"period {period} is closed already, by {one.closed_by}")
    spans = _spans(connection, one).values()
    if not has_begun(connection, one.last_date, now):
        raise PayrollPeriodConflict(f"period {period} cannot be closed: its last date {one.last_date} is in the future")
    problems = closing_problems(connection, one.first_date, one.last_date, now, spans=spans)
    if problems and not force:
        raise PayrollPeriodNotFinal(f"period {period} is not ready to be closed: {'; '.join(problems)}")
    return one, problems


def _check_unpaid(connection: Connection, one: PayrollPeriod) -> None:
    """Raise UsageError if another period has paid adjustments of the dates of an open one."""
    others = connection.execute(
        "SELECT DISTINCT period FROM payroll_days WHERE work_date BETWEEN ? AND ? ORDER BY 1",
        [one.first_date, one.last_date],
    ).fetchall()
    if others:
        names = ", ".join(name for (name,) in others)
        raise PayrollPeriodConflict(
            f"period {one.period} keeps its dates {one.first_date} to {one.last_date}: adjustments of them are paid in "
            f"{names}, which must be reopened first"
        )


def _check_paid(connection: Connection, one: PayrollPeriod) -> None:
    """Raise ZkPipelineError if the minutes paid so far are not those of the current days, on the period's dates."""
    wrong = connection.execute(_WRONG, {"first": one.first_date, "last": one.last_date}).fetchall()
    if wrong:
        raise ZkPipelineError(
            f"{one.period} was not closed: the minutes to pay for {wrong[0][1]} on {wrong[0][2]} at {wrong[0][0]} are "
            "not those of the attendance day; report it with a copy (`zk-pipeline backup`)"
        )


_WRONG = f"""
WITH paid AS (
    SELECT site, user_id, work_date, sum({" + ".join(f"{name}_minutes" for name in PayClass if not name.is_premium)})
        AS minutes, sum(night_minutes) AS night
    FROM payroll_days WHERE work_date BETWEEN $first AND $last GROUP BY ALL
),
current AS (SELECT * FROM daily_attendance WHERE work_date BETWEEN $first AND $last)
SELECT site, user_id, work_date FROM current FULL JOIN paid USING (site, user_id, work_date)
WHERE coalesce(worked_minutes, 0) <> coalesce(minutes, 0) OR coalesce(night_minutes, 0) <> coalesce(night, 0)
ORDER BY ALL LIMIT 1
"""


def _adjustments(due: pd.DataFrame) -> list[Adjustment]:
    """One for each pay class with a difference."""
    return [
        Adjustment(
            period=row["owner"],
            work_date=row["work_date"].date(),
            site=row["site"],
            user_id=row["user_id"],
            pay_class=str(kind),
            minutes=row[f"{kind}_minutes"],
            former_revision=_number(row["former_revision"]),
            revision=_number(row["revision"]),
            reason=_reason(row),
        )
        for row in due.sort_values(["work_date", "site", "user_id"]).to_dict("records")
        for kind in _KINDS
        if row[f"{kind}_minutes"]
    ]


def _number(value: float) -> int | None:
    return None if pd.isna(value) else int(value)


def _reason(row: Mapping[Hashable, Any]) -> str:
    former, current = _number(row["former_revision"]), _number(row["revision"])
    if former == current:
        return "weekly overtime of the week" if row["weekly_overtime_minutes"] else f"revision {current}, other rules"
    if former is None:
        return f"a day that was not paid, revision {current}"
    if row["attendance_status"] is None:
        return f"revision {former}, retracted by revision {current}"
    return f"revision {former}, now {current}"
