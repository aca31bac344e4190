"""Tables of operators as CSV and Excel files."""

from __future__ import annotations

import io
import zipfile
from datetime import date, datetime, time
from pathlib import PurePath
from typing import Any

import pytest
from openpyxl import Workbook

from zk_pipeline.attendance.shifts import Holiday, Shift
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files import table_reader
from zk_pipeline.operations.files.assignment_file import assign_from_table
from zk_pipeline.operations.files.holiday_file import import_holidays
from zk_pipeline.operations.files.table_reader import parse_date, read_table
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import device, execute

CSV, EXCEL = PurePath("t.csv"), PurePath("t.xlsx")
FEB, at = date(2026, 2, 1), datetime.fromisoformat


def workbook(*lines: list[Any], formats: dict[str, str] | None = None) -> bytes:
    book, content = Workbook(), io.BytesIO()
    sheet = book.active
    assert sheet is not None
    for line in lines:
        sheet.append(line)
    for cell, number_format in (formats or {}).items():
        sheet[cell].number_format = number_format
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (CSV, b'\xef\xbb\xbfb,A,c\r\n 1 ,x,\r\n\r\n2,"y\nz",3,,\r\n'),
        (CSV, b'a;b;c\nx;1\n\n"y\nz";2;3\n'),
        (CSV, b'b\ta\n1\tx\n\n2\t"y\nz"\n'),
        (EXCEL, workbook(["a", "b"], ["x", 1], [None, None], ["y\nz", 2.0])),
    ],
)
def test_the_columns_are_in_any_order_and_optional_ones_may_be_missing(path: PurePath, content: bytes) -> None:
    table = read_table(path, content, ("a", "b"), ("c",))
    assert [(row["a"], row["b"]) for row in table.rows.values()] == [("x", "1"), ("y\nz", "2")]
    assert {row["c"] for row in table.rows.values()} <= {"", "3"}
    assert (next(iter(table.rows)), table.problems) == (2, {})


