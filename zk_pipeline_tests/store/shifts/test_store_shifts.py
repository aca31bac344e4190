"""Days by shifts through the real store: who is judged by what, and exactly which dates a change makes stale."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from zk_pipeline.attendance.assignment_changes import AssignmentsRefused
from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shifts import Assignment, Holiday, Season, Shift, Target
from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.shifts.shift_plan import ShiftPlan
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    copied,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
    stale,
)

WEDNESDAY, THURSDAY, FRIDAY, SATURDAY = (TUESDAY + timedelta(days=number) for number in range(1, 5))
NIGHT = Shift(name="night", start=time(22), end=time(6))
PUNCHED = [
    *on(MONDAY, "22:00"), *on(TUESDAY, "06:00", "22:00"), *on(WEDNESDAY, "06:00"), *on(THURSDAY, "09:00", "18:00"),
]  # fmt: skip
Cleared: TypeAlias = "Callable[[], None]"
DAYS = """
SELECT work_date, strftime(clock_in_local, '%d %H:%M'), strftime(clock_out_local, '%d %H:%M'), shift, outlier_codes
FROM daily_attendance ORDER BY site, user_id, work_date
"""


def assign(store: Store, shift: str, first: date | None = None, last: date | None = None, **target: str) -> Assignment:
    return store.shifts.assign(Assignment(shift=shift, target=Target(**target), valid_from=first, valid_to=last))


def readings(first: str, last: str) -> dict[str, Any]:
    return {"from_local": datetime.fromisoformat(first), "to_local": datetime.fromisoformat(last)}


@pytest.fixture(scope="module")
def processed_nights(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("nights"))
    store.devices.add(device(site="HQ"))
    ingest(store, "Gate", *PUNCHED, *on(MONDAY, "09:00", "18:00", user_id="1002"))
    store.shifts.add(NIGHT)
    process(store, *stale(store))
    return store.database.where


@pytest.fixture
def nights(processed_nights: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """Two nights, then a day shift on Thursday; processed by the settings alone."""
    return copied(processed_nights, tmp_path, clock)


def test_a_person_gets_their_shift_for_a_while_and_exactly_its_dates_are_made_again(nights: Store) -> None:
    assign(nights, "night", MONDAY, TUESDAY, user_id="1001")
    assert stale(nights) == [MONDAY, TUESDAY, WEDNESDAY]
    done = process(nights, *stale(nights))
    assert [(one.work_date, one.changed, one.unchanged, one.retracted) for one in done.written] == [
        (MONDAY, 1, 1, 0),
        (TUESDAY, 1, 0, 0),
        (WEDNESDAY, 0, 0, 1),
    ]
    assert rows(nights, DAYS)[:3] == [
        (MONDAY, "02 22:00", "03 06:00", "night", []),
        (TUESDAY, "03 22:00", "04 06:00", "night", []),
        (THURSDAY, "05 09:00", "05 18:00", None, []),
    ]
    assert stale(nights) == []


def test_what_was_assigned_and_taken_back_leaves_the_days_as_they_were(nights: Store) -> None:
    content = "SELECT * EXCLUDE (revision, updated_at, run_id) FROM daily_attendance ORDER BY ALL"
    before = rows(nights, content)
    made = assign(nights, "night", MONDAY, TUESDAY, user_id="1001")
    process(nights, *stale(nights))
    assert rows(nights, content) != before
    assert made.id is not None
    nights.shifts.unassign(made.id)
    process(nights, *stale(nights))
    assert rows(nights, content) == before


def test_a_changed_shift_touches_the_dates_of_those_who_have_it_and_an_unused_one_none(nights: Store) -> None:
    nights.shifts.add(Shift(name="unused", start=time(6), end=time(14)))
    assign(nights, "night", TUESDAY, user_id="1001")
    process(nights, *stale(nights))
    nights.shifts.update(Shift(name="unused", start=time(7), end=time(15)))
    assert stale(nights) == []
    nights.shifts.update(Shift(name="night", start=time(22), end=time(6), late_clock_in_hours=0.5))
    assert stale(nights) == [TUESDAY, WEDNESDAY, THURSDAY]  # work dates begin at 14:00 now
    process(nights, *stale(nights))
    nights.shifts.update(Shift(name="night", start=time(22), end=time(6), late_clock_in_hours=0.5))
    assert stale(nights) == []


def test_late_punches_are_placed_by_the_shift(nights: Store) -> None:
    assign(nights, "night", user_id="1001")
    process(nights, *stale(nights))
    ingest(nights, "Gate", *on(FRIDAY, "06:05"))
    assert stale(nights) == [THURSDAY]


def test_a_user_at_a_site_goes_before_a_user_that_before_a_device_that_before_a_site(store: Store) -> None:
    store.devices.apply([device("A", site="HQ"), device("B", site="HQ"), device("C", site="Depot")])
    for number, name in enumerate(("site", "device", "user", "user at site"), start=1):
        store.shifts.add(Shift(name=name, start=time(9), end=time(18, number)))
    for name, users in (("A", ("1001", "1002", "1003")), ("B", ("1001", "1004")), ("C", ("1001", "1002"))):
        for user in users:
            ingest(store, name, *on(MONDAY, "09:00", "18:00", user_id=user))
    targets: list[tuple[str, dict[str, str]]] = [
        ("site", {"site": "HQ"}),
        ("device", {"device": "A"}),
        ("user", {"user_id": "1001"}),
        ("user", {"user_id": "1002"}),
        ("user at site", {"user_id": "1001", "site": "HQ"}),
    ]
    store.shifts.assign_all([Assignment(shift=shift, target=Target(**target)) for shift, target in targets])
    process(store, MONDAY)
    assert rows(store, "SELECT site, user_id, shift FROM daily_attendance ORDER BY ALL") == [
        ("Depot", "1001", "user"),
        ("Depot", "1002", "user"),
        ("HQ", "1001", "user at site"),
        ("HQ", "1002", "user"),
        ("HQ", "1003", "device"),
        ("HQ", "1004", "site"),
    ]


def test_the_night_that_began_on_friday_ends_on_saturday_a_day_off(store: Store) -> None:
    store.devices.add(device())
    store.shifts.add(Shift(name="night", start=time(22), end=time(6), weekdays=("mon", "tue", "wed", "thu", "fri")))
    assign(store, "night", user_id="1001")
    ingest(store, "Gate", *on(FRIDAY, "22:00"), *on(SATURDAY, "06:00", "15:00"))
    process(store, *stale(store))
    assert rows(store, "SELECT work_date, day_off, outlier_codes, punch_count FROM daily_attendance ORDER BY 1") == [
        (FRIDAY, None, [], 2),
        (SATURDAY, "day off", ["MISSING_CLOCK_OUT"], 1),
    ]


def test_a_holiday_touches_its_own_date_only_and_no_hours_bind_on_it(nights: Store) -> None:
    sites = "SELECT day_off, outlier_codes, revision FROM daily_attendance WHERE work_date = '2026-03-03'"
    nights.devices.add(device("Far", site="Depot"))
    nights.holidays.put([Holiday(day=TUESDAY, name="Feast", site="Depot")])
    assert stale(nights) == []
    nights.holidays.put([Holiday(day=TUESDAY, name="Feast")])
    assert stale(nights) == [TUESDAY]
    process(nights, TUESDAY)
    assert rows(nights, sites) == [("Feast", [], 2)]
    put = nights.holidays.put([Holiday(day=TUESDAY, name="Feast")])
    assert (len(put.unchanged), stale(nights)) == (1, [])
    nights.holidays.put([Holiday(day=TUESDAY, name="Our feast", site="HQ")])
    process(nights, *stale(nights))
    assert rows(nights, sites)[0][0] == "Our feast"
    nights.holidays.remove(TUESDAY, "HQ")
    nights.holidays.remove(TUESDAY)
    process(nights, *stale(nights))
    assert rows(nights, sites) == [(None, ["CLOCK_IN_TOO_EARLY", "CLOCK_OUT_TOO_LATE"], 4)]


def test_dates_that_retention_cleared_stay_final_whatever_is_assigned(nights: Store) -> None:
    execute(nights, "UPDATE work_dates SET raw_purged_at = now() WHERE work_date = '2026-03-03'")
    assign(nights, "night", user_id="1001")
    assert stale(nights) == [MONDAY, WEDNESDAY, THURSDAY]


@pytest.fixture
def cleared(nights: Store) -> Callable[[], None]:
    """Deletes the punches of the first two work dates, all of which the CRM knows."""

    def clear() -> None:
        process(nights, *stale(nights))
        execute(nights, "UPDATE crm_deliveries SET state = 'delivered'")
        done = nights.retention.clean(retention_days=(nights.clock().date() - WEDNESDAY).days)
        assert (done.work_dates, done.kept_unprocessed) == (2, 0)

    return clear


def test_punches_that_retention_deleted_do_not_come_back_on_another_date(nights: Store, cleared: Cleared) -> None:
    made = assign(nights, "night", MONDAY, TUESDAY, user_id="1001")
    cleared()
    before = rows(nights, DAYS)
    assert before[1][:3] == (TUESDAY, "03 22:00", "04 06:00")
    assert made.id is not None
    nights.shifts.unassign(made.id)
    assert stale(nights) == []
    assert ingest(nights, "Gate", *PUNCHED).new == 0, "the clock-out on Wednesday was of Tuesday, and still is"
    assert stale(nights) == []
    ingest(nights, "Gate", *on(WEDNESDAY, "18:00"), *on(THURSDAY, "03:00"))
    process(nights, *stale(nights))
    after = rows(nights, DAYS)
    assert [row for row in after if row[0] < WEDNESDAY] == [row for row in before if row[0] < WEDNESDAY]
    assert [row[:3] for row in after if row[0] >= WEDNESDAY] == [
        (WEDNESDAY, "04 18:00", None),
        (THURSDAY, "05 03:00", "05 18:00"),
    ]


def test_punches_that_are_left_are_not_lost_to_a_date_that_retention_cleared(nights: Store, cleared: Cleared) -> None:
    cleared()
    assign(nights, "night", MONDAY, WEDNESDAY, user_id="1001")
    done = process(nights, *stale(nights))
    assert [(one.work_date, one.retracted) for one in done.written] == [(WEDNESDAY, 0), (THURSDAY, 0)]
    assert [row[:4] for row in rows(nights, DAYS) if row[0] == WEDNESDAY] == [(WEDNESDAY, "04 06:00", None, "night")]
    ingest(nights, "Gate", *on(WEDNESDAY, "05:00"), *on(THURSDAY, "06:00"))
    process(nights, *stale(nights))
    assert [row[:3] for row in rows(nights, DAYS) if row[0] == WEDNESDAY] == [(WEDNESDAY, "04 05:00", "05 06:00")]


def test_borders_of_cleared_dates_stay_when_work_dates_begin_at_another_time(nights: Store, cleared: Cleared) -> None:
    ingest(nights, "Gate", *on(WEDNESDAY, "03:00", user_id="1002"))
    nights.punches.apply_workday_start(time(4))
    night = on(WEDNESDAY, "02:00", user_id="1003")
    ingest(nights, "Gate", *night, *on(TUESDAY, "12:00", user_id="1003"))
    process(nights, *stale(nights))
    cleared()
    before = rows(nights, DAYS)
    nights.punches.apply_workday_start(time(0))
    assert ingest(nights, "Gate", *night).new == 0, "of Tuesday, as it was when that was cleared"
    ingest(nights, "Gate", *on(WEDNESDAY, "03:30", user_id="1001"), *on(THURSDAY, "03:00", user_id="1003"))
    process(nights, *stale(nights))
    after = rows(nights, DAYS)
    assert [row for row in after if row[0] < WEDNESDAY] == [row for row in before if row[0] < WEDNESDAY]
    assert [row[:3] for row in after if row[0] == WEDNESDAY] == [(WEDNESDAY, "04 06:00", None)]
    assert (THURSDAY, "05 03:00", None) in [row[:3] for row in after], "beyond the border the new hours hold"


def test_slips_of_the_pen_are_refused_and_change_nothing(nights: Store) -> None:
    slips: list[tuple[dict[str, Any], str]] = [
        ({"site": "HK"}, "no site 'HK'; there are: HQ"),
        ({"device": "Gte"}, "no device 'Gte'"),
    ]
    for target, words in slips:
        with pytest.raises(UsageError, match=words):
            assign(nights, "night", **target)
    with pytest.raises(UsageError, match="no shift 'nigth'; did you mean night"):
        assign(nights, "nigth", user_id="1001")
    assign(nights, "night", user_id="1001")
    with pytest.raises(UsageError, match=r"assigned to user '1001' \(assignment 1\): unassign it first"):
        nights.shifts.remove("night")
    with pytest.raises(UsageError, match="overlaps it"):
        assign(nights, "night", MONDAY, user_id="1001")
    with pytest.raises(UsageError, match="there is no shift assignment 7"):
        nights.shifts.unassign(7)
    assert [one.id for one in nights.shifts.assignments()] == [1]


def test_a_plan_applied_twice_changes_nothing_and_prune_takes_the_rest_away(nights: Store) -> None:
    office = Shift(name="office", start=time(8), end=time(17))
    given = (
        Assignment(shift="night", target=Target(user_id="1001"), valid_to=TUESDAY),
        Assignment(shift="office", target=Target(site="HQ")),
    )
    plan = ShiftPlan((NIGHT, office), given, (Holiday(day=THURSDAY, name="Feast"),))
    first = nights.apply_shifts(plan)
    assert (len(first.added), first.changed, first.removed, first.unchanged) == (4, [], [], 1)
    process(nights, *stale(nights))
    again = nights.apply_shifts(plan)
    assert (again.added, again.changed, again.removed, again.unchanged) == ([], [], [], 5)
    assert stale(nights) == []
    less = nights.apply_shifts(ShiftPlan((office,), given[1:]), prune=True)
    assert sorted(less.removed) == [
        "holiday 2026-03-05 Feast",
        "night for user '1001' from … to 2026-03-03",
        "shift night",
    ]
    assert stale(nights) == [MONDAY, TUESDAY, WEDNESDAY, THURSDAY]


def test_absences_are_seen_only_where_an_assigned_shift_works_and_nobody_came(store: Store) -> None:
    store.devices.add(device(site="HQ"))
    absent = "SELECT user_id, work_date, shift FROM absences ORDER BY ALL"
    for day in (MONDAY, THURSDAY, SATURDAY):
        ingest(store, "Gate", *on(day, "09:00", "18:00"))
    ingest(store, "Gate", *on(MONDAY, "09:00", "18:00", user_id="1002"), users=[("1002", 2, "Bo", 0, 0)])
    process(store, *stale(store))
    assert rows(store, absent) == []
    store.shifts.add(Shift(name="office", start=time(9), end=time(18), weekdays=("mon", "tue", "thu", "fri")))
    store.holidays.put([Holiday(day=FRIDAY, name="Feast")])
    assign(store, "office", TUESDAY, device="Gate")
    # 1001 left after Saturday; 1002 is still enrolled, and Saturday may not be over.
    assert rows(store, absent) == [
        ("1001", TUESDAY, "office"),
        ("1002", TUESDAY, "office"),
        ("1002", THURSDAY, "office"),
    ]


def test_a_device_that_moves_touches_exactly_the_dates_of_its_punches(nights: Store) -> None:
    nights.devices.add(device("Other", site="HQ"))
    ingest(nights, "Other", *on(FRIDAY, "09:00", "18:00"))
    process(nights, FRIDAY)
    nights.devices.update("Other", site="Depot")
    assert stale(nights) == [FRIDAY]
    process(nights, FRIDAY)
    nights.devices.update("Other", ip_address="192.0.2.99")
    assert stale(nights) == []


def test_the_settings_hours_decide_where_the_date_after_a_night_begins(nights: Store) -> None:
    assign(nights, "night", MONDAY, TUESDAY, user_id="1001")
    ingest(nights, "Gate", *on(WEDNESDAY, "07:45"))
    process(nights, *stale(nights))
    assert (WEDNESDAY, "04 07:45", None, None, ["MISSING_CLOCK_OUT"]) in rows(nights, DAYS)
    nights.punches.apply_settings(WorkRules(start=time(10), end=time(18)))
    assert stale(nights) == [TUESDAY, WEDNESDAY]  # it begins at 08:00 now
    nights.punches.apply_settings(WorkRules(start=time(10), end=time(18)))
    process(nights, *stale(nights))
    assert (TUESDAY, "03 22:00", "04 07:45", "night", []) in rows(nights, DAYS)


def test_a_corrected_clock_touches_the_dates_before_and_after_and_can_be_revoked(nights: Store) -> None:
    before = rows(nights, DAYS)
    span = readings("2026-03-05", "2026-03-05 23:00")
    made = nights.clock_corrections.add("Gate", add_seconds=86400, **span)
    assert (made.punches, stale(nights)) == (2, [THURSDAY, FRIDAY])
    process(nights, *stale(nights))
    assert (FRIDAY, "06 09:00", "06 18:00", None, []) in rows(nights, DAYS)
    assert rows(nights, "SELECT count(*) FROM raw_punches WHERE punched_at_local::DATE = '2026-03-05'") == [(2,)]
    ingest(nights, "Gate", *on(THURSDAY, "12:00"), *on(THURSDAY, "09:00"))  # read late, under the correction too
    assert stale(nights) == [FRIDAY]
    process(nights, FRIDAY)
    with pytest.raises(UsageError, match="correction 1 covers part of that span"):
        nights.clock_corrections.add("Gate", add_seconds=1, **span)
    nights.clock_corrections.revoke(made.id)
    assert stale(nights) == [THURSDAY, FRIDAY]
    process(nights, *stale(nights))
    assert rows(nights, DAYS) == before
    with pytest.raises(UsageError, match="no active clock correction 1"):
        nights.clock_corrections.revoke(made.id)


def test_punches_of_a_clock_that_was_reset_become_part_of_days_once_it_is_corrected(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(date(2000, 1, 1), "00:10", "08:10"))
    assert stale(store) == []
    away = (datetime.fromisoformat("2026-03-02 09:00") - datetime.fromisoformat("2000-01-01 00:10")).total_seconds()
    span = readings("2000-01-01", "2000-01-02")
    store.clock_corrections.add("Gate", add_seconds=int(away), **span)
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    assert rows(store, DAYS) == [(MONDAY, "02 09:00", "02 17:00", None, [])]
    store.devices.update("Gate", timezone="Europe/Istanbul")
    process(store, *stale(store))
    assert rows(store, "SELECT clock_in_local::VARCHAR, hour(clock_in) FROM daily_attendance") == [
        ("2026-03-02 09:00:00", 6)
    ]


def test_a_season_touches_exactly_its_dates_and_only_those_who_have_its_shift(nights: Store) -> None:
    nights.shifts.add(Shift(name="short", start=time(22), end=time(4)))
    nights.shifts.add(Shift(name="unused", start=time(6), end=time(14)))
    assign(nights, "night", user_id="1001")
    process(nights, *stale(nights))
    nights.shifts.add_season(Season(shift="unused", use="short", valid_from=MONDAY, valid_to=FRIDAY))
    assert stale(nights) == []
    made = nights.shifts.add_season(Season(shift="night", use="short", valid_from=TUESDAY, valid_to=TUESDAY))
    assert stale(nights) == [TUESDAY, WEDNESDAY]  # Wednesday begins at 13:00 now: the night before it ends at 04:00
    process(nights, *stale(nights))
    assert [row[3] for row in rows(nights, DAYS)] == ["night", "short", "night", "night", None]
    (revision,) = nights.explanations.explain("1001", TUESDAY).revisions[-1:]
    assert (revision.judged_by, revision.season) == (
        "22:00-04:00 (shift short)",
        f"in place of night from {TUESDAY} to {TUESDAY}",
    )
    assert nights.explanations.explain("1001", MONDAY).revisions[-1].season is None
    assert made.id is not None
    nights.shifts.remove_season(made.id)
    assert stale(nights) == [TUESDAY, WEDNESDAY]


def test_seasons_of_one_shift_do_not_overlap_and_name_known_shifts(store: Store) -> None:
    for name in ("a", "b"):
        store.shifts.add(Shift(name=name, start=time(9), end=time(18)))
    store.shifts.add_season(Season(shift="a", use="b", valid_from=MONDAY, valid_to=TUESDAY))
    store.shifts.add_season(Season(shift="a", use="b", valid_from=WEDNESDAY, valid_to=WEDNESDAY))
    store.shifts.add_season(Season(shift="b", use="a", valid_from=MONDAY, valid_to=TUESDAY))
    for season, words in (
        (
            Season(shift="a", use="b", valid_from=TUESDAY, valid_to=TUESDAY),
            "shift 'a' has a season already: 'b' in place of 'a' from 2026-03-02",
        ),
        (Season(shift="a", use="c", valid_from=FRIDAY, valid_to=FRIDAY), "no shift 'c'"),
    ):
        with pytest.raises(UsageError, match=words):
            store.shifts.add_season(season)
    with pytest.raises(UsageError, match="has a season"):
        store.shifts.remove("b")
    with pytest.raises(UsageError, match="there is no season 77"):
        store.shifts.remove_season(77)


def test_an_absence_is_by_the_shift_of_the_season_and_none_on_an_off_date(store: Store) -> None:
    store.devices.add(device())
    store.shifts.add(Shift(name="office", start=time(9), end=time(18)))
    store.shifts.add(Shift(name="short", start=time(9), end=time(15)))
    store.shifts.add(Shift.of("off", {"weekdays": ()}))
    assign(store, "office", None, THURSDAY, user_id="1001")
    assign(store, "off", FRIDAY, None, user_id="1001")
    ingest(store, "Gate", *on(MONDAY, "09:00", "18:00"), *on(SATURDAY, "09:00", "18:00"))
    process(store, *stale(store))
    store.shifts.add_season(Season(shift="office", use="short", valid_from=WEDNESDAY, valid_to=FRIDAY))
    absent = "SELECT work_date, shift FROM absences ORDER BY 1"
    assert rows(store, absent) == [(TUESDAY, "office"), (WEDNESDAY, "short"), (THURSDAY, "short")]
    empty = {one.work_date: one for one in store.person_months.read("1001", MONDAY, SATURDAY).empty}
    assert (empty[THURSDAY].shift, empty[THURSDAY].shift_end, empty[THURSDAY].is_absent) == ("short", time(15), True)
    assert (empty[FRIDAY].shift, empty[FRIDAY].shift_start, empty[FRIDAY].is_working_day) == ("off", None, False)
    reported = [store.daily_reports.read(day).lines[0] for day in (THURSDAY, FRIDAY)]
    assert [(line.status, line.shift) for line in reported] == [("absent", "short"), ("day_off", "off")]


def test_many_assignments_are_stored_once_and_all_or_none(store: Store) -> None:
    store.devices.add(device())
    for name in ("early", "late"):
        store.shifts.add(Shift(name=name, start=time(6), end=time(14)))
    many = [
        Assignment(shift=shift, target=Target(user_id=str(user)), valid_from=day, valid_to=day)
        for user in range(50)
        for shift, day in (("early", MONDAY), ("late", TUESDAY))
    ]
    wrong = [*many, Assignment(shift="never", target=Target(site="Mars"))]
    with pytest.raises(UsageError, match="no shift 'never'"):
        store.shifts.assign_all(wrong)
    assert len(store.shifts.assign_all(many, dry_run=True).added) == 100
    assert store.shifts.assignments() == []
    assert len(store.shifts.assign_all(many).added) == 100
    again = store.shifts.assign_all(many, replace_overlaps=True)
    assert (again.added, again.removed, len(again.unchanged)) == ([], [], 100)


def test_a_name_in_place_of_a_user_id_is_refused_and_an_unknown_user_id_is_not(store: Store) -> None:
    store.devices.add(device())
    store.shifts.add(NIGHT)
    execute(store, "INSERT INTO device_users SELECT name, '1001', 1, 'Zoë Ak', 0, 0, now() FROM devices")
    named = Assignment(shift="night", target=Target(user_id="zoe"))
    message = re.escape("no user has the id 'zoe': enter the id of Zoë Ak (1001)")
    with pytest.raises(UsageError, match=message):
        store.shifts.assign(named)
    with pytest.raises(AssignmentsRefused, match=message):
        store.shifts.assign_all([Assignment(shift="night", target=Target(user_id="1001")), named])
    with pytest.raises(UsageError, match=message):
        store.apply_shifts(ShiftPlan(shifts=(NIGHT,), assignments=(named,)))
    assert store.shifts.assignments() == []
    store.shifts.assign_all([Assignment(shift="night", target=Target(user_id=one)) for one in ("1001", "99", "EMP9")])
    assert len(store.shifts.assignments()) == 3


def test_a_shift_that_becomes_an_off_shift_has_no_hours_on_its_days_off_either(store: Store) -> None:
    store.devices.add(device())
    office = Shift(name="office", start=time(9), end=time(18), weekdays=("mon", "tue", "wed", "thu", "fri"))
    store.shifts.add(office)
    assign(store, "office", user_id="1001")
    ingest(store, "Gate", *on(FRIDAY, "09:00", "18:00"), *on(SATURDAY, "09:00", "18:00"))
    process(store, *stale(store))
    judged = "SELECT judged_by, shift_start, day_off FROM daily_attendance ORDER BY work_date"
    assert [row[0] for row in rows(store, judged)] == ["09:00-18:00 (shift office)"] * 2
    store.shifts.update(Shift(name="office", start=time(9), end=time(18), weekdays=()))
    assert stale(store) == [FRIDAY, SATURDAY]
    process(store, *stale(store))
    assert rows(store, judged) == [("off (shift office)", None, "day off")] * 2
