"""Leaves: dated reasons of absence, in the view `absences`, month sheets, reports and explanations."""

from __future__ import annotations

from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from zk_pipeline.attendance.shifts import Assignment, Holiday, Shift, Target
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.month_sheet import cells, month_sheet
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.errors import LeaveExists, UnknownLeave
from zk_pipeline.store.shifts.leaves import Leave, LeaveFilter, NewLeave
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.schema.former_names import undo_columns
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

THURSDAY, FRIDAY = MONDAY + timedelta(days=3), MONDAY + timedelta(days=4)
ABSENT = "SELECT user_id, work_date, leave FROM absences ORDER BY ALL"
DAYS = "SELECT * FROM daily_attendance ORDER BY ALL"


@pytest.fixture(scope="module")
def week_file(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("week"))
    store.devices.add(device(site="HQ"))
    store.devices.add(device("Dock", site="Port"))
    store.shifts.add(Shift(name="office", start=time(9), end=time(18), weekdays=("mon", "tue", "wed", "thu", "fri")))
    store.shifts.assign(Assignment(shift="office", target=Target(site="HQ")))
    for day in (MONDAY, THURSDAY, FRIDAY):
        ingest(store, "Gate", *on(day, "09:00", "18:00"), users=[("1001", 1, "Ada", 0, 0)])
    process(store, *stale(store))
    return store.database.where