def test_cells_of_excel_are_the_text_that_they_show() -> None:
    shown = {
        "A": (date(2026, 5, 1), "yyyy-mm-dd", "2026-05-01"),
        "B": (at("2026-05-01 08:30"), "yyyy-mm-dd hh:mm", "2026-05-01 08:30"),
        "C": (at("2026-05-01"), "yyyy-mm-dd hh:mm", "2026-05-01 00:00"),
        "D": (time(8, 30), "hh:mm", "08:30"),
        "E": (42, "00000", "00042"),
        "F": (1001.0, "General", "1001"),
        "G": ("2026-05-01 ", "@", "2026-05-01"),
        "H": (at("2026-05-01 08:29:59.999700"), "hh:mm", "2026-05-01 08:30"),
    }
    content = workbook(
        list(shown), [value for value, *_ in shown.values()], formats={f"{one}2": shown[one][1] for one in shown}
    )
    table = read_table(EXCEL, content, [name.lower() for name in shown])
    assert parse_date(table.rows[2]["c"]) == parse_date(table.rows[2]["a"]) == date(2026, 5, 1)
    assert table.rows[2] == {name.lower(): text for name, (_, _, text) in shown.items()}


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        (CSV, b"a\n1\n", "t.csv, line 1: the column b is missing; found: 'a'; possible: a, b, c"),
        (CSV, b"x|y\n1|2\n", r"line 1: the columns a, b are missing; found: 'x\|y'; possible: a, b, c"),
        (CSV, b"a;user\n1;2\n", "line 1: the column b is missing; found: 'a', 'user'; possible"),
        (CSV, b"a,b,d\n", "line 1: unknown column 'd'"),
        (CSV, b"a,b,b\n", "line 1: the column b is there twice"),
        (CSV, b"", "line 1: the columns a, b are missing; found: none"),
        (CSV, b"a,b\n1,\xff\n", "t.csv, line 2: cannot be read: it is not text in UTF-8: save it as CSV UTF-8"),
        (
            CSV,
            "a,b\n1,Müller\n".encode("cp1252"),
            "line 2: cannot be read: it is not text in UTF-8: save it as CSV UTF-8",
        ),
        (CSV, "a,b\n1,2\n".encode("utf-16"), "line 1: cannot be read: it is not text in UTF-8: save it as CSV UTF-8"),
        (CSV, b'a,b\n1,"x\n', "line 2: unexpected end of data"),
        (EXCEL, b"a,b\n", "t.xlsx: cannot be read as an Excel file"),
        (EXCEL, b"PK\x05\x06" + bytes(18), "t.xlsx: cannot be read as an Excel file"),
    ],
)
def test_an_unreadable_table_is_refused_with_its_line(path: PurePath, content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_table(path, content, ("a", "b"), ("c",))


def test_lines_of_another_length_are_problems() -> None:
    table = read_table(CSV, b"a,b,c\n1\n1,2,3,4\n1,2\n", ("a", "b"), ("c",))
    assert (list(table.rows), table.problems) == ([4], {2: "it must have 3 values", 3: "'4' is in no column"})


def test_a_workbook_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/worksheets/sheet1.xml", bytes(10_000))
    monkeypatch.setattr(table_reader, "_MAX_UNPACKED_BYTES", 9_999)
    with pytest.raises(UsageError, match="the workbook is too large"):
        read_table(EXCEL, content.getvalue(), ("a",))


def test_holidays_are_imported_from_excel_with_columns_of_other_programs(store: Store) -> None:
    content = workbook(["Date", "Name", "Days"], [date(2026, 5, 1), "Labour Day", 1])
    done = import_holidays(store, EXCEL, content, None, history_start=FEB)
    assert done.added == [Holiday(day=date(2026, 5, 1), name="Labour Day")]


def test_a_site_for_all_holidays_does_not_replace_another_one_of_the_file(store: Store) -> None:
    for named, site in (("Port", "HQ"), ("HQ", "Port")):
        with pytest.raises(UsageError, match=f"t.csv, line 2: site '{named}' is not the site given for the whole file"):
            import_holidays(store, CSV, f"date,name,site\n2026-05-01,x,{named}\n".encode(), site, history_start=FEB)
    assert store.holidays.all() == []


@pytest.fixture
def staffed(store: Store) -> Store:
    store.devices.add(device(site="HQ"))
    for name in ("early", "late"):
        store.shifts.add(Shift(name=name, start=time(6), end=time(14)))
    return store


def test_assignments_are_stored_once_from_csv_and_excel(staffed: Store) -> None:
    lines: list[list[Any]] = [
        ["user_id", "site", "shift", "from", "to"],
        [7, None, "early", FEB, None],
        [None, "HQ", "late", None, FEB],
    ]
    text = "user_id;site;shift;from;to\n00007;;early;2026-02-01;\n;HQ;late;;2026-02-01\n"
    done = assign_from_table(staffed, EXCEL, workbook(*lines, formats={"A2": "00000"}))
    assert [(str(one.target), one.shift, one.span) for one in done.added] == [
        ("user '00007'", "early", "2026-02-01 to …"),
        ("site 'HQ'", "late", "… to 2026-02-01"),
    ]
    again = assign_from_table(staffed, CSV, text.encode())
    assert (again.added, len(again.unchanged)) == ([], 2)


def test_each_bad_line_of_assignments_is_named_and_nothing_is_stored(staffed: Store) -> None:
    head = "user_id,device,shift,from,to\n"
    bad = ["1,,,,", ",,early,,", "1,,early,1.5.2026,", "1,,early,2026-02-02,2026-02-01", "1,Gate,early,,"]
    with pytest.raises(UsageError) as caught:
        assign_from_table(staffed, CSV, (head + "\n".join(["9,,early,,", *bad])).encode())
    for words in (
        "t.csv: no shift was assigned: line 3: the shift is missing; line 4: a shift is assigned to a user",
        "line 5: '1.5.2026' is not a date such as 2026-05-01; line 6: 'early' for user '1': valid_to",
        "; line 7: a shift is assigned to a device alone",
    ):
        assert words in str(caught.value)
    execute(staffed, "INSERT INTO device_users SELECT name, '1001', 1, 'Ada', 0, 0, now() FROM devices")
    more = ["9,,early,,2026-02-01", "9,,late,2026-02-01,", ",Nowhere,late,,", "9,,never,2027-01-01,", "ada,,late,,"]
    with pytest.raises(UsageError) as caught:
        assign_from_table(staffed, CSV, (head + "\n".join(more)).encode())
    assert "line 4: no device 'Nowhere'; there are: Gate; line 5: no shift 'never'" in str(caught.value)
    assert "; line 6: no user has the id 'ada': enter the id of Ada (1001)" in str(caught.value)
    with pytest.raises(UsageError, match="line 3: user '9' has 'early' from … to 2026-02-01 already: 'late'"):
        assign_from_table(staffed, CSV, (head + "\n".join(more[:2])).encode())
    with pytest.raises(UsageError, match="the table has no assignment"):
        assign_from_table(staffed, CSV, head.encode())
    assert staffed.shifts.assignments() == []
