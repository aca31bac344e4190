"""Minutes that are not paid yet: those of the current attendance days less those of `payroll_days`.

Both are compared per site, user and work date, over all periods that have paid the date. So no minute is paid twice,
whatever changed in between: revisions, retractions, a period that was opened again, another division of a week.
"""
# ruff: noqa: S608 (constant SQL)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from zk_pipeline.attendance.pay_classes import INFORMATION, PayClass
from zk_pipeline.attendance.weekly_overtime import weekly_overtime
from zk_pipeline.data_libraries import pa, pd
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.terminals.namesakes import candidates, namesakes

MINUTES = tuple(f"{name}_minutes" for name in (*PayClass, *INFORMATION))  # columns of payroll_days
DAY = ["site", "user_id", "work_date"]
Version = tuple[int | None, ...]
_WEEK_LENGTH = timedelta(7)


@dataclass(frozen=True)
class Comparison:
    """Days and paid minutes of one state of the store: rows of `_COMPARED`, and possible `namesakes`. `version`
    identifies the state of the compared days and of all periods.
    """

    own: str | None
    rows: pa.Table
    named: list[tuple[str, list[str], list[str]]]
    version: Version


def compare(connection: Connection, spans: Mapping[str, tuple[date, date]], *, own: str | None) -> Comparison:
    """Compare on the dates of `spans` (first and last date by period) and the rest of their weeks.

    On the dates of `own` each attendance day and absence has a row, elsewhere only days with a difference.
    """
    connection.execute("CREATE TEMP TABLE spans (owner VARCHAR, first_date DATE, last_date DATE)")
    if spans:
        connection.executemany("INSERT INTO spans VALUES (?, ?, ?)", [[name, *span] for name, span in spans.items()])
    connection.execute(_ASKED, {"own": own})
    rows = connection.execute(_COMPARED, {"own": own}).to_arrow_table()
    for table in ("spans", "asked"):
        connection.execute(f"DROP TABLE {table}")
    return Comparison(own, rows, candidates(connection), read_version(connection, spans))


def read_version(connection: Connection, spans: Mapping[str, tuple[date, date]]) -> Version:
    """Hash of the days in the weeks of `spans`, of paid days and of periods."""
    dates = [day for span in spans.values() for day in span] or [date.max - _WEEK_LENGTH]
    between = {"first": min(dates) - _WEEK_LENGTH, "last": max(dates) + _WEEK_LENGTH}
    return connection.execute(_VERSION, between).fetchall()[0]


def unpaid_minutes(compared: Comparison) -> pd.DataFrame:
    """Unpaid minutes by work date, site and user: the columns of `payroll_days`, and `owner`, the period of the work
    date.

    `revision` is that of the current day or of its retraction, `former_revision` the one that was paid last.
    """
    frame = compared.rows.to_pandas(date_as_object=False)
    frame["work_date"] = frame["work_date"].astype("datetime64[us]")
    frame["weekly_overtime_after_minutes"] = frame["weekly_overtime_after_minutes"].astype("Int32")
    week = frame[[*DAY, "regular_minutes", "weekly_overtime_after_minutes"]]
    apart = {user_id for user_id, _ in namesakes(compared.named)}
    frame["weekly_overtime_minutes"] = weekly_overtime(week, apart=apart)
    frame["regular_minutes"] -= frame["weekly_overtime_minutes"]
    for name in MINUTES:
        frame[name] -= frame.pop(f"paid_{name}")
    is_due = frame["owner"].notna() & (
        (frame[list(MINUTES)] != 0).any(axis=1) | ((frame["owner"] == compared.own) & frame["is_day"])
    )
    return frame[is_due].drop(columns="is_day").sort_values(["work_date", "site", "user_id"], ignore_index=True)


_CURRENT = f"""
SELECT site, user_id, work_date, revision, attendance_status, clock_in, weekly_overtime_after_minutes,
    coalesce(worked_minutes, 0) - coalesce(overtime_minutes, 0) AS regular_minutes,
    {
    ", ".join(
        f"CASE WHEN overtime_class = '{name}' THEN overtime_minutes ELSE 0 END AS overtime_{name}_minutes"
        for name in ("weekday", "rest_day", "holiday")
    )
},
    0 AS weekly_overtime_minutes,
    {", ".join(f"coalesce({name}_minutes, 0) AS {name}_minutes" for name in (PayClass.NIGHT, *INFORMATION))}
FROM daily_attendance
"""

