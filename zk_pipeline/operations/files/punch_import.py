"""Import of punches from a file: USB log, pushed lines, CSV, Excel or Parquet. First a plan, then one transaction."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, get_args

from zk_pipeline.data_libraries import np, pa, pc, pd
from zk_pipeline.devices.models import Device, punches_frame
from zk_pipeline.devices.push.uploads import EncryptedBody, parse_upload
from zk_pipeline.devices.usb_log import (
    COLUMNS,
    FilePunch,
    Order,
    UnreadableLine,
    parse_usb_log,
    serial_number_in_name,
)
from zk_pipeline.errors import RowsRefused, UsageError
from zk_pipeline.operations.files.punch_columns import FIELDS, PunchRows, missing_field
from zk_pipeline.operations.files.table_reader import read_content, read_table
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.ingest import AHEAD, CLOCK_WAS_RESET_BEFORE, punches_table, rejected_lines
from zk_pipeline.store.terminals.punch_files import FileRows

if TYPE_CHECKING:
    import numpy.typing as npt

PunchFormat = Literal["attlog", "adms", "csv", "xlsx", "parquet"]
PUNCH_FORMATS: tuple[PunchFormat, ...] = get_args(PunchFormat)
_BY_SUFFIX: Mapping[str, PunchFormat] = {".csv": "csv", ".tsv": "csv", ".xlsx": "xlsx", ".parquet": "parquet"}
_PUSHED = "ATTLOG"  # table of pushed punches
_PAIR = b"PIN="
_SHOWN_USERS = 10


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Options for reading a file; None: detected. `columns`: by field, of a table of another program.

    `history_start`: first work date that is processed; earlier punches are stored and counted.
    """

    format: PunchFormat | None = None
    order: Order | None = None
    columns: Mapping[str, str] | None = None
    time_format: str | None = None
    skip_unreadable: bool = False
    history_start: date = date.min


@dataclass(frozen=True, kw_only=True)
class PunchImport:
    """Summary of an import, or of its plan. Times are wall clocks of the device.

    `detected`: how the file was read. `read`: its records; `punches`: distinct ones, each `new`, `known` (stored
    already) or `purged` (its work date was deleted by retention). `suspect`: punches with an implausible time, which
    are stored but part of no day. `before_history`: other punches before `history_start`, whose days are not processed.
    `repeated`: further lines of the same punch. `in_repeated_hour`: records with an
    instant in the second occurrence of an hour that a clock change repeats, stored as its first one. `left_out`: rows
    by the name of another device. `unreadable`: reason by line.
    """

    file: str
    device: str
    site: str
    format: PunchFormat
    detected: str
    read: int
    punches: int
    new: int
    known: int
    purged: int
    repeated: int
    in_repeated_hour: int
    suspect: int
    before_history: int
    history_start: date
    first: datetime | None
    last: datetime | None
    unknown_users: list[str]
    left_out: dict[str, int]
    unreadable: dict[int, str]
    is_stored: bool = False
    quarantined: int = 0
    poll_id: int | None = None

    def unknown_users_text(self) -> str:
        shown = ", ".join(self.unknown_users[:_SHOWN_USERS])
        more = len(self.unknown_users) - _SHOWN_USERS
        return f"{shown} and {more} more" if more > 0 else shown


@dataclass(frozen=True)
class ImportPlan:
    """A file read and compared with the store; `rows` is stored by `apply_import`."""

    summary: PunchImport
    rows: FileRows
    columns: Mapping[str, str] | None = None


@dataclass(frozen=True)
class _Source:
    """A file to read for a device; `kept`: columns of its last table."""

    path: PurePath
    content: bytes
    device: Device
    options: ImportOptions
    kept: Mapping[str, str] | None


@dataclass
class _Content:
    """Records of a file. `suspect`: lines whose punch has a clock known to be wrong."""

    format: PunchFormat
    detected: str
    punches: list[FilePunch]
    unreadable: list[UnreadableLine] = field(default_factory=list)
    suspect: set[int] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    serial_number: str | None = None
    columns: Mapping[str, str] | None = None  # given now, to be kept


