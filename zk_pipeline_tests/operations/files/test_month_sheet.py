"""Month sheet: every date, no invented values, totals that agree, and no markup or formulas from names."""

from __future__ import annotations

import io
import itertools
import random
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from zk_pipeline.attendance.shifts import Assignment, Holiday, Season, Shift, Target
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.month_files import as_html, write_excel
from zk_pipeline.operations.files.month_sheet import DifferentEmployees, MonthSheet, SheetDay, cells, month_sheet
from zk_pipeline.store.engine.database import Where
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

MARCH, TODAY = date(2026, 3, 1), date(2026, 3, 5)
WEDNESDAY = TUESDAY + timedelta(days=1)


@pytest.fixture(scope="module")
def worked_file(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("worked"))
    store.devices.add(device("Gate", site="Plant"))
    store.devices.add(device("Yard", site="Depot"))
    users = [("1001", 1, "<b>Zoë</b> & =1+1", 0, 0), ("1002", 2, "New", 0, 0)]
    punches = [*on(MONDAY, "09:00", "17:30"), *on(TUESDAY, "12:00"), *on(WEDNESDAY, "09:00", "18:00")]
    ingest(store, "Gate", *punches, users=users)
    ingest(store, "Yard", *on(WEDNESDAY, "20:00", "21:00"))
    process(store, MONDAY, TUESDAY, WEDNESDAY)
    return store.database.where


