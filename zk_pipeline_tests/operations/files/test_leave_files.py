"""Import of leaves: tables and calendars, and the same file again."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path, PurePath
from typing import Any

import pytest
from openpyxl import Workbook

from zk_pipeline.errors import RowsRefused, UsageError
from zk_pipeline.operations.files.leave_file import ImportOptions, LeaveImport, import_leave_file, import_leaves
from zk_pipeline.operations.files.punch_file import request_punches
from zk_pipeline.store.shifts.leaves import LeaveFilter, NewLeave
from zk_pipeline.store.store import Store
from zk_pipeline_tests.operations.files.test_holiday_calendar import calendar
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, ingest, on, rows

Import = Callable[..., LeaveImport]
HEADER = "user_id,first_date,last_date,kind,note\n"
MAY = "1001,2026-05-04,2026-05-08,annual leave,\n"
SICK = "1002,2026-05-20,,sick leave,certificate\n"
JUNE = "1001,2026-06-01,2026-06-02,training,\n"
ACTIVE = (
    "SELECT user_id || ' ' || first_date || ' ' || last_date || ' ' || kind || coalesce(' ' || site, '') FROM leaves "
    "WHERE removed_at IS NULL ORDER BY 1"
)


@pytest.fixture
def take(store: Store) -> Import:
    """Imports content as a file of this name."""
    store.devices.add(device(site="HQ"))

    def import_(content: str | bytes, name: str = "leave.csv", **more: str) -> LeaveImport:
        options = ImportOptions(imported_by="cli:ada", history_start=date(2026, 1, 1), **more)
        raw = content if isinstance(content, bytes) else content.encode()
        return import_leaves(store, PurePath(name), raw, options)

    return import_


def active(store: Store) -> list[str]:
    return [row[0] for row in rows(store, ACTIVE)]


def counts(done: LeaveImport) -> tuple[int, int, int]:
    return len(done.added), len(done.unchanged), len(done.removed)


def excel(*lines: tuple[Any, ...]) -> bytes:
    book, stream = Workbook(), io.BytesIO()
    sheet = book.worksheets[0]
    for line in lines:
        sheet.append(line)
    book.save(stream)
    return stream.getvalue()


def test_a_name_in_place_of_a_user_id_is_refused_with_the_ids_of_its_users(take: Import, store: Store) -> None:
    ingest(store, "Gate", users=[("1001", 1, "Zoë Ak", 0, 0), ("1002", 2, "Room 7", 0, 0)])
    problem = r"no user has the id '\w+': enter the id of Zoë Ak \(1001\)"
    with pytest.raises(RowsRefused, match=f"no leave was imported: line 3: {problem}"):
        take(HEADER + MAY + MAY.replace("1001", "zoe"))
    with pytest.raises(UsageError, match=problem):
        take(HEADER + SICK.replace("1002", ""), user_id="zoe")
    event = "UID:a|SUMMARY:Ak: training|DTSTART;VALUE=DATE:20260504"
    done = take(calendar(event), "a.ics")
    assert (counts(done), [re.fullmatch(problem, one.reason) is not None for one in done.skipped]) == (
        (0, 0, 0),
        [True],
    )
    punch = b"user_id,site,at,state,reason\nzoe,HQ,2026-03-02 09:00,in,no power\n"
    with pytest.raises(RowsRefused, match=f"no punch was stored: line 2: {problem}"):
        request_punches(store, PurePath("a.csv"), punch, "cli:ada", history_start=date(2026, 1, 1))
    assert counts(take(HEADER + MAY.replace("1001", "7") + SICK.replace("1002", "Zoran"))) == (2, 0, 0)  # new users


def test_a_repeated_import_applies_only_differences_and_keeps_the_history(take: Import, store: Store) -> None:
    by_hand = NewLeave(user_id="1003", first_date=date(2026, 5, 5), last_date=date(2026, 5, 5), kind="unpaid leave")
    store.leaves.add(by_hand, "cli:bob")
    assert counts(take(HEADER + MAY + SICK + JUNE)) == (3, 0, 0)
    assert counts(take(HEADER + MAY + SICK + JUNE + JUNE)) == (0, 3, 0)
    shorter = MAY.replace("05-08", "05-06")
    assert counts(take(HEADER + shorter + JUNE)) == (1, 1, 2)  # the sick leave is canceled
    assert active(store) == [
        "1001 2026-05-04 2026-05-06 annual leave",
        "1001 2026-06-01 2026-06-02 training",
        "1003 2026-05-05 2026-05-05 unpaid leave",
    ]
    _, gone = store.leaves.page(LeaveFilter(removed=True))
    assert [(one.id, one.removed_by, one.source) for one in gone] == [
        (3, "cli:ada", "leave.csv"),
        (2, "cli:ada", "leave.csv"),
    ]
    assert counts(take(HEADER + shorter + JUNE.replace(",\n", ",room 7\n"))) == (1, 1, 1)


def test_an_import_removes_only_leaves_of_its_source_that_begin_within_its_dates(take: Import, store: Store) -> None:
    take(HEADER + MAY + SICK + JUNE)
    assert counts(take(HEADER + JUNE)) == (0, 1, 0), "a file of June says nothing about May"
    assert counts(take(HEADER + MAY + JUNE, "other.csv")) == (0, 2, 0)
    assert len(active(store)) == 3


def test_one_user_of_a_file_does_not_remove_the_leaves_of_others(take: Import, store: Store) -> None:
    first, second = "SUMMARY:training|DTSTART;VALUE=DATE:20260504", "SUMMARY:travel|DTSTART;VALUE=DATE:20260504"
    take(calendar(f"UID:a|{first}"), "own.ics", user_id="1001")
    assert counts(take(calendar(f"UID:b|{second}"), "own.ics", user_id="1002")) == (1, 0, 0)
    assert counts(take(calendar(f"UID:a|{second}"), "own.ics", user_id="1001")) == (1, 0, 1)
    assert active(store) == ["1001 2026-05-04 2026-05-04 travel", "1002 2026-05-04 2026-05-04 travel"]


def test_an_excel_file_has_the_same_rows(take: Import, store: Store) -> None:
    sheet = excel(
        ("user_id", "First_Date", "last_date", "kind", "site", "day_part", None, None),
        (1001, datetime(2026, 5, 4), date(2026, 5, 8), "annual leave", None, None),  # noqa: DTZ001 (a date)
        (None, None, None, None),
        ("007", "2026-05-20", None, "sick leave", "HQ", "morning"),
    )
    assert counts(take(sheet, "leave.xlsx")) == (2, 0, 0)
    assert active(store) == ["007 2026-05-20 2026-05-20 sick leave HQ", "1001 2026-05-04 2026-05-08 annual leave"]
    assert rows(store, "SELECT day_part FROM leaves ORDER BY id") == [(None,), ("morning",)]
    bad = excel(("user_id", "first_date", "kind"), (1001, "soon", "sick leave"))
    with pytest.raises(UsageError, match="line 2: first_date 'soon' is no date"):
        take(bad, "leave.xlsx")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("xl/worksheets/sheet1.xml", b" " * 60_000_000)
    for content in (b"PK", bad[:300], packed.getvalue()):
        with pytest.raises(UsageError, match=r"leave\.xlsx: (cannot be read as an Excel file|it is too large)"):
            take(content, "leave.xlsx")


def test_a_user_or_site_of_the_whole_file_does_not_replace_another_one_of_a_row(take: Import, store: Store) -> None:
    table = "user_id,first_date,kind,site\n1001,2026-05-04,training,HQ\n,2026-05-05,training,\n"
    for given, words in (
        ({"user_id": "1002"}, "line 2: user_id '1001' is not the user_id given for the whole file, '1002'"),
        ({"user_id": "1001", "site": "Port"}, "line 2: site 'HQ' is not the site given for the whole file, 'Port'"),
    ):
        with pytest.raises(RowsRefused) as refused:
            take(table, **given)
        assert str(refused.value) == f"leave.csv: no leave was imported: {words}"
    assert active(store) == []
    assert counts(take(table, user_id="1001", site="HQ")) == (2, 0, 0)


def test_a_user_of_a_whole_calendar_does_not_replace_another_known_one(take: Import, store: Store) -> None:
    ingest(store, "Gate", *on(MONDAY, "08:00", user_id="1001"))
    event = "UID:a|SUMMARY:1001: training|DTSTART;VALUE=DATE:20260504"
    with pytest.raises(
        UsageError, match=r"a\.ics, line \d+: user_id '1001' is not the user_id given for the whole file"
    ):
        take(calendar(event), "a.ics", user_id="1002")
    assert active(store) == []
    kind = event.replace("1001: training", "course: Excel")
    assert counts(take(calendar(kind), "a.ics", user_id="1002")) == (1, 0, 0), "no user of this id is known"


def test_each_bad_row_has_a_line_of_its_own_and_none_is_imported(take: Import, store: Store) -> None:
    bad = [
        "1001,2026-02-30,,sick leave,",
        "1001,2026-05-04,2026-05-01,sick leave,",
        ",2026-05-04,,sick leave,",
        "1001,2026-05-04,,,",
        "1001,2026-05-04,2226-05-04,sick leave,",
        "1001,2026-05-04,,sick leave,a,b",
    ]
    with pytest.raises(RowsRefused) as refused:
        take(HEADER + MAY + "\n".join(bad) + "\n\n")
    assert str(refused.value).startswith("leave.csv: no leave was imported: line 3: first_date '2026-02-30' is no date")
    assert refused.value.rows == [
        "line 3: first_date '2026-02-30' is no date such as 2026-05-01",
        "line 4: last_date 2026-05-01 is before first_date 2026-05-04",
        "line 5: the user_id is empty",
        "line 6: the kind is empty",
        "line 7: it lasts longer than 3660 days: 2026-05-04 to 2226-05-04",
        "line 8: 'b' is in no column",
    ]
    assert active(store) == []


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("", "a.csv", "line 1: the columns user_id, first_date, kind are missing; found"),
        ("user_id,first_date\n", "a.csv", "line 1: the column kind is missing"),
        ("user_id,first_date,kind,days\n", "a.csv", "line 1: unknown column 'days'"),
        ("user_id,first_date,kind,kind\n", "a.csv", "line 1: the column kind is there twice"),
        ("user_id;first_date;kind\n", "a.csv", "the table has no leave"),
        ("user_id,first_date,kind,day_part\n1,2026-05-04,x,noon\n", "a.csv", "day_part 'noon' is not morning or aft"),
        ("user_id,first_date,kind,site\n1,2026-05-04,x,Mars\n", "a.csv", "no site 'Mars'; there are: HQ"),
        ('user_id,first_date,kind\n1,2026-05-04,"x\n', "a.csv", "line 2: unexpected end of data"),
        (b"\xff\xfe\x00", "a.csv", "line 1: cannot be read"),
        ("x", "a.exe", "must be a table"),
        ("x", "a.ics", "there is no event in it"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(take: Import, content: str | bytes, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        take(content, name)


def test_a_missing_file_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        import_leave_file(store, tmp_path / "none.csv", ImportOptions("cli:ada", date(2026, 1, 1)))


def test_a_calendar_gives_leaves_by_summary_and_its_changes_follow(take: Import, store: Store) -> None:
    trip = "UID:trip|SUMMARY:1001: business trip|DTSTART;VALUE=DATE:20260504|DTEND;VALUE=DATE:20260509"
    sick = "UID:sick|SUMMARY:1002: sick leave|DTSTART;VALUE=DATE:20260520"
    fridays = "UID:fri|SUMMARY:1003: parental leave|DTSTART;VALUE=DATE:20260501|RRULE:FREQ=WEEKLY;COUNT=3"
    wrong = "UID:x|SUMMARY:Ada is away|DTSTART;VALUE=DATE:20260505"
    noon = "UID:noon|SUMMARY:1001: doctor|DTSTART:20260505T100000Z|DTEND:20260505T110000Z"
    done = take(calendar(trip, sick, fridays, wrong, noon), "team.ics")
    assert (counts(done), done.is_complete) == ((5, 0, 0), False)
    assert [(one.line > 0, one.summary, one.is_failure) for one in done.skipped] == [
        (True, "Ada is away", True),
        (True, "1001: doctor", False),
    ]
    assert active(store)[0] == "1001 2026-05-04 2026-05-08 business trip"
    assert counts(take(calendar(trip, sick, fridays), "team.ics")) == (0, 5, 0)
    moved = trip.replace("0504", "0505").replace("0509", "0508")
    canceled = sick + "|STATUS:CANCELLED"
    once_less = fridays + "|EXDATE;VALUE=DATE:20260508"
    assert counts(take(calendar(moved, canceled, once_less), "team.ics")) == (1, 2, 3)
    assert active(store) == [
        "1001 2026-05-05 2026-05-07 business trip",
        "1003 2026-05-01 2026-05-01 parental leave",
        "1003 2026-05-15 2026-05-15 parental leave",
    ]
    for unreadable in (moved.replace("1001: ", ""), moved.replace("20260505", "20260532")):
        assert counts(take(calendar(unreadable, once_less), "team.ics")) == (0, 2, 0), "it removes nothing"
    assert counts(take(calendar(once_less), "team.ics")) == (0, 2, 1), "it is missing in the calendar"