@pytest.fixture
def store(week_file: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """Monday, Thursday and Friday of one user, whose shift works from Monday to Friday."""
    return copied(week_file, tmp_path, clock)


def add(store: Store, first: date = TUESDAY, last: date | None = None, **more: Any) -> Leave:
    given = {"user_id": "1001", "kind": "annual leave"} | more
    return store.leaves.add(NewLeave(first_date=first, last_date=last or first, **given), "cli:ada")


def test_an_absence_has_the_leave_of_its_date_and_site_and_no_day_changes(store: Store) -> None:
    before = rows(store, DAYS)
    wednesday = TUESDAY + timedelta(days=1)
    assert rows(store, ABSENT) == [("1001", TUESDAY, None), ("1001", wednesday, None)]
    add(store, MONDAY, TUESDAY)
    add(store, wednesday, kind="sick leave", day_part="afternoon", site="HQ")
    add(store, wednesday, kind="training", site="Port")
    add(store, wednesday, kind="training", user_id="1002")
    assert rows(store, ABSENT) == [
        ("1001", TUESDAY, "annual leave"),
        ("1001", wednesday, "sick leave (afternoon)"),
    ]
    add(store, wednesday, kind="annual leave", day_part="morning")
    assert rows(store, ABSENT)[1][2] == "annual leave (morning) / sick leave (afternoon)"
    assert (stale(store), rows(store, DAYS)) == ([], before)


def test_a_removed_leave_counts_no_more_and_stays_with_its_operator(store: Store, clock: StoppedClock) -> None:
    made = add(store)
    with pytest.raises(LeaveExists, match="1001 has this leave already: it is leave 1"):
        add(store, note="again")
    clock.go(hours=1)
    removed = store.leaves.remove(made.id, "anna")
    assert (removed.removed_by, removed.removed_at, removed.created_by) == ("anna", clock.now, "cli:ada")
    assert rows(store, ABSENT)[0] == ("1001", TUESDAY, None)
    with pytest.raises(UnknownLeave, match="there is no leave 1"):
        store.leaves.remove(made.id, "anna")
    add(store)
    assert [one.id for one in store.leaves.page(LeaveFilter())[1]] == [2]
    assert [one.id for one in store.leaves.page(LeaveFilter(removed=True))[1]] == [1]


def test_leaves_are_listed_by_user_site_dates_and_page(store: Store) -> None:
    add(store, MONDAY, FRIDAY)
    add(store, TUESDAY, site="Port", kind="training")
    add(store, FRIDAY, user_id="1002")

    def listed(**wanted: Any) -> list[int]:
        return [one.id for one in store.leaves.page(LeaveFilter(**wanted))[1]]

    assert listed() == [3, 2, 1]
    assert listed(user_id="1001", site="HQ") == [1]
    assert listed(first=THURSDAY) == [3, 1]
    assert listed(last=MONDAY) == [1]
    count, page = store.leaves.page(LeaveFilter(), limit=1, offset=1)
    assert (count, [one.id for one in page]) == (3, [2])


def test_a_bad_leave_is_refused_with_the_reason(store: Store) -> None:
    bad: dict[str, dict[str, Any]] = {
        "the kind is empty": {"kind": " "},
        "printable": {"kind": "a\nb"},
        "the user_id is empty": {"user_id": ""},
        "last_date 2026-03-02 is before first_date 2026-03-03": {"last": MONDAY},
        "longer than 3660 days": {"last": date(2062, 3, 3)},
        "day_part 'noon' is not morning or afternoon": {"day_part": "noon"},
        "no site 'Mars'; there are: HQ, Port": {"site": "Mars"},
        "at most 500": {"note": "x" * 501},
    }
    for words, more in bad.items():
        with pytest.raises(UsageError, match=words):
            add(store, **more)
    assert store.leaves.page(LeaveFilter()) == (0, [])


def test_the_month_sheet_and_the_daily_report_show_leave_also_on_dates_with_punches(store: Store) -> None:
    add(store, MONDAY, MONDAY + timedelta(days=13))
    store.holidays.put([Holiday(day=TUESDAY + timedelta(days=1), name="Feast")])
    sheet = month_sheet(store.person_months, "1001", MONDAY.replace(day=1), site="HQ", today=FRIDAY)
    shown = {one.work_date: (cells(one)["status"], one.remark) for one in sheet.days}
    assert shown[MONDAY] == ("present", "annual leave")
    assert shown[TUESDAY] == ("absent", "annual leave")
    assert shown[TUESDAY + timedelta(days=1)] == ("holiday", "Feast")
    assert shown[FRIDAY + timedelta(days=1)] == ("day off", "")
    assert shown[FRIDAY + timedelta(days=3)] == ("", "annual leave"), "a date to come"
    assert shown[FRIDAY + timedelta(days=11)] == ("", "")

    assert sheet.totals["absent on leave"] == "1 annual leave"
    counts = store.daily_reports.read(TUESDAY, site="HQ").counts
    assert (counts["absent"], counts["of these on leave"]) == (1, 1)

    def remark(day: date) -> tuple[str, str]:
        (line,) = store.daily_reports.read(day, site="HQ").lines
        return line.status, line.remark

    assert remark(MONDAY) == ("present", "annual leave")
    assert remark(TUESDAY) == ("absent", "annual leave")
    assert remark(TUESDAY + timedelta(days=1)) == ("holiday", "Feast; annual leave")


def test_an_explanation_has_the_leave_of_then(store: Store, clock: StoppedClock) -> None:
    before = clock.now
    clock.go(hours=1)
    made = add(store, MONDAY, TUESDAY, note="summer")
    clock.go(hours=1)
    sentence = "annual leave, 2026-03-02 to 2026-03-03, summer (entered by cli:ada)"
    found = store.explanations.explain("1001", MONDAY)
    assert ([one.sentence for one in found.leaves], len(found.punches)) == ([sentence], 2)
    assert found.at("Port").leaves == [made]
    assert store.explanations.explain("1001", MONDAY, as_of=before).leaves == []
    entered = clock.now
    clock.go(hours=1)
    store.leaves.remove(made.id, "cli:bob")
    for later in (None, clock.now):
        assert store.explanations.explain("1001", MONDAY, as_of=later).leaves == []
    assert [one.id for one in store.explanations.explain("1001", MONDAY, as_of=entered).leaves] == [made.id]


@pytest.mark.file_engine
def test_a_restore_keeps_leaves_of_since(store: Store, tmp_path: Path) -> None:
    add(store)
    file = store.backups.make(tmp_path / "before.duckdb").file
    add(store, THURSDAY)
    store.leaves.remove(1, "cli:bob")
    store.restore.run(file)
    assert [one.id for one in store.leaves.page(LeaveFilter())[1]] == [2]
    assert [one.removed_by for one in store.leaves.page(LeaveFilter(removed=True))[1]] == ["cli:bob"]


def test_retention_keeps_leaves_as_the_days_they_explain(store: Store, clock: StoppedClock) -> None:
    add(store)
    execute(store, "UPDATE crm_deliveries SET state = 'delivered'")
    execute(store, "UPDATE work_dates SET reprocess_after = NULL")
    clock.go(days=400)
    assert store.retention.clean(retention_days=100).punches == 6
    assert rows(store, ABSENT)[0] == ("1001", TUESDAY, "annual leave")


@pytest.mark.file_engine
def test_an_upgrade_makes_no_date_stale_and_no_revision_and_no_delivery(store: Store) -> None:
    """The store loses all that came after version 20, and is upgraded."""
    compared = (
        "SELECT site, user_id, work_date, clock_in, clock_out, revision, payload_hash, run_id "
        "FROM daily_attendance_revisions ORDER BY ALL",
        "SELECT * FROM crm_deliveries ORDER BY ALL",
    )
    before = [rows(store, query) for query in compared]
    with duckdb.connect(str(store.database.path)) as connection:
        undo_columns(connection)
    assert rows(store, "SELECT max(version) FROM schema_migrations")[0][0] > 22
    assert stale(store) == []
    assert [rows(store, query) for query in compared] == before
    process(store, MONDAY, THURSDAY, FRIDAY, run_id="another run")
    assert [rows(store, query) for query in compared] == before
    assert rows(store, "SELECT leave FROM absences") == [(None,), (None,)]
