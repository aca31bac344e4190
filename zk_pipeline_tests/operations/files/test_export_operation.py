"""Content and format of exports, and that no incomplete file is visible."""

from __future__ import annotations

import csv
import io
import os
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow.parquet as pq
import pytest

from zk_pipeline.attendance.shifts import Assignment, Holiday, Shift, Target
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.operations.files import export as export_module
from zk_pipeline.operations.files.atomic_file import atomic_output
from zk_pipeline.operations.files.export import export, parts
from zk_pipeline.operations.files.table_writers import Format
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.queries.exports import ExportScope, What
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
    rows,
)

FORMULA = "=HYPERLINK(1)"
ALL = ExportScope()


@pytest.fixture(scope="module")
def punched_file(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("punched"))
    store.devices.add(device("Gate", timezone="Europe/Berlin", site="Plant"))
    store.devices.add(device("Yard", timezone="Asia/Kolkata", site="Depot"))
    users = [("1001", 1, FORMULA, 0, 0), ("-7", 2, 'Zoë, "Z"\nsecond line', 0, 0)]
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:30"), *on(TUESDAY, "12:00", user_id="-7"), users=users)
    ingest(store, "Yard", *on(MONDAY, "09:00", "18:00", user_id="2001"))
    process(store, MONDAY, TUESDAY)
    return store.database.where


@pytest.fixture
def punched(punched_file: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """Two sites in two zones; a person whose name is a formula, one who forgot to punch out."""
    return copied(punched_file, tmp_path, clock)


def exported(store: Store, what: What, kind: Format, scope: ExportScope = ALL) -> io.BytesIO:
    stream = io.BytesIO()
    export(store.exports, what, scope, kind=kind, stream=stream)
    return io.BytesIO(stream.getvalue())


def as_csv(store: Store, what: What, scope: ExportScope = ALL) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(exported(store, what, "csv", scope).getvalue().decode(), newline="")))


def as_excel(store: Store, what: What) -> list[dict[str, Any]]:
    header, *body = openpyxl.load_workbook(exported(store, what, "xlsx"))[what].iter_rows()
    names = [str(cell.value) for cell in header]
    return [dict(zip(names, row, strict=True)) for row in body]


def test_csv_has_instants_in_utc_and_wall_clocks_beside_them(punched: Store) -> None:
    first = as_csv(punched, "raw")[0]
    assert (first["device"], first["site"], first["user_id"], first["timezone"]) == (
        "Gate", "Plant", "1001", "Europe/Berlin",
    )  # fmt: skip
    assert (first["punched_at"], first["punched_at_local"]) == ("2026-03-02 07:00:00Z", "2026-03-02 08:00:00")
    assert first["is_clock_suspect"] == "false"


def test_days_carry_codes_and_reasons_and_nulls_are_empty(punched: Store) -> None:
    lonely = as_csv(punched, "attendance", ExportScope(first=TUESDAY))[0]
    assert lonely["outlier_codes"] == "CLOCK_IN_TOO_LATE MISSING_CLOCK_OUT"
    assert lonely["outlier_reason"].startswith("Clock-in 12:00, more than 2 h after 09:00; ")
    assert (lonely["clock_out"], lonely["worked_minutes"], lonely["is_incomplete"]) == ("", "", "true")


def test_in_csv_no_text_begins_as_a_formula_does(punched: Store) -> None:
    found = {(row["user_id"], row["name"]) for row in as_csv(punched, "attendance")}
    assert found == {("1001", "'" + FORMULA), ("'-7", 'Zoë, "Z"\nsecond line'), ("2001", "")}


def test_parquet_has_every_text_and_type_as_it_is(punched: Store) -> None:
    table = pq.read_table(exported(punched, "attendance", "parquet"))
    found = table.to_pylist()
    assert {(row["user_id"], row["name"]) for row in found} >= {("1001", FORMULA)}
    day = next(row for row in found if row["user_id"] == "-7")
    assert day["work_date"] == TUESDAY
    assert day["clock_in"] == datetime(2026, 3, 3, 11, tzinfo=UTC)
    assert day["outlier_codes"] == ["CLOCK_IN_TOO_LATE", "MISSING_CLOCK_OUT"]
    assert day["clock_out"] is None


def test_in_excel_a_formula_is_text_and_wall_clocks_are_dates(punched: Store) -> None:
    first = next(row for row in as_excel(punched, "attendance") if row["user_id"].value == "1001")
    assert (first["name"].value, first["name"].data_type) == (FORMULA, "s")
    assert first["clock_in_local"].value == datetime(2026, 3, 2, 8)  # noqa: DTZ001 (a wall clock)
    assert first["clock_in"].value == "2026-03-02 07:00:00Z"
    assert first["punch_count"].value == 2


def test_a_character_that_excel_forbids_is_replaced(punched: Store) -> None:
    ingest(punched, "Yard", *on(TUESDAY, "09:00", user_id="a\x07b"))
    assert "a\N{REPLACEMENT CHARACTER}b" in {row["user_id"].value for row in as_excel(punched, "raw")}


@pytest.mark.parametrize(
    ("scope", "people"),
    [
        (ExportScope(first=TUESDAY), ["-7"]),
        (ExportScope(last=MONDAY), ["1001", "2001"]),
        (ExportScope(user_id="2001"), ["2001"]),
        (ExportScope(site="Plant"), ["-7", "1001"]),
        (ExportScope(device="Yard"), ["2001"]),
        (ExportScope(device="Yard", user_id="1001"), []),
    ],
    ids=str,
)
@pytest.mark.parametrize("what", ["raw", "attendance"])
def test_filters_choose_rows(punched: Store, what: What, scope: ExportScope, people: list[str]) -> None:
    found = pq.read_table(exported(punched, what, "parquet", scope))
    assert sorted(set(found["user_id"].to_pylist())) == people