def plan_import(store: Store, path: Path, device: str, options: ImportOptions) -> ImportPlan:
    """Read a file for a registered device and compare it with the store, without a change.

    Raises UnknownDevice, and UsageError for a file that is no log of punches, of another terminal, or with several
    possible meanings.
    """
    return plan_content(store, path, read_content(path), device, options)


def plan_content(store: Store, path: PurePath, content: bytes, device_name: str, options: ImportOptions) -> ImportPlan:
    """As `plan_import`, of a file's `content`."""
    device = store.devices.get(device_name)
    found = _read(_Source(path, content, device, options, store.punch_files.columns_of(device.name)))
    _check_terminal(path, found, device, store.devices.all())
    rows = _prepare(path, found, device)
    compared = store.punch_files.compare(rows)
    span = pc.min_max(rows.punches["punched_at_local"]).as_py()
    suspect = _suspect(rows, store.clock())
    summary = PunchImport(
        file=path.name,
        device=device.name,
        site=device.site,
        format=found.format,
        detected=found.detected,
        read=rows.read,
        punches=len(rows.punches),
        new=compared.new,
        known=len(rows.punches) - compared.new - compared.purged,
        purged=compared.purged,
        repeated=len(found.punches) - len(rows.punches),
        in_repeated_hour=sum(one.punched_at_local.fold for one in found.punches),
        suspect=int(suspect.sum()),
        before_history=int((~suspect & _is_before(rows, options.history_start)).sum()),
        history_start=options.history_start,
        first=span["min"],
        last=span["max"],
        unknown_users=compared.unknown_users,
        left_out=dict(found.left_out),
        unreadable={one.line: one.reason for one in found.unreadable},
    )
    return ImportPlan(summary, rows if options.skip_unreadable else _readable_only(rows), found.columns)


def check_plan(plan: ImportPlan, options: ImportOptions) -> None:
    """Raises UsageError naming each unreadable line, unless they are to be skipped, and if nothing can be stored."""
    summary = plan.summary
    if summary.unreadable and not options.skip_unreadable:
        raise RowsRefused(
            f"{summary.file}: no punch was stored (--skip-unreadable stores the others)", summary.unreadable
        )
    if not summary.punches:
        raise UsageError(f"{summary.file}: it has no punch of {summary.device}")


def apply_import(store: Store, plan: ImportPlan) -> PunchImport:
    """Store the punches of a plan in one transaction; a repeated import changes nothing."""
    done = store.punch_files.insert(plan.rows, columns=plan.columns)
    summary = {name: getattr(plan.summary, name) for name in PunchImport.__dataclass_fields__}
    changed = {"is_stored": True, "new": done.new, "quarantined": done.quarantined, "poll_id": done.poll_id}
    changed["known"] = plan.summary.punches - plan.summary.purged - done.new
    return PunchImport(**(summary | changed))


def _readable_only(rows: FileRows) -> FileRows:
    return replace(rows, rejected=rows.rejected.slice(0, 0))


def _read(source: _Source) -> _Content:
    by_suffix = _BY_SUFFIX.get(source.path.suffix.lower())
    kind = source.options.format or by_suffix or ("adms" if _PAIR in source.content else "attlog")
    if kind == "attlog":
        return _usb_log(source)
    if source.options.order is not None:
        raise UsageError(f"{source.path}: --order names columns of a USB log, and this is read as {kind}: leave it out")
    if kind == "adms":
        return _pushed_lines(source.path, source.content, source.device)
    return _table(source, kind)


def _usb_log(source: _Source) -> _Content:
    order = source.options.order
    log = parse_usb_log(source.path, source.content, encoding=source.device.encoding, order=order)
    numbers = COLUMNS[log.order] if log.order else "no further columns"
    how = "" if order else " (detected)"
    detected = f"USB log: user, time, {numbers}{how}"
    return _Content("attlog", detected, log.punches, log.unreadable, serial_number=log.serial_number)