@pytest.fixture
def worked(worked_file: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """1001 at the plant for two days, on Wednesday at two sites; 1002 is only enrolled."""
    return copied(worked_file, tmp_path, clock)


def sheet(store: Store, user_id: str = "1001", site: str | None = "Plant", month: date = MARCH) -> MonthSheet:
    return month_sheet(store.person_months, user_id, month, site=site, today=TODAY)


def row(one: SheetDay, *names: str) -> tuple[str, ...]:
    return tuple(cells(one)[name] for name in names)


def by_date(found: MonthSheet, day: int) -> list[SheetDay]:
    return [one for one in found.days if one.work_date.day == day]


def assign_office(store: Store, site: str, name: str = "office", off: tuple[str, ...] = ("sat", "sun")) -> None:
    weekdays = tuple(day for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun") if day not in off)
    store.shifts.add(Shift(name=name, start=time(9), end=time(18), weekdays=weekdays, half_day_below_minutes=360))
    store.shifts.assign(Assignment(shift=name, target=Target(site=site)))


def test_every_date_of_the_month_is_there_and_those_without_punches_say_so(worked: Store) -> None:
    found = sheet(worked)
    days = found.days
    assert [one.work_date.day for one in days] == list(range(1, 32))
    assert tuple(cells(days[1])[name] for name in found.columns) == (
        "2026-03-02", "Mon", "", "09:00", "17:30", "8:30", "0:00", "0:30", "2", "present", "",
    )  # fmt: skip
    assert row(days[2], "in", "out", "worked", "late", "left early", "punches", "status", "remark") == (
        "12:00", "", "", "3:00", "", "1", "present",
        "Clock-in 12:00, more than 2 h after 09:00; No clock-out after the punch at 12:00",
    )  # fmt: skip
    assert row(days[4], "day", "in", "punches", "status", "remark") == ("Thu", "", "", "", "no punches")
    assert row(days[5], "status", "remark") == ("", ""), "a date to come is not missed"


def test_totals_are_those_of_the_rows(worked: Store) -> None:
    assert sheet(worked).totals == {
        "dates with punches": 3,
        "hours worked": timedelta(hours=17, minutes=30),
        "late": timedelta(hours=3),
        "left early": timedelta(minutes=30),
        "present": 3,
        "half days": 0,
        "worked on a day off": 0,
        "absent": 0,
        "holidays": 0,
        "days off": 0,
        "without clock-out": 1,
        "outliers": 1,
    }


def test_worked_time_is_from_the_minute_shown_to_the_minute_shown(worked: Store) -> None:
    late, short = date(2026, 3, 9), date(2026, 3, 10)
    ingest(worked, "Gate", *on(late, "09:32:45", "17:31:10"), *on(short, "09:00:10", "17:00:50"))
    process(worked, late, short)
    found = sheet(worked)
    assert row(found.days[8], "in", "out", "worked") == ("09:32", "17:31", "7:59")
    assert row(found.days[9], "in", "out", "worked") == ("09:00", "17:00", "8:00")
    assert found.durations["worked"] == timedelta(hours=17 + 8 + 7, minutes=30 + 59)
    assert rows(worked, "SELECT worked_minutes FROM daily_attendance WHERE work_date = ?", [late]) == [(478,)]
    execute(worked, "UPDATE daily_attendance SET worked_minutes_source = 'punch_states', worked_minutes = 400")
    assert sheet(worked).days[8].worked == timedelta(minutes=400), "in and out pairs have breaks between them"


def test_worked_time_over_a_clock_change_is_the_time_that_passed(worked: Store) -> None:
    worked.devices.add(device("Nord", site="Nord", timezone="Europe/Berlin"))
    change = date(2026, 3, 28)
    ingest(worked, "Nord", *on(change, "22:00"), *on(change + timedelta(days=1), "06:00"))
    process(worked, change, workday_starts_at=time(14))
    assert row(sheet(worked, site="Nord").days[27], "in", "out", "worked") == ("22:00", "06:00 +1", "7:00")


def test_statuses_of_dates_with_and_without_rows_and_their_totals(worked: Store) -> None:
    assign_office(worked, "Plant", off=("fri", "sat"))
    worked.holidays.put(
        [Holiday(day=TUESDAY, name="Carnival"), Holiday(day=date(2026, 3, 8), name="Fair", site="Plant")]
    )
    friday = date(2026, 3, 6)
    ingest(worked, "Gate", *on(date(2026, 3, 11), "09:00", "18:00", user_id="1003"))
    ingest(worked, "Gate", *on(MARCH, "09:10", "12:00"), *on(friday, "08:00", "12:00"))
    process(worked, *stale(worked))
    found = sheet(worked)
    days = found.days
    assert {one.shift for one in days} == {"office"}
    assert found.totals["shifts"] == "office 09:00-18:00"
    assert row(days[0], "worked", "late", "left early", "status") == ("2:50", "0:10", "6:00", "half day")
    assert row(days[2], "late", "status", "remark") == (
        "0:00", "worked on day off", "Carnival; No clock-out after the punch at 12:00",
    )  # fmt: skip
    assert row(days[5], "worked", "late", "status", "remark") == ("4:00", "0:00", "worked on day off", "")
    assert [row(one, "status", "remark") for one in days[4:5] + days[6:10]] == [
        ("absent", ""), ("day off", ""), ("holiday", "Fair"), ("absent", ""), ("absent", ""),
    ]  # fmt: skip
    assert {one.work_date.day for one in days if one.is_off} == {3, 6, 7, 8, 13, 14, 20, 21, 27, 28}, "not Sundays"
    shown = [cells(one)["status"] for one in days]
    statuses = {status.replace("_", " "): count for status, count in found.statuses.items()}
    assert statuses == {status: shown.count(status) for status in statuses}
    assert statuses == {
        "present": 2, "half day": 1, "absent": 3, "day off": 7, "holiday": 1, "worked on day off": 2
    }  # fmt: skip
    assert sheet(worked, site="Depot").days[4].remark == "no punches", "no employee is expected there"


def test_absences_are_those_of_the_view(store: Store) -> None:
    """At two sites and before the month, with gaps, shifts by site, device and user, a season and holidays."""
    for name, site in (("Gate", "Plant"), ("Yard", "Plant"), ("Depot", "Depot")):
        store.devices.add(device(name, site=site))
    chance, dates = random.Random(1), [MONDAY + timedelta(days=number) for number in range(-2, 8)]
    users = [("1001", 1, "Zoë", 0, 0), ("1002", 2, "Ali", 0, 0), ("1003", 3, "New", 0, 0)]  # 1004 is not enrolled
    for name in ("Gate", "Yard", "Depot"):
        came = [on(day, "09:00", user_id=user) for day in dates for user in ("1001", "1002", "1004")]
        ingest(store, name, *(punch for punch in itertools.chain(*came) if chance.random() < 0.4), users=users)
    assign_office(store, "Depot")
    for name, target in (("early", Target(device="Yard")), ("late", Target(user_id="1002", site="Plant"))):
        store.shifts.add(Shift(name=name, start=time(8), end=time(17), weekdays=("mon", "wed", "sat", "sun")))
        store.shifts.assign(Assignment(shift=name, target=target, valid_to=MONDAY + timedelta(days=8)))
    store.shifts.add_season(Season(shift="early", use="late", valid_from=MONDAY, valid_to=WEDNESDAY))
    store.holidays.put([Holiday(day=TUESDAY, name="Feast"), Holiday(day=MONDAY, name="Local", site="Plant")])
    process(store, *dates)
    last = MARCH.replace(day=31)
    view = rows(store, "SELECT site, user_id, work_date FROM absences WHERE work_date >= ? ORDER BY ALL", [MARCH])
    months = [one for site in ("Depot", "Plant") for one in store.person_months.read_site(site, MARCH, last)]
    alone = [store.person_months.read(user, MARCH, last) for user in ("1001", "1002", "1003", "1004")]
    for read in (months, alone):
        found = [(gap.site, one.user_id, gap.work_date) for one in read for gap in one.empty if gap.is_absent]
        assert sorted(found) == view
    assert {user for _, user, _ in view} == {"1001", "1002", "1004"}


def test_days_of_before_the_store_had_statuses_have_one(worked: Store) -> None:
    execute(worked, "UPDATE daily_attendance SET attendance_status = NULL, late_minutes = NULL, day_off = 'day off'")
    execute(worked, "UPDATE daily_attendance SET day_off = NULL WHERE work_date = ?", [MONDAY])
    days = sheet(worked).days
    assert row(days[1], "late", "status") == ("", "present")
    assert row(days[2], "late", "status") == ("", "worked on day off")


def test_a_clock_out_after_midnight_says_which_day_it_is(worked: Store) -> None:
    ingest(worked, "Gate", *on(date(2026, 3, 9), "21:00"), *on(date(2026, 3, 10), "05:00"))
    process(worked, date(2026, 3, 9), workday_starts_at=time(12))
    found = sheet(worked)
    assert row(found.days[8], "in", "out", "worked") == ("21:00", "05:00 +1", "8:00")
    _, filled = excel_rows(found)
    came, left = filled[8]["in"], filled[8]["out"]
    assert (came.number_format, left.number_format) == ("hh:mm", 'hh:mm" +1"')
    assert left.value - datetime.combine(date(1899, 12, 31), came.value) == timedelta(hours=8)


def test_a_user_at_several_sites_has_one_sheet_with_the_site_in_each_row(worked: Store) -> None:
    assign_office(worked, "Plant")
    assign_office(worked, "Depot", "depot", off=("mon",))
    ingest(worked, "Yard", *on(date(2026, 3, 12), "09:00", "18:00"))
    process(worked, *stale(worked))
    found = sheet(worked, site=None)
    assert found.title == "<b>Zoë</b> & =1+1 (1001), Depot, Plant, March 2026"
    assert "site" in found.columns
    assert [row(one, "site", "worked") for one in by_date(found, 4)] == [("Depot", "1:00"), ("Plant", "9:00")]
    assert [row(one, "site", "status") for one in by_date(found, 2)] == [("Plant", "present")], "not absent at Depot"
    assert [row(one, "site", "status") for one in by_date(found, 5)] == [("Depot", "absent")]
    assert (len(found.days), found.totals["dates with punches"], found.totals["present"]) == (32, 4, 4)
    apart = [sheet(worked, site=site) for site in ("Depot", "Plant")]
    for name in ("worked", "late", "left early"):
        assert found.durations[name] == sum((one.durations[name] for one in apart), timedelta())
    assert "site" not in apart[0].columns
    assert sheet(worked, "1002", site=None).sites == ("Plant",), "the only site they are enrolled at"


def test_an_id_of_different_employees_has_a_sheet_at_each_site_only(worked: Store) -> None:
    ingest(worked, "Yard", users=[("1001", 1, "Mehmet Kaya", 0, 0)])
    with pytest.raises(
        DifferentEmployees, match=r"different employees .*Depot: Mehmet Kaya.*: choose a site: Depot, Plant"
    ):
        sheet(worked, site=None)
    assert [sheet(worked, site=site).name for site in ("Depot", "Plant")] == ["Mehmet Kaya", "<b>Zoë</b> & =1+1"]


def test_a_person_or_site_never_heard_of_is_an_error_by_name(worked: Store) -> None:
    with pytest.raises(
        UsageError, match="no user 'Unknown': neither enrolled on a terminal nor with an attendance day"
    ):
        sheet(worked, "Unknown")
    with pytest.raises(UsageError, match="'1002' is unknown at 'Depot'; known at: Plant"):
        sheet(worked, "1002", site="Depot")


def test_somebody_without_a_day_in_the_month_has_an_empty_sheet(worked: Store) -> None:
    empty = sheet(worked, month=date(2026, 2, 1))
    assert (len(empty.days), empty.dates_with_punches, empty.totals["hours worked"]) == (28, 0, timedelta())


def test_the_page_shows_names_as_text(worked: Store) -> None:
    page = as_html(sheet(worked))
    assert "<b>" not in page
    assert "&lt;b&gt;Zoë&lt;/b&gt; &amp; =1+1 (1001), Plant, March 2026" in page
    assert page.count("<tr") == 32
    assert 'class="off' not in page, "without shifts, all weekdays are working days"
    assert "http" not in page


def test_the_workbook_has_dates_times_and_durations_to_calculate_with(worked: Store) -> None:
    assign_office(worked, "Plant", off=("tue",))
    ingest(worked, "Gate", *on(date(2026, 3, 5), "09:32:45", "17:31:10"))
    process(worked, *stale(worked))
    found = sheet(worked, site=None)
    page, filled = excel_rows(found)
    assert page["A1"].value == found.title
    assert page["A1"].data_type == "s"
    assert [cell.value for cell in page[2]] == list(found.columns)
    monday = filled[1]
    assert monday["date"].value.date() == MONDAY
    assert [monday[name].value for name in ("site", "in", "out", "worked", "late", "left early", "punches")] == [
        "Plant", time(9), time(17, 30), timedelta(hours=8, minutes=30), timedelta(), timedelta(minutes=30), 2,
    ]  # fmt: skip
    assert [monday[name].number_format for name in ("date", "in", "out", "worked", "late", "left early")] == [
        "yyyy-mm-dd", "hh:mm", "hh:mm", "[h]:mm", "[h]:mm", "[h]:mm",
    ]  # fmt: skip
    for one in filled[: len(found.days)]:
        came, left, worked_time = (one[name].value for name in ("in", "out", "worked"))
        if left is not None:
            assert datetime.combine(MARCH, left) - datetime.combine(MARCH, came) == worked_time, one["date"].value
    shaded = [one["date"].value.day for one in filled[: len(found.days)] if one["date"].fill.fill_type]
    assert shaded == [3, 10, 17, 24, 31]
    assert as_html(found).count('class="off') == 5
    total = filled[len(found.days)]
    assert total["date"].value == "total"
    for name in ("worked", "late", "left early"):
        cells_shown = [one[name].value for one in filled[: len(found.days)] if one[name].value is not None]
        assert (total[name].value, total[name].number_format) == (sum(cells_shown, timedelta()), "[h]:mm")
    below = {one["date"].value: one["worked"].value for one in filled[len(found.days) + 1 :]}
    assert below == found.totals
    statuses = [one["status"].value for one in filled[: len(found.days)]]
    assert (below["days off"], below["worked on a day off"]) == (4, 1)
    assert (statuses.count("day off"), statuses.count("worked on day off")) == (4, 1)


def excel_rows(found: MonthSheet) -> tuple[Any, list[dict[str, Any]]]:
    """The worksheet as read back, and its cells by column from the first date on."""
    stream = io.BytesIO()
    write_excel(found, stream)
    page = openpyxl.load_workbook(stream)["2026-03"]
    return page, [dict(zip(found.columns, one, strict=True)) for one in page.iter_rows(min_row=3)]
