"""Stores with years of synthetic punches, filled in seconds. No measurement here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time, timedelta
from pathlib import Path

from zk_pipeline.attendance.shifts import Assignment, Shift, Target
from zk_pipeline.devices.models import Device
from zk_pipeline.store.shifts.shift_plan import ShiftPlan
from zk_pipeline.store.store import Store

# Site, zone, number of gates. Two zones have clock changes, one has none.
SITES = (("Plant", "Europe/Berlin", 8), ("Office", "Europe/Istanbul", 4), ("Depot", "America/New_York", 4))


@dataclass(frozen=True)
class Company:
    """`employees` are present on 24 of 25 dates, with four punches unless one is missing or repeated."""

    employees: int
    first: date
    days: int

    @property
    def dates(self) -> list[date]:
        return [self.first + timedelta(days=number) for number in range(self.days)]


def punched(path: Path, company: Company) -> Store:
    """A new store at `path` with the punches of the company, in the order of polls."""
    store = Store.at(path)
    for site, zone, gates in SITES:
        for number in range(gates):
            store.devices.add(Device(name=f"{site} {number}", ip_address="192.0.2.1", timezone=zone, site=site))
    values = {"employees": company.employees, "first": company.first, "days": company.days}
    with store.database.write("punch") as connection:
        connection.execute(_PUNCH, values)
        connection.execute(
            "UPDATE store_settings SET value = (SELECT max(seq) FROM raw_punches) WHERE name = 'last_seq'"
        )
        connection.execute(
            """
            INSERT INTO work_dates (work_date, latest_punch_seq, processed_seq)
            SELECT punched_at_local::DATE, max(seq), 0 FROM raw_punches GROUP BY 1
            """
        )
    return store


def assign_all_users(store: Store, company: Company) -> None:
    """A shift for each user: most office, some early, a tenth night; half change in July."""
    shifts = (
        Shift(name="office", start=time(9), end=time(18), weekdays=("mon", "tue", "wed", "thu", "fri")),
        Shift(name="early", start=time(8), end=time(17)),
        Shift(name="night", start=time(22), end=time(6)),
    )
    cut = company.first + timedelta(days=181)
    assignments = []
    for person in range(company.employees):
        target = Target(user_id=f"E{person:05}")
        name = ("night", "early", "office")[min(person % 10, 2)]
        if person % 2:
            assignments.append(Assignment(shift=name, target=target))
        else:
            assignments.append(Assignment(shift=name, target=target, valid_to=cut))
            assignments.append(Assignment(shift="early", target=target, valid_from=cut + timedelta(days=1)))
    store.apply_shifts(ShiftPlan(shifts=shifts, assignments=tuple(assignments)))


# Times are hashes of user, date and position, so that every run has the same punches.
_PUNCH = """
INSERT INTO raw_punches (device, user_id, punched_at, punched_at_local, status, punch_state, verify_type,
                         first_poll_id, seq, created_at, is_clock_suspect)
WITH present AS (
    SELECT person, number, hash(person, number) AS chance
    FROM range($employees) AS users(person), range($days) AS dates(number)
    WHERE hash(person, number, 'there') % 25 > 0
),
moments AS (
    SELECT person, number, unnest([
        (8 * 3600 + 600 + chance % 6000)::BIGINT,
        CASE WHEN chance % 97 > 2 THEN (12 * 3600 + chance % 1800)::BIGINT END,
        CASE WHEN chance % 89 > 2 THEN (12 * 3600 + 2400 + chance % 1900)::BIGINT END,
        CASE WHEN chance % 41 > 0 THEN (16 * 3600 + 1800 + chance % 9000)::BIGINT END,
        CASE WHEN chance % 31 = 0 THEN (8 * 3600 + 600 + chance % 6000 + 20)::BIGINT END
    ]) AS second
    FROM present
),
punches AS (
    SELECT
        ['Plant', 'Plant', 'Plant', 'Office', 'Depot'][person % 5 + 1] AS site,
        'E' || lpad(person::VARCHAR, 5, '0') AS user_id,
        $first::TIMESTAMP + to_days(number::INTEGER) + to_seconds(second) AS punched_at_local,
        hash(person, second) AS chance
    FROM moments WHERE second IS NOT NULL
)
SELECT
    device.name, user_id, punched_at_local AT TIME ZONE device.timezone, punched_at_local, 1, 255, 1, 1,
    row_number() OVER (ORDER BY punched_at_local, user_id), now(), false
FROM punches JOIN devices AS device
    ON device.name = punches.site || ' ' || (chance % (CASE punches.site WHEN 'Plant' THEN 8 ELSE 4 END))::VARCHAR
ORDER BY punched_at_local, user_id
"""