def _pushed_lines(path: PurePath, content: bytes, device: Device) -> _Content:
    try:
        parsed = parse_upload(_PUSHED, content, encoding=device.encoding, punch_events=None, parameters={})
    except EncryptedBody:
        raise UsageError(f"{path}: it is no text with pushed lines") from None
    numbers = _line_numbers(content)
    unreadable = [UnreadableLine(numbers.get(one.raw.strip(), 0), one.raw, one.reason) for one in parsed.rejected]
    punches = [
        FilePunch(number, one.user_id, one.punched_at_local, one.punch_state, one.verify_type, one.work_code)
        for number, one in enumerate(parsed.punches, start=1)
    ]
    return _Content("adms", "pushed lines: user, time, state, verification, work code", punches, sorted(unreadable))


def _line_numbers(content: bytes) -> dict[bytes, int]:
    """Number of the first line with this text."""
    found: dict[bytes, int] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        found.setdefault(line.strip(), number)
    return found


def _table(source: _Source, kind: PunchFormat) -> _Content:
    path, options = source.path, source.options
    problems: dict[int, str] = {}
    if kind == "parquet":
        rows = list(_parquet_rows(path, source.content))
    else:
        table = read_table(path, source.content, (), ignore_others=True, is_excel=kind == "xlsx")
        rows, problems = list(table.rows.items()), table.problems
    if not rows and not problems:
        raise UsageError(f"{path}: the table has no row")
    columns, how = _choose_columns(path, list(rows[0][1]) if rows else [], options, source.kept)
    found = _Content(kind, how, [], columns=options.columns)
    found.unreadable = [UnreadableLine(line, text.encode(), text) for line, text in problems.items()]
    reader = PunchRows(columns, source.device.timezone, options.time_format, is_excel=kind == "xlsx")
    for line, row in rows:
        _add_row(found, reader, source.device, line, row)
    found.unreadable.sort()
    return found


def _add_row(found: _Content, reader: PunchRows, device: Device, line: int, row: Mapping[str, Any]) -> None:
    if (other := reader.device(row)) not in ("", device.name):
        found.left_out[other] += 1
        return
    try:
        punch = reader.punch(line, row)
    except UsageError as error:
        text = ";".join("" if value is None else str(value) for value in row.values())
        found.unreadable.append(UnreadableLine(line, text.encode(), str(error)))
        return
    found.punches.append(punch)
    if reader.is_suspect(row):
        found.suspect.add(line)


def _choose_columns(
    path: PurePath, header: Sequence[str], options: ImportOptions, kept: Mapping[str, str] | None
) -> tuple[Mapping[str, str], str]:
    """Columns by field, and a description: as given, by their own names, or as given for the device before."""
    own = {name: name for name in header if name in FIELDS}
    is_own = missing_field(own) is None
    columns = options.columns or (own if is_own else kept)
    if columns is None:
        found = ", ".join(repr(name[:40]) for name in header[:20]) or "none"
        raise UsageError(
            f"{path}, line 1: {missing_field(own)}; found: {found}. Name the columns once with "
            "--columns user_id=…,punched_at_local=…"
        )
    if lost := [column for column in columns.values() if header and column not in header]:
        found = ", ".join(repr(name[:40]) for name in header[:20])
        raise UsageError(f"{path}, line 1: the column {lost[0]!r} is missing; found: {found}")
    named = ", ".join(field if field == column else f"{field} from {column!r}" for field, column in columns.items())
    is_kept = not options.columns and not is_own
    return columns, f"table with the columns {named}{' (as for the last file)' if is_kept else ''}"