def test_an_export_without_rows_is_a_header(store: Store) -> None:
    assert as_csv(store, "attendance") == []
    assert pq.read_table(exported(store, "raw", "parquet")).column_names[0] == "device"


def test_a_device_or_site_never_heard_of_is_an_error_that_names_those_there_are(punched: Store) -> None:
    with pytest.raises(UsageError, match="no site 'Moon'; there are: Depot, Plant"):
        exported(punched, "raw", "csv", ExportScope(site="Moon"))
    with pytest.raises(UsageError, match="no device 'Gaet'; did you mean Gate"):
        exported(punched, "attendance", "csv", ExportScope(device="Gaet"))
    punched.devices.remove("Yard")
    assert len(as_csv(punched, "raw", ExportScope(device="Yard"))) == 2, "the history of a removed device stays"


def test_an_export_in_many_parts_holds_each_row_once_and_in_order(
    punched: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_ROWS_AT_ONCE", 1)
    found = as_csv(punched, "raw")
    assert [row["punched_at_local"] for row in found] == sorted(row["punched_at_local"] for row in found)
    assert len(found) == rows(punched, "SELECT count(*) FROM raw_punches")[0][0] == 5


def test_parts_are_as_large_as_they_may_be() -> None:
    days = [MONDAY + timedelta(days=number) for number in range(5)]
    counts = dict(zip(days, [3, 4, 10, 2, 2], strict=True))
    assert list(parts(counts, 7)) == [(days[0], days[1]), (days[2], days[2]), (days[3], days[4])]
    assert list(parts({}, 7)) == []


def test_more_rows_than_an_excel_sheet_holds_are_refused_before_any_is_read(
    punched: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "EXCEL_ROWS", 5)
    with pytest.raises(UsageError, match=r"5 rows exceed the limit of an Excel sheet \(4\): choose fewer dates"):
        exported(punched, "raw", "xlsx")


def test_a_failed_export_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    target, store = tmp_path / "out.csv", tmp_path / "store"
    target.write_text("before")
    with pytest.raises(TypeError), atomic_output(str(target), keep=store) as stream:
        stream.writelines([b"half", "text"])  # type: ignore[list-item]
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert target.read_text() == "before"
    with atomic_output(str(target), keep=store) as stream:
        stream.write(b"whole")
        assert target.read_text() == "before"
    assert target.read_text() == "whole"


def test_what_a_link_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    with atomic_output(str(tmp_path / "link.csv"), keep=tmp_path / "store") as stream:
        stream.write(b"whole")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "whole"


def test_a_target_that_cannot_be_a_file_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    wrong = {
        str(tmp_path): "is a folder",
        str(tmp_path / "missing" / "out.csv"): "there is no folder .*missing: create it first",
        str(tmp_path / "pipe"): "is not a regular file; `-` writes to standard output",
        str(tmp_path / "store"): "is the store itself",
        str(tmp_path / ("x" * 300)): "File name too long",
        str(tmp_path / "loop"): "cannot be a file",
    }
    for target, words in wrong.items():
        with pytest.raises((UsageError, ZkPipelineError), match=words), atomic_output(target, keep=tmp_path / "store"):
            pytest.fail("nothing may be written")


def test_dates_of_the_raw_export_are_the_wall_clocks_own(punched: Store) -> None:
    night = date(2026, 3, 4)
    ingest(punched, "Yard", *on(night, "00:10", "23:50", user_id="2001"))
    found = as_csv(punched, "raw", ExportScope(first=night, last=night))
    assert [row["punched_at"][:10] for row in found] == ["2026-03-03", "2026-03-04"]


def test_days_carry_their_shift_and_absences_are_a_file_of_their_own(punched: Store) -> None:
    punched.shifts.add(Shift(name="late", start=time(12), end=time(20), weekdays=("mon", "tue")))
    punched.shifts.assign(Assignment(shift="late", target=Target(site="Plant")))
    punched.holidays.put([Holiday(day=MONDAY, name="Carnival", site="Plant")])
    ingest(punched, "Gate", *on(TUESDAY + timedelta(days=1), "12:00", "20:00", user_id="-7"))
    process(punched, MONDAY, TUESDAY, TUESDAY + timedelta(days=1))
    monday, depot = as_csv(punched, "attendance")[1], as_csv(punched, "attendance")[0]
    assert (monday["shift"], monday["shift_start"], monday["day_off"]) == ("late", "12:00", "Carnival")
    assert (depot["site"], depot["shift"], depot["shift_start"], depot["day_off"]) == ("Depot", "", "", "")
    absence = {"work_date": "2026-03-03", "site": "Plant", "user_id": "1001", "name": f"'{FORMULA}", "shift": "late"}
    assert as_csv(punched, "absences") == [absence | {"leave": ""}]
    assert as_excel(punched, "attendance")[1]["shift_end"].value == "20:00"
    assert pq.read_table(exported(punched, "attendance", "parquet"))["shift_end"][1].as_py() == time(20)
    with pytest.raises(UsageError, match="an absence is at a site, not at a device"):
        as_csv(punched, "absences", ExportScope(device="Gate"))
