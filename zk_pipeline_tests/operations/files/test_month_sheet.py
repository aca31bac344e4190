"""Month sheet: every date, no invented values, totals that agree, and no markup or formulas from names."""

from __future__ import annotations

import io
from datetime import date, time, timedelta
from pathlib import Path

import openpyxl
import pytest

from zk_pipeline.attendance.shifts import Assignment, Holiday, Shift, Target
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.month_files import as_html, write_excel
from zk_pipeline.operations.files.month_sheet import COLUMNS, MonthSheet, cells, month_sheet
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    copied,
    device,
    ingest,
    on,
    process,
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


def test_every_date_of_the_month_is_there_and_those_without_punches_say_so(worked: Store) -> None:
    days = sheet(worked).days
    assert [one.work_date.day for one in days] == list(range(1, 32))
    assert cells(days[1]) == ("2026-03-02", "Mon", "", "09:00", "17:30", "8:30", "2", "")
    assert cells(days[2])[3:] == (
        "12:00", "", "", "1", "Clock-in 12:00, more than 2 h after 09:00; No clock-out after the punch at 12:00",
    )  # fmt: skip
    assert cells(days[4]) == ("2026-03-05", "Thu", "", "", "", "", "", "no punches")
    assert cells(days[5])[7] == "", "a date to come is not missed"


def test_totals_are_those_of_the_rows(worked: Store) -> None:
    assert sheet(worked).totals == {
        "dates with punches": "3",
        "hours worked": "17:30",
        "without clock-out": "1",
        "absent": "0",
        "outliers": "1",
    }


def test_shifts_days_off_holidays_and_absences_are_told_on_every_date(worked: Store) -> None:
    office = Shift(name="office", start=time(9), end=time(18), weekdays=("mon", "tue", "wed", "thu", "fri"))
    worked.shifts.add(office)
    worked.shifts.assign(Assignment(shift="office", target=Target(site="Plant")))
    worked.holidays.put(
        [Holiday(day=TUESDAY, name="Carnival"), Holiday(day=date(2026, 3, 6), name="Fair", site="Plant")]
    )
    ingest(worked, "Gate", *on(date(2026, 3, 7), "10:00", "11:00", user_id="1003"), *on(MARCH, "08:00", "12:00"))
    process(worked, *stale(worked))
    days = sheet(worked).days
    assert {one.shift for one in days} == {"office"}
    assert sheet(worked).totals["shifts"] == "office 09:00-18:00"
    assert cells(days[0])[3:] == ("08:00", "12:00", "4:00", "2", "day off")
    assert days[2].remark == "Carnival; No clock-out after the punch at 12:00"
    assert [one.remark for one in days[4:8]] == ["absent", "Fair", "day off", "day off"]
    assert (days[4].is_absent, sheet(worked).totals["absent"]) == (True, "1")
    assert sheet(worked, site="Depot").days[4].remark == "no punches", "no employee is expected there"


def test_a_clock_out_after_midnight_says_which_day_it_is(worked: Store) -> None:
    ingest(worked, "Gate", *on(date(2026, 3, 9), "21:00"), *on(date(2026, 3, 10), "05:00"))
    process(worked, date(2026, 3, 9), workday_starts_at=time(12))
    assert sheet(worked).days[8].left == "05:00 +1"


def test_a_person_at_several_sites_has_a_sheet_at_each(worked: Store) -> None:
    with pytest.raises(UsageError, match="several sites: choose one with --site: Depot, Plant"):
        sheet(worked, site=None)
    assert (sheet(worked, site="Depot").present, sheet(worked, site="Plant").present) == (1, 3)
    assert sheet(worked, "1002", site=None).site == "Plant", "the only site they are enrolled at"


def test_a_person_or_site_never_heard_of_is_an_error_by_name(worked: Store) -> None:
    with pytest.raises(
        UsageError, match="no user 'Unknown': neither enrolled on a terminal nor with an attendance day"
    ):
        sheet(worked, "Unknown")
    with pytest.raises(UsageError, match="'1002' is unknown at 'Depot'; known at: Plant"):
        sheet(worked, "1002", site="Depot")


def test_somebody_without_a_day_in_the_month_has_an_empty_sheet(worked: Store) -> None:
    empty = sheet(worked, month=date(2026, 2, 1))
    assert (len(empty.days), empty.present, empty.totals["hours worked"]) == (28, 0, "0:00")


def test_the_page_shows_names_as_text(worked: Store) -> None:
    page = as_html(sheet(worked))
    assert "<b>" not in page
    assert "&lt;b&gt;Zoë&lt;/b&gt; &amp; =1+1 (1001), Plant, March 2026" in page
    assert page.count("<tr") == 32
    assert "http" not in page


def test_the_workbook_has_minutes_to_calculate_with(worked: Store) -> None:
    stream = io.BytesIO()
    write_excel(sheet(worked), stream)
    page = openpyxl.load_workbook(stream)["2026-03"]
    found = list(page.iter_rows(values_only=True))
    assert found[1] == (*COLUMNS[:5], "worked minutes", *COLUMNS[6:])
    assert found[3][3:7] == ("09:00", "17:30", 510, 2)
    assert len(found) == 2 + 31 + 5