def _parquet_rows(path: PurePath, content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        from pyarrow.parquet import read_table  # noqa: PLC0415 (slow to import)

        table = read_table(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise UsageError(f"{path}: cannot be read as a Parquet file: {str(error).splitlines()[0][:200]}") from None
    names = [name.lower() for name in table.column_names]
    wanted = [name for name in names if name in FIELDS] or names
    columns = [table.column(names.index(name)).to_pylist() for name in wanted]
    for number, values in enumerate(zip(*columns, strict=True), start=1):
        yield number, dict(zip(wanted, values, strict=True))


def _check_terminal(path: PurePath, found: _Content, device: Device, registered: Iterable[Device]) -> None:
    """Raises UsageError for a log of another terminal, and for a table of other devices only."""
    if found.left_out and not found.punches and not found.unreadable:
        names = ", ".join(map(repr, sorted(found.left_out)))
        raise UsageError(f"{path}: it has no punch of {device.name!r}, but of {names}: name one of these with --device")
    if found.format not in ("attlog", "adms"):
        return
    named = serial_number_in_name(path)
    for serial_number in (named, found.serial_number):
        if serial_number and (problem := _other_terminal(serial_number, device, registered)):
            rename = f"; if {serial_number} is no serial number, rename the file to 1_attlog.dat"
            raise UsageError(
                f"{path}: it is the log of the terminal with the serial number {serial_number}, {problem}"
                f"{rename if serial_number == named else ''}"
            )


def _other_terminal(serial_number: str, device: Device, registered: Iterable[Device]) -> str | None:
    """The problem if a serial number (in capitals) is not that of `device`, or is that of another device."""
    own = (device.serial_number or "").upper()
    owner = next((one.name for one in registered if (one.serial_number or "").upper() == serial_number), None)
    if own == serial_number or not (own or owner):
        return None
    has = device.serial_number or "no serial number yet"
    advice = f"import it with --device {owner!r}" if owner else "register that terminal first"
    return f"but {device.name!r} has {has}: {advice}"


def _prepare(path: PurePath, found: _Content, device: Device) -> FileRows:
    frame = punches_frame(
        user_id=[one.user_id for one in found.punches],
        punched_at_local=np.array([one.punched_at_local for one in found.punches], dtype="datetime64[s]"),
        status=[one.verify_type for one in found.punches],
        punch_state=[one.punch_state for one in found.punches],
        verify_type=[one.verify_type for one in found.punches],
        work_code=pd.array([one.work_code for one in found.punches], dtype="Int64"),
    )
    kept = ~frame.duplicated(["user_id", "punched_at_local"]).to_numpy()
    in_doubt = np.array([one.line in found.suspect for one in found.punches], dtype=bool)
    return FileRows(
        device=device.name,
        zone=device.timezone,
        name=path.name,
        read=len(found.punches) + len(found.unreadable),
        punches=punches_table(frame, device.timezone),
        rejected=rejected_lines([(one.raw, one.reason) for one in found.unreadable]),
        record_format=_PUSHED if found.format == "adms" else f"FILE:{found.format}",
        in_doubt=pa.array(in_doubt[kept]),
    )


def _suspect(rows: FileRows, now: datetime) -> npt.NDArray[np.bool_]:
    """Mask of the punches that are stored, but part of no day."""
    local = rows.punches["punched_at_local"].to_numpy()
    instants = rows.punches["punched_at"].to_numpy().astype("datetime64[us]")
    latest = np.datetime64((now + AHEAD).replace(tzinfo=None), "us")
    early = local < np.datetime64(CLOCK_WAS_RESET_BEFORE, "us")
    found: npt.NDArray[np.bool_] = early | (instants > latest) | rows.in_doubt.to_numpy(zero_copy_only=False)
    return found


def _is_before(rows: FileRows, first: date) -> npt.NDArray[np.bool_]:
    """Mask of the punches with a wall clock before the date `first`."""
    found: npt.NDArray[np.bool_] = rows.punches["punched_at_local"].to_numpy() < np.datetime64(first, "D")
    return found
