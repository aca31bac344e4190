"""Import of punches from each kind of file: all or nothing, once, by the same ingest as polls."""

from __future__ import annotations

import io
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.errors import RowsRefused, UsageError
from zk_pipeline.operations.files.export import export
from zk_pipeline.operations.files.punch_columns import parse_columns
from zk_pipeline.operations.files.punch_import import (
    ImportOptions,
    PunchImport,
    apply_import,
    check_plan,
    plan_content,
    plan_import,
)
from zk_pipeline.operations.files.table_writers import FORMATS, Format
from zk_pipeline.operations.quarantine_release import release_quarantine
from zk_pipeline.store.queries.exports import ExportScope
from zk_pipeline.store.queries.metrics import read_poll_counters
from zk_pipeline.store.queries.overview import DeviceStatus
from zk_pipeline.store.queries.terminal_health import terminal_health
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll
from zk_pipeline_tests.store.store_fixtures import (
    ALL,
    MONDAY,
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

USB = (
    f"     1001\t{MONDAY} 08:00:00\t1\t0\t1\t0\r\n"
    f"     1001\t{MONDAY} 17:00:00\t1\t1\t1\t0\r\n"
    f"     0007\t{MONDAY} 09:15:30\t1\t0\t15\t4\r\n"
)
STORED = "SELECT user_id, punched_at_local::VARCHAR, punch_state, verify_type, work_code FROM raw_punches ORDER BY 2, 1"
OF_USB = [
    ("1001", f"{MONDAY} 08:00:00", 0, 1, 0),
    ("0007", f"{MONDAY} 09:15:30", 0, 15, 4),
    ("1001", f"{MONDAY} 17:00:00", 1, 1, 0),
]


@pytest.fixture
def gate(store: Store) -> Store:
    """A store with one terminal, in Berlin."""
    store.devices.add(device("Gate", timezone="Europe/Berlin", site="Plant"))
    return store


def imported(store: Store, folder: Path, name: str, content: str | bytes, **options: Any) -> PunchImport:
    """Import a file; nothing is stored by its plan."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    chosen = ImportOptions(**options)
    before = rows(store, "SELECT count(*) FROM raw_punches")
    plan = plan_import(store, file, "Gate", chosen)
    assert rows(store, "SELECT count(*) FROM raw_punches") == before
    check_plan(plan, chosen)
    done = apply_import(store, plan)
    assert (done.new, done.known) == (plan.summary.new, plan.summary.known)
    return done


def status_line(store: Store) -> DeviceStatus:
    (line,) = store.overview.status(WorkRules(), **ALL, now=store.clock()).devices
    return line


def test_a_log_from_a_stick_is_stored_once_with_its_wall_clocks(gate: Store, tmp_path: Path) -> None:
    done = imported(gate, tmp_path, "1_attlog.dat", USB)
    assert (done.new, done.known, done.read, done.format) == (3, 0, 3, "attlog")
    assert "device number, state, verification, work code (detected)" in done.detected
    assert (str(done.first), str(done.last)) == (f"{MONDAY} 08:00:00", f"{MONDAY} 17:00:00")
    assert rows(gate, STORED) == OF_USB
    assert rows(gate, "SELECT DISTINCT source FROM raw_punches") == [("file",)]
    assert stale(gate) == [MONDAY]
    everything = "SELECT * FROM raw_punches; SELECT * FROM device_polls; SELECT * FROM work_dates"
    before = [rows(gate, one) for one in everything.split(";")]
    again = imported(gate, tmp_path, "1_attlog.dat", USB)
    assert (again.new, again.known, again.poll_id) == (0, 3, None)
    assert [rows(gate, one) for one in everything.split(";")] == before


def test_a_poll_and_a_file_with_the_same_punches_make_one_row_each(gate: Store, tmp_path: Path) -> None:
    ingest(gate, "Gate", *on(MONDAY, "08:00", "12:00"))
    assert imported(gate, tmp_path, "1_attlog.dat", USB).new == 2
    assert ingest(gate, "Gate", *on(MONDAY, "08:00", "12:00", "17:00")).new == 0
    assert len(rows(gate, STORED)) == 4


def test_days_are_processed_from_imported_punches(gate: Store, tmp_path: Path) -> None:
    imported(gate, tmp_path, "1_attlog.dat", USB)
    process(gate, MONDAY)
    days = "SELECT user_id, punch_count, clock_in::VARCHAR FROM daily_attendance ORDER BY 1"
    assert rows(gate, days) == [("0007", 1, f"{MONDAY} 08:15:30+00"), ("1001", 2, f"{MONDAY} 07:00:00+00")]


def test_an_import_is_no_poll_of_the_terminal(gate: Store, tmp_path: Path) -> None:
    imported(gate, tmp_path, "1_attlog.dat", USB)
    (poll,) = rows(gate, 'SELECT mode, status, fetched, stored, "new", warnings FROM device_polls')
    assert poll == ("file", "success", 3, 3, 3, "imported from 1_attlog.dat")
    assert gate.devices.get("Gate").last_sync is None
    assert terminal_health(gate.database)[0].read_at is None
    line = status_line(gate)
    assert (line.last_poll, line.last_warnings) == (None, None)
    with gate.database.read("test") as connection:
        assert read_poll_counters(connection) == []


def test_a_failing_terminal_stays_failing_after_an_import(gate: Store, tmp_path: Path) -> None:
    now = gate.clock()
    gate.punches.record_failures([FailedPoll("Gate", now, now, "unreachable", "no answer")], run_id=None)
    imported(gate, tmp_path, "1_attlog.dat", USB)
    line = status_line(gate)
    assert (line.last_poll_status, line.last_error) == ("failed", "no answer")
    (reach,) = gate.quality.freshness(**ALL).devices
    assert reach.error == "no answer"


def test_nothing_is_stored_unless_each_line_is_readable(gate: Store, tmp_path: Path) -> None:
    file = tmp_path / "1_attlog.dat"
    file.write_text(f"{USB}garbage\n1001\t2026-02-30 08:00:00\t1\t0\t1\t0\n")
    plan = plan_import(gate, file, "Gate", ImportOptions())
    assert list(plan.summary.unreadable) == [4, 5]
    with pytest.raises(RowsRefused) as refused:
        check_plan(plan, ImportOptions())
    assert refused.value.head == "1_attlog.dat: no punch was stored (--skip-unreadable stores the others)"
    assert refused.value.rows[1] == "line 5: 2026-02-30 08:00:00 is no time"
    done = imported(gate, tmp_path, file.name, file.read_bytes(), skip_unreadable=True)
    assert (done.new, done.quarantined) == (3, 2)
    held = [(one.raw, one.reason) for one in gate.quarantine.of("Gate")]
    assert (b"garbage", "it has no time such as 2026-11-02 08:30:00") in held
    again = imported(gate, tmp_path, file.name, file.read_bytes(), skip_unreadable=True)
    assert (again.new, again.quarantined, again.poll_id, len(gate.quarantine.of("Gate"))) == (0, 0, None, 2)


def test_a_line_of_a_file_is_never_released_as_a_record_of_a_log(gate: Store, tmp_path: Path) -> None:
    """A line of 40 bytes has the size of a record."""
    line = f"1001\t{MONDAY} 25:00:00\t1\t0\t1\t0".ljust(40)
    assert imported(gate, tmp_path, "1_attlog.dat", f"{USB}{line}\n", skip_unreadable=True).quarantined == 1
    (released,) = release_quarantine(gate)
    assert (released.records, released.new, released.left, released.error) == (0, 0, 1, None)


def test_a_pushed_line_from_a_file_is_released_when_it_can_be_read(gate: Store, tmp_path: Path) -> None:
    good, bad = f"7\t{MONDAY} 08:00:00\t0\t1\t0", f"8\t{MONDAY} 09:00:00\t0\t1\t0"
    imported(gate, tmp_path, "pushed.txt", f"{good}\nbroken\n", format="adms", skip_unreadable=True)
    execute(gate, "UPDATE quarantined_records SET raw = ?", [bad.encode()])  # as after a better version
    (released,) = release_quarantine(gate)
    assert (released.records, released.new, released.left) == (1, 1, 0)
    assert [row[0] for row in rows(gate, STORED)] == ["7", "8"]


def test_the_log_of_another_terminal_is_refused(gate: Store, tmp_path: Path) -> None:
    ingest(gate, "Gate")
    gate.devices.add(device("Dock"))
    own, other = rows(gate, "SELECT serial_number FROM devices WHERE name = 'Gate'")[0][0], "CGKK223862906"
    assert imported(gate, tmp_path, f"{own}_attlog.dat", USB).new == 3
    with pytest.raises(UsageError, match=f"serial number {other}, but 'Gate' has {own}: register that terminal first"):
        imported(gate, tmp_path, f"{other}_attlog.dat", USB)
    with pytest.raises(UsageError, match=f"serial number {other}"):
        imported(gate, tmp_path, "1_attlog.dat", f"SN={other}\r\n{USB}")
    execute(gate, "UPDATE devices SET serial_number = ? WHERE name = 'Dock'", [other])
    with pytest.raises(UsageError, match="import it with --device 'Dock'"):
        imported(gate, tmp_path, f"{other}_attlog.dat", USB)


def test_a_name_that_only_looks_like_a_serial_number_is_to_be_changed(gate: Store, tmp_path: Path) -> None:
    ingest(gate, "Gate")
    with pytest.raises(UsageError, match=r"if FIRST1 is no serial number, rename the file to 1_attlog.dat"):
        imported(gate, tmp_path, "first1_attlog.dat", USB)
    with pytest.raises(UsageError, match=r"CGKK1, .*: register that terminal first$"):
        imported(gate, tmp_path, "1_attlog.dat", f"SN=CGKK1\r\n{USB}")
    assert imported(gate, tmp_path, "1_attlog.dat", USB).new == 3


@pytest.mark.parametrize("is_named", [True, False])
def test_the_log_of_another_registered_terminal_is_refused_before_the_first_poll(
    gate: Store, tmp_path: Path, is_named: bool
) -> None:
    """The target has no serial number until its first poll."""
    other = "CGKK223862906"
    gate.devices.add(device("Dock"))
    execute(gate, "UPDATE devices SET serial_number = ? WHERE name = 'Dock'", [other.lower()])
    name, content = (f"{other}_attlog.dat", USB) if is_named else ("1_attlog.dat", f"SN={other}\r\n{USB}")
    with pytest.raises(
        UsageError, match=f"{other}, but 'Gate' has no serial number yet: import it with --device 'Dock'"
    ):
        imported(gate, tmp_path, name, content)
    assert imported(gate, tmp_path, name.replace("2906", "2907"), content.replace("2906", "2907")).new == 3


def test_lines_as_terminals_push_them_are_imported(gate: Store, tmp_path: Path) -> None:
    lines = f"1001\t{MONDAY} 08:00:00\t0\t1\t0\t0\t0\nPIN=0007\tDateTime={MONDAY} 09:15:30\tStatus=0\tVerify=15\n"
    done = imported(gate, tmp_path, "pushed.txt", lines, format="adms")
    assert (done.new, done.format) == (2, "adms")
    with pytest.raises(UsageError, match="--order names columns of a USB log, and this is read as adms: leave it out"):
        imported(gate, tmp_path, "pushed.txt", lines, format="adms", order="usb")
    assert [row[0] for row in rows(gate, STORED)] == ["1001", "0007"]
    with pytest.raises(RowsRefused, match="line 2: "):
        imported(gate, tmp_path, "pushed.txt", f"{lines.splitlines()[0]}\n9\tsoon\t0\n", format="adms")


def test_a_log_with_more_columns_is_imported_as_a_table_as_its_refusal_says(gate: Store, tmp_path: Path) -> None:
    log = f"No\tTMNo\tEnNo\tName\tINOUT\tMode\tDateTime\n1\t1\t0007\tAda\t0\t1\t{MONDAY} 08:00:00\n"
    with pytest.raises(UsageError, match='with --format csv --columns "user_id=EnNo,punched_at_local=DateTime"'):
        imported(gate, tmp_path, "AGL_001.TXT", log, skip_unreadable=True)
    columns = parse_columns("user_id=EnNo,punched_at_local=DateTime")
    assert imported(gate, tmp_path, "AGL_001.TXT", log, format="csv", columns=columns).new == 1
    slashes = log.replace(f"{MONDAY} 08", "2026/03/02  09")
    time_format = "%Y/%m/%d %H:%M:%S"
    assert imported(gate, tmp_path, "AGL_001.TXT", slashes, format="csv", time_format=time_format).new == 1
    assert [row[:2] for row in rows(gate, STORED)] == [("0007", f"{MONDAY} 08:00:00"), ("0007", f"{MONDAY} 09:00:00")]


def test_a_table_of_another_program_needs_its_columns_only_once(gate: Store, tmp_path: Path) -> None:
    table = "Emp No;Name;When;Way\n1001;Ada;02/03/2026 08:00;C/In\n1001;Ada;02/03/2026 17:00;C/Out\n"
    with pytest.raises(UsageError, match=r"no column has the user_id; found: 'emp no', 'name', 'when', 'way'"):
        imported(gate, tmp_path, "may.csv", table)
    columns = parse_columns("user_id=Emp No,punched_at_local=When,punch_state=Way")
    first = imported(gate, tmp_path, "may.csv", table, columns=columns, time_format="%d/%m/%Y %H:%M")
    assert (first.new, [row[1:3] for row in rows(gate, STORED)]) == (
        2,
        [(f"{MONDAY} 08:00:00", 0), (f"{MONDAY} 17:00:00", 1)],
    )
    later = imported(gate, tmp_path, "june.csv", table.replace("02/03", "03/03"), time_format="%d/%m/%Y %H:%M")
    assert (later.new, "(as for the last file)" in later.detected) == (2, True)
    with pytest.raises(UsageError, match="the column 'emp no' is missing; found: 'number', 'when'"):
        imported(gate, tmp_path, "july.csv", "Number,When\n1,2026-07-01 08:00\n")


def test_instants_are_converted_to_the_wall_clock_of_the_terminal(gate: Store, tmp_path: Path) -> None:
    table = (
        "user_id,punched_at\n1,2026-03-02T07:00:00Z\n2,2026-03-02T07:00:00+00:00\n3,2026-03-02 09:00:00+02:00\n"
        "4,2026-07-01T06:00:00Z\n"
    )
    assert imported(gate, tmp_path, "utc.csv", table).new == 4
    assert [row[:2] for row in rows(gate, STORED)] == [
        ("1", "2026-03-02 08:00:00"),
        ("2", "2026-03-02 08:00:00"),
        ("3", "2026-03-02 08:00:00"),
        ("4", "2026-07-01 08:00:00"),
    ]
    with pytest.raises(RowsRefused, match="has no offset from UTC: name its column punched_at_local"):
        imported(gate, tmp_path, "local.csv", "user_id,punched_at\n1,2026-03-02 07:00:00\n")


def test_instants_in_the_second_occurrence_of_a_repeated_hour_are_counted(gate: Store, tmp_path: Path) -> None:
    table = (
        "user_id,punched_at_local\n1,2025-10-26T00:30:00Z\n1,2025-10-26T02:30:00+01:00\n"
        "2,2025-10-26T01:30:00Z\n3,2025-10-26 02:30:00\n4,2025-10-26T02:00:00Z\n"
    )
    done = imported(gate, tmp_path, "utc.csv", table)
    assert (done.in_repeated_hour, done.new, done.repeated) == (2, 4, 1)
    assert rows(gate, "SELECT user_id, punched_at::VARCHAR FROM raw_punches ORDER BY 1") == [
        ("1", "2025-10-26 00:30:00+00"),
        ("2", "2025-10-26 00:30:00+00"),
        ("3", "2025-10-26 00:30:00+00"),
        ("4", "2025-10-26 02:00:00+00"),
    ]


def test_an_excel_file_with_date_and_time_in_two_columns_is_imported(gate: Store, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["No.", "Date", "Time", "State"])  # type: ignore[union-attr]
    at = datetime(2026, 3, 2, 8, 0, 30)  # noqa: DTZ001 (wall clock)
    book.active.append([1001, at.date(), at.time(), "OverTime In"])  # type: ignore[union-attr]
    midnight = datetime(2026, 3, 2)  # noqa: DTZ001 (a date cell of Excel)
    book.active.append([1001, midnight, "09:00:30", "OverTime In"])  # type: ignore[union-attr]
    book.active.append([1001, at.date(), "9:15", "OverTime In"])  # type: ignore[union-attr]
    stream = io.BytesIO()
    book.save(stream)
    columns = parse_columns("user_id=No., date=Date, time=Time, punch_state=State")
    assert imported(gate, tmp_path, "log.xlsx", stream.getvalue(), columns=columns).new == 3
    assert [at for _, at, *_ in rows(gate, STORED)] == [
        f"2026-03-02 {at}" for at in ("08:00:30", "09:00:30", "09:15:00")
    ]


def parquet(**columns: list[Any]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def workbook(header: list[str], *lines: list[Any]) -> bytes:
    book, stream = openpyxl.Workbook(), io.BytesIO()
    for line in (header, *lines):
        book.active.append(line)  # type: ignore[union-attr]
    book.save(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("user", "stored"),
    [
        (42.0, "42"),
        (42, "42"),
        (Decimal("42.00"), "42"),
        ("0042", "0042"),
        ("4.2a", "4.2a"),
        (42.5, None),
        (Decimal("42.50"), None),
        (True, None),
        (float("inf"), None),
        (1e300, None),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "xlsx"])
def test_a_number_is_a_user_only_if_it_is_whole(
    gate: Store, tmp_path: Path, user: Any, stored: str | None, kind: str
) -> None:
    at = f"{MONDAY} 08:00"
    if kind == "parquet":
        content = parquet(user_id=[user], punched_at_local=[at], punch_state=[1.0], work_code=[float("nan")])
    else:
        content = workbook(["user_id", "punched_at_local", "punch_state"], [user, at, 1.0])
    if stored is None:
        with pytest.raises(RowsRefused, match=r"line \d: .*(is no user id|the user_id is empty)"):
            imported(gate, tmp_path, f"raw.{kind}", content)
    else:
        imported(gate, tmp_path, f"raw.{kind}", content)
        assert [row[:1] + row[2:3] for row in rows(gate, STORED)] == [(stored, 1)]


@pytest.mark.parametrize(
    ("user", "reason"),
    [(float("nan"), "the user_id is empty"), (None, "the user_id is empty"), (b"42", "is no user id")],
)
def test_a_missing_or_binary_user_in_parquet_is_refused(gate: Store, tmp_path: Path, user: Any, reason: str) -> None:
    with pytest.raises(RowsRefused, match=reason):
        imported(gate, tmp_path, "raw.parquet", parquet(user_id=[user], punched_at_local=[f"{MONDAY} 08:00"]))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",2026-03-02 08:00,in", "the user_id is empty"),
        ("1,2026-03-02,in", "'2026-03-02' is no time such as 2026-11-02 08:30:00; --time-format names another form"),
        ("1,02.03.2026 08:00,in", "'02.03.2026 08:00' is no time"),
        ("1,2026-03-02 08:00,sideways", "punch_state 'sideways' is no state"),
        ("1,2026-03-02 08:00,256", "punch_state '256' is no state"),
        ("1,2026-03-02 08:00,in,many", "work_code 'many' is no number"),
        ("1,2026-03-02 08:00,in,1,surplus", "'surplus' is in no column"),
    ],
)
def test_a_bad_row_of_a_table_is_named_by_its_line(gate: Store, tmp_path: Path, line: str, reason: str) -> None:
    header = "user_id,punched_at_local,punch_state,work_code"
    with pytest.raises(RowsRefused) as refused:
        imported(gate, tmp_path, "table.csv", f"{header}\n1,2026-03-02 09:00,in\n{line}\n")
    assert refused.value.rows[0].startswith(f"line 3: {reason}")
    assert rows(gate, STORED) == []


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ("user_id=No", "no column has the time"),
        ("punched_at=When", "no column has the user_id"),
        ("user_id=No,date=Day", "no column has the time"),
        ("user=No,punched_at=When", "'user=No' does not name the column of a field"),
        ("user_id=No,user_id=Nr,punched_at=When", "'user_id=Nr' does not name"),
        ("user_id", "'user_id' does not name"),
    ],
)
def test_wrong_columns_are_refused(columns: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_columns(columns)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_of_raw_punches_makes_the_same_rows_in_another_store(
    gate: Store, tmp_path: Path, kind: Format, empty_store_file: Any, clock: StoppedClock
) -> None:
    gate.devices.add(device("Yard", timezone="Asia/Kolkata"))
    ingest(
        gate, "Gate", *on(MONDAY, "08:00", "17:30"), *on(MONDAY, "09:00", user_id="-7"), ("1001", "2000-01-01 00:00")
    )
    ingest(gate, "Yard", *on(MONDAY, "08:00"))
    execute(gate, "UPDATE raw_punches SET is_clock_suspect = true WHERE user_id = '-7'")
    stream = io.BytesIO()
    export(gate.exports, "raw", ExportScope(), kind=kind, stream=stream)
    (tmp_path / "other").mkdir()
    other = copied(empty_store_file, tmp_path / "other", clock)
    other.devices.add(device("Gate", timezone="Europe/Berlin", site="Plant"))
    done = imported(other, tmp_path, f"raw.{kind}", stream.getvalue())
    assert (done.new, done.left_out, done.suspect) == (4, {"Yard": 1}, 2)
    content = (
        "SELECT user_id, punched_at, punched_at_local, status, punch_state, verify_type, is_clock_suspect, work_code "
        "FROM raw_punches WHERE device = 'Gate' ORDER BY ALL"
    )
    assert rows(other, content) == rows(gate, content)
    other.devices.add(device("Dock"))
    with pytest.raises(UsageError, match=r"no punch of 'Dock', but of 'Gate', 'Yard': name one of these"):
        plan_content(other, tmp_path / f"raw.{kind}", stream.getvalue(), "Dock", ImportOptions())


def test_the_plan_counts_what_an_import_does_and_names_users_who_are_not_enrolled(gate: Store, tmp_path: Path) -> None:
    gate.devices.add(device("Back", site="Plant"))
    ingest(gate, "Gate", *on(MONDAY, "08:00"), users=[("1001", 1, "Ada", 0, 0)])
    ingest(gate, "Back", users=[("5", 1, "Bo", 0, 0)])
    ahead = "5\t2027-01-01 08:00:00\t1\t0\t1\t0\n5\t1999-12-31 23:00:00\t1\t0\t1\t0\n"
    done = imported(gate, tmp_path, "1_attlog.dat", f"{USB}{ahead}{USB}")
    counts = (done.read, done.punches, done.new, done.known, done.repeated, done.suspect)
    assert counts == (8, 5, 4, 1, 3, 2)
    assert (done.unknown_users, done.unknown_users_text()) == (["0007"], "0007")
    assert rows(gate, "SELECT count(*) FROM raw_punches WHERE is_clock_suspect") == [(2,)]


def test_punches_before_the_history_are_stored_and_counted(gate: Store, tmp_path: Path) -> None:
    reset = "5\t1999-12-31 23:00:00\t1\t0\t1\t0\n"
    log = f"{reset}5\t2026-03-01 23:59:59\t1\t0\t1\t0\n5\t{MONDAY} 00:00:00\t1\t0\t1\t0\n"
    done = imported(gate, tmp_path, "1_attlog.dat", log, history_start=MONDAY)
    assert (done.new, done.before_history, done.suspect) == (3, 1, 1)


def test_punches_of_dates_that_retention_has_deleted_are_not_stored_again(gate: Store, tmp_path: Path) -> None:
    imported(gate, tmp_path, "1_attlog.dat", USB)
    process(gate, MONDAY)
    execute(gate, "UPDATE crm_deliveries SET state = 'delivered', delivered_at = created_at")
    assert gate.retention.clean(retention_days=30).punches == 3
    again = imported(gate, tmp_path, "1_attlog.dat", USB)
    assert (again.new, again.purged, again.known) == (0, 3, 0)
    assert rows(gate, STORED) == []


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("user.dat", b"\x01\0\0\0Ada\0\0\0", "it is no log of punches"),
        ("raw.parquet", b"PAR1 no", "cannot be read as a Parquet file"),
        ("raw.xlsx", b"PK no", "cannot be read as an Excel file"),
        ("raw.csv", b"", "no row"),
        ("raw.csv", "user_id,punched_at_local\nM\xfcller,x".encode("latin-1"), "it is not text in UTF-8"),
        ("raw.csv", b"user_id,punched_at_local\n", "no row"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    gate: Store, tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        imported(gate, tmp_path, name, content)


def test_an_unknown_terminal_is_refused_with_similar_names(gate: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean Gate"):
        plan_content(gate, tmp_path / "1_attlog.dat", USB.encode(), "Gat", ImportOptions())
