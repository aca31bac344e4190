"""Rows of a payroll export: an employee's minutes of a period, and an adjustment for each earlier period."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zk_pipeline.attendance.pay_classes import INFORMATION, PayClass
from zk_pipeline.attendance.punctuality import AttendanceStatus
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.operations.payroll.profiles import Profile
from zk_pipeline.store.payroll.periods import PayrollRows

# Of a date with several statuses, at several sites, the first counts.
_PRECEDENCE = (
    AttendanceStatus.PRESENT,
    AttendanceStatus.HALF_DAY,
    AttendanceStatus.WORKED_ON_DAY_OFF,
    AttendanceStatus.ABSENT,
)


@dataclass(frozen=True)
class PayRow:
    """Minutes of an employee by pay class, with late and early minutes; `adjustment_of`: an earlier period, else empty.

    `days`: dates of the period by attendance status. `site` is that of an id of different employees, else empty.
    """

    user_id: str
    site: str
    name: str
    sites: list[str]
    adjustment_of: str
    minutes: Mapping[str, int]
    days: Mapping[str, int] = field(default_factory=dict)

    @property
    def classes(self) -> dict[PayClass, int]:
        return {one: self.minutes[one] for one in PayClass}


def pay_rows(payroll: PayrollRows) -> list[PayRow]:
    """Rows by user id: the period itself, then adjustments in order of their periods, unless they come to nothing.

    Raises ZkPipelineError if the sums of the rows are not the totals of the days and adjustments.
    """
    period = payroll.period.period
    kinds = [*PayClass, *INFORMATION]
    groups: dict[tuple[str, str, str], list[dict[Hashable, Any]]] = {}
    order = {period: ""}
    for row in payroll.rows.sort_values(["work_date", "site"]).to_dict("records"):
        site = row["site"] if row["user_id"] in payroll.apart else ""
        earlier = order.setdefault(row["owner"], str(row["owner"]))
        groups.setdefault((row["user_id"], site, earlier), []).append(row)
    position = {name: index for index, name in enumerate(order.values())}
    found = []
    for (user_id, site, earlier), rows in sorted(groups.items(), key=lambda one: (*one[0][:2], position[one[0][2]])):
        minutes = {str(kind): sum(int(row[f"{kind}_minutes"]) for row in rows) for kind in kinds}
        if earlier and not any(minutes.values()):
            continue
        sites = sorted({row["site"] for row in rows})
        name = next((row["name"] for row in rows if row["name"]), "")
        found.append(PayRow(user_id, site, name, sites, earlier, minutes, {} if earlier else _days(rows)))
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


def _days(rows: list[dict[Hashable, Any]]) -> dict[str, int]:
    best: dict[object, AttendanceStatus] = {}
    for row in rows:
        if row["attendance_status"]:
            status, date = AttendanceStatus[row["attendance_status"].upper()], row["work_date"]
            best[date] = min(best.get(date, status), status, key=_PRECEDENCE.index)
    return dict(Counter(str(status) for status in best.values()))