_DIVIDED = ("regular_minutes", "weekly_overtime_minutes")
_WEEK = "date_trunc('week', work_date)::DATE"
_OWN_ABSENCES = """
SELECT site, user_id, work_date, 'absent' AS attendance_status, leave, true AS is_day
FROM absences JOIN spans ON owner = $own AND work_date BETWEEN first_date AND last_date
"""


def _content(regular: str) -> str:
    """Hash of a day and its minutes before the division of its week."""
    others = ", ".join(name for name in MINUTES if name not in _DIVIDED)
    return f"""sum(hash(
        site, work_date, revision, weekly_overtime_after_minutes, ({regular})::INTEGER, {others}
    )::HUGEINT)"""


# Weeks of users in which minutes may be unpaid. Weeks whose days are those that were paid, each by one row, and at one
# site are paid: the division of their regular minutes is the same. This saves comparing years of days.
_ASKED = f"""
CREATE TEMP TABLE asked AS
WITH weeks AS (
    SELECT DISTINCT unnest(generate_series(
        date_trunc('week', first_date)::TIMESTAMP, date_trunc('week', last_date)::TIMESTAMP, INTERVAL 7 DAY
    ))::DATE AS week
    FROM spans
),
current AS (
    SELECT user_id, {_WEEK} AS week, {_content("regular_minutes")} AS content, min(site) <> max(site) AS is_shared
    FROM ({_CURRENT}) WHERE week IN (FROM weeks) GROUP BY ALL
),
paid AS (
    SELECT user_id, {_WEEK} AS week, {_content("regular_minutes + weekly_overtime_minutes")} AS content
    FROM payroll_days WHERE revision IS NOT NULL AND week IN (FROM weeks) GROUP BY ALL
)
SELECT user_id, week FROM current FULL JOIN paid USING (user_id, week)
WHERE current.content IS DISTINCT FROM paid.content OR is_shared
UNION
SELECT user_id, {_WEEK} FROM ({_OWN_ABSENCES})
"""

# All rows of these weeks, because of weekly overtime.
_COMPARED = f"""
WITH current AS (
    SELECT *, true AS is_day FROM ({_CURRENT}) WHERE (user_id, {_WEEK}) IN (SELECT (user_id, week) FROM asked)
    UNION ALL BY NAME
    {_OWN_ABSENCES}
),
paid AS (
    SELECT site, user_id, work_date, max(revision) AS former_revision,
        {", ".join(f"sum({name})::INTEGER AS paid_{name}" for name in MINUTES)}
    FROM payroll_days WHERE (user_id, {_WEEK}) IN (SELECT (user_id, week) FROM asked)
    GROUP BY ALL
),
retracted AS (
    SELECT site, user_id, work_date, max(revision) AS last_revision FROM daily_attendance_revisions
    WHERE is_retracted GROUP BY ALL
)
SELECT
    owner, site, user_id, work_date, former_revision, coalesce(revision, last_revision) AS revision, attendance_status,
    leave,
    {", ".join(f"coalesce({name}, 0)::INTEGER AS {name}" for name in MINUTES)},
    {", ".join(f"coalesce(paid_{name}, 0)::INTEGER AS paid_{name}" for name in MINUTES)},
    weekly_overtime_after_minutes, coalesce(is_day, false) AS is_day
FROM current FULL JOIN paid USING (site, user_id, work_date)
LEFT JOIN retracted USING (site, user_id, work_date)
LEFT JOIN spans ON work_date BETWEEN first_date AND last_date
ORDER BY work_date, clock_in, site, user_id
"""

_VERSION = f"""
SELECT
    (SELECT sum(hash(day)::HUGEINT) FROM ({_CURRENT}) AS day WHERE work_date BETWEEN $first AND $last),
    (SELECT sum(hash(paid)::HUGEINT) FROM payroll_days AS paid),
    (SELECT sum(hash(period)::HUGEINT) FROM payroll_periods AS period)
"""
