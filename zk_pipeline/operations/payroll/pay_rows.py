"""Rows of a payroll export: an employee's minutes of a period, and an adjustment for each earlier period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from zk_pipeline.attendance.pay_classes import INFORMATION, PayClass
from zk_pipeline.attendance.punctuality import AttendanceStatus
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.operations.payroll.profiles import Profile
from zk_pipeline.store.payroll.periods import PayrollRows

ON_LEAVE = "on_leave"  # absent with a leave
# Of a date with several statuses, at several sites, the first counts.
_PRECEDENCE = (
    AttendanceStatus.PRESENT,
    AttendanceStatus.HALF_DAY,
    AttendanceStatus.WORKED_ON_DAY_OFF,
    ON_LEAVE,
    AttendanceStatus.ABSENT,
)


@dataclass(frozen=True)
class PayRow:
    """Minutes of an employee by pay class, with late and early minutes; `adjustment_of`: an earlier period, else empty.

    `days`: dates of the period by attendance status or `on_leave`; `leaves`: dates by kind of leave. `site` is that of
    an id of different employees, else empty.
    """

    user_id: str
    site: str
    name: str
    sites: list[str]
    adjustment_of: str
    minutes: Mapping[str, int]
    days: Mapping[str, int] = field(default_factory=dict)
    leaves: Mapping[str, int] = field(default_factory=dict)

    @property
    def classes(self) -> dict[PayClass, int]:
        return {one: self.minutes[one] for one in PayClass}


def pay_rows(payroll: PayrollRows) -> list[PayRow]:
    """Rows by user id: the period itself, then adjustments in order of their periods, unless they come to nothing.

    Raises ZkPipelineError if the sums of the rows are not the totals of the days and adjustments.
    """
    period, kinds = payroll.period.period, [*PayClass, *INFORMATION]
    frame = payroll.rows.sort_values(["work_date", "site"]).assign(
        apart=lambda rows: rows["site"].where(rows["user_id"].isin(payroll.apart), ""),
        earlier=lambda rows: rows["owner"].where(rows["owner"] != period, ""),
    )
    keys = ["user_id", "apart", "earlier"]
    groups = frame.groupby(keys, sort=False)
    minutes = groups[[f"{kind}_minutes" for kind in kinds]].sum()
    first_dates = groups["work_date"].min()
    sites = groups["site"].agg(lambda one: sorted(set(one)))
    names = frame[frame["name"] != ""].groupby(keys, sort=False)["name"].first()
    days, leaves = _days(frame[frame["earlier"] == ""])
    found = []
    order = sorted(minutes.index, key=lambda one: (*one[:2], one[2] != "", first_dates[one]))
    for key, row in zip(order, minutes.loc[order].itertuples(index=False), strict=True):
        user_id, site, earlier = key
        by_kind = {str(kind): int(value) for kind, value in zip(kinds, row, strict=True)}
        if earlier and not any(row):
            continue
        of_dates = ({}, {}) if earlier else (days.get((user_id, site), {}), leaves.get((user_id, site), {}))
        found.append(PayRow(user_id, site, names.get(key, ""), sites[key], earlier, by_kind, *of_dates))
    for kind in kinds:
        if (written := sum(one.minutes[kind] for one in found)) != (total := payroll.totals[f"{kind}_minutes"]):
            raise ZkPipelineError(
                f"{period} was not exported: {kind} is {written} minutes in all rows, but {total} in all days"
            )
    return found


def check_classes(profile: Profile, rows: list[PayRow]) -> None:
    """Raise UsageError for a class with minutes that the profile neither pays nor leaves out."""
    paid = {one for amount in profile.amounts for one in amount.classes}
    for one in profile.paid_classes:
        minutes = sum(abs(row.minutes[one]) for row in rows)
        if minutes and one not in paid:
            raise UsageError(
                f"the profile {profile.name} has no amount for {one}, with {minutes} minutes: add it, or name it under "
                "leave_out"
            )


Counts = dict[tuple[str, str], dict[str, int]]


def _days(rows: pd.DataFrame) -> tuple[Counts, Counts]:
    """Dates by attendance status, and those on leave by its kind, for each user id and site of an id of different
    employees.
    """
    known = rows[rows["attendance_status"].notna()]
    status = known["attendance_status"].where(known["leave"].isna(), ON_LEAVE)
    known = known.assign(rank=status.map({str(one): number for number, one in enumerate(_PRECEDENCE)}))
    best = known.sort_values("rank", kind="stable").drop_duplicates(["user_id", "apart", "work_date"])
    status = best["rank"].map(dict(enumerate(map(str, _PRECEDENCE))))
    return _counts(best, status), _counts(best, best["leave"].where(status == ON_LEAVE))


def _counts(rows: pd.DataFrame, value: pd.Series[str]) -> Counts:
    found: Counts = {}
    sizes = rows.assign(value=value).groupby(["user_id", "apart", "value"]).size().reset_index(name="dates")
    for one in sizes.to_dict("records"):
        found.setdefault((one["user_id"], one["apart"]), {})[one["value"]] = one["dates"]
    return found
