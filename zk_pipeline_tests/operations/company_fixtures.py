"""A company of the property tests in a real store: registered, punched, processed, and its days recomputed plainly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from zk_pipeline.attendance.shifts import Assignment, Holiday, Season, Target
from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.devices.push.uploads import ParsedUpload, PushedPunch
from zk_pipeline.operations.process import Processed, process_dates, stale_dates
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.push.terminals import Contact
from zk_pipeline.store.push.uploads import PushUpload
from zk_pipeline.store.shifts.shift_plan import ShiftPlan
from zk_pipeline.store.store import Store
from zk_pipeline.store.work_dates.configured_hours import rejudge
from zk_pipeline_tests.attendance.any_company import Worked
from zk_pipeline_tests.attendance.plain_company import PlainCompany, PlainDay, PlainGate, PlainPunch
from zk_pipeline_tests.attendance.rules_fixtures import BOUNDS, dated_rules_of, shift_from
from zk_pipeline_tests.store.push.push_fixtures import store_uploads
from zk_pipeline_tests.store.store_fixtures import device, ingest, reading, rows

LAST = date(2200, 1, 1)
_DAYS = """
SELECT site, user_id, work_date, device, timezone, clock_in, clock_out, clock_in_local, clock_out_local, punch_count,
       worked_minutes, outlier_codes, outlier_reason, shift, shift_start, shift_end, day_off, worked_minutes_source,
       late_minutes, early_leave_minutes, attendance_status, judged_by, break_minutes, break_source,
       overtime_minutes, overtime_class, night_minutes, weekly_overtime_after_minutes
FROM daily_attendance ORDER BY site, user_id, work_date
"""


def settings_of(company: PlainCompany, home: Path) -> Settings:
    """The hours and bounds of the company as variables, read like anybody's."""
    hours = company.settings
    given = {
        "ZK_PIPELINE_HOME": str(home),
        "WORK_START_TIME": f"{hours.start:%H:%M}",
        "WORK_END_TIME": f"{hours.end:%H:%M}",
        "DEBOUNCE_SECONDS": str(int(company.debounce.total_seconds())),
        "ZK_PIPELINE_HISTORY_START": "2000-01-01",
    }
    for what, bound in zip(BOUNDS, hours.bounds, strict=True):
        given[f"OUTLIER_{what.upper()}_HOURS"] = str(bound.total_seconds() / 3600)
    if hours.workday_starts_at is not None:
        given["WORKDAY_STARTS_AT"] = f"{hours.workday_starts_at:%H:%M}"
    return load_settings(given)


def establish(store: Store, worked: Worked) -> None:
    """Register gates, shifts, who has them, holidays, and the former hours of the settings."""
    store.devices.apply(
        replace(
            device(gate.name, timezone=gate.zone, site=gate.site),
            trust_punch_states=gate.trusted,
            direction=gate.direction,
        )
        for gate in worked.gates
    )
    store.apply_shifts(plan_of(worked.company))
    rules = dated_rules_of(worked.company)
    store.punches.apply_settings(rules[-1][1])
    with store.database.write("former hours") as connection:
        for (first, former), (until, _) in pairwise(rules):
            rejudge(connection, former, first, until - timedelta(days=1))


def plan_of(company: PlainCompany) -> ShiftPlan:
    """What `shift apply` makes of a file that declares the company's."""
    names = {one.shift.name for one in company.assignments}
    seasons = [one for one in company.seasons if one.shift in names]
    used = dict.fromkeys([*(one.shift for one in company.assignments), *(one.use for one in seasons)])
    shifts = dict.fromkeys(one for shift in used for one in (shift, *shift.alternatives))
    return ShiftPlan(
        shifts=tuple(shift_from(one) for one in shifts),
        assignments=tuple(
            Assignment(
                shift=str(one.shift.name),
                target=Target(user_id=one.user, site=one.site, device=one.device),
                valid_from=None if one.first == date.min else one.first,
                valid_to=None if one.last == date.max else one.last,
            )
            for one in company.assignments
        ),
        seasons=tuple(
            Season(shift=one.shift, use=str(one.use.name), valid_from=one.first, valid_to=one.last) for one in seasons
        ),
        holidays=tuple(Holiday(day=one.day, name=one.name, site=one.site) for one in company.holidays),
    )


def enrol(store: Store, worked: Worked) -> None:
    """Who is enrolled on which gate; a poll that brings no punches."""
    for gate in worked.gates:
        people = sorted(name for enrolled_on, name in worked.enrolled if enrolled_on == gate)
        ingest(store, gate.name, users=[(name, number, "", 0, 0) for number, name in enumerate(people, start=1)])


def read(store: Store, punches: Sequence[PlainPunch]) -> None:
    """One poll of each gate that has any of these, in the order given."""
    by_gate: dict[str, list[PlainPunch]] = {}
    for punch in punches:
        by_gate.setdefault(punch.gate.name, []).append(punch)
    for name, held in by_gate.items():
        made = reading([(punch.user, str(punch.local)) for punch in held], serial=serial_number_of(name))
        states = np.array([punch.state for punch in held], "uint8")
        store.punches.ingest(
            store.devices.get(name),
            replace(made, punches=made.punches.assign(punch_state=states)),
            started_at=store.clock(),
            finished_at=store.clock(),
            run_id=None,
        )


def push(store: Store, punches: Sequence[PlainPunch]) -> None:
    """One upload by the terminal of each gate that has any of these, in the order given, stored together."""
    by_gate: dict[PlainGate, list[PushedPunch]] = {}
    for punch in punches:
        pushed = PushedPunch(punch.user, punch.local, punch.state, 1, None, None)
        by_gate.setdefault(punch.gate, []).append(pushed)
    pushing = {one.device for one in store.push.terminals()}
    for gate in by_gate:
        if gate.name not in pushing:
            serial = serial_number_of(gate.name)
            store.push.record_contacts([Contact(serial_number=serial, address="192.0.2.1", seen_at=store.clock())])
            store.push.adopt(serial, gate.name, timezone=None, default_timezone="UTC", site=None, by="test")
    uploads = [
        PushUpload(
            serial_number=serial_number_of(gate.name),
            device=gate.name,
            timezone=gate.zone,
            table_name="ATTLOG",
            stamp="9999",
            parsed=ParsedUpload(held, [], [], [], len(held), f"OK: {len(held)}"),
            received_at=store.clock(),
        )
        for gate, held in by_gate.items()
    ]
    if uploads:
        assert all(store_uploads(store, uploads))


def stale(store: Store, settings: Settings) -> list[date]:
    return [one.work_date for one in stale_dates(store, settings, last=LAST)]


def process_stale(store: Store, settings: Settings) -> Processed:
    return process_dates(store, stale(store, settings), work_rules(settings), run_id=None)


def made_days(store: Store) -> list[PlainDay]:
    found = []
    for row in rows(store, _DAYS):
        facts: list[Any] = [tuple(one) if isinstance(one, list) else one for one in row]
        found.append(PlainDay(*facts))
    return found
