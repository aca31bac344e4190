"""Output of commands: tables or JSON on stdout, notes and warnings on stderr; exit codes of Dagster runs."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TextIO

import click

from zk_pipeline.cli.tables import NOTHING, lay_out, lay_out_pairs
from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.processes import in_main_thread
from zk_pipeline.time_text import either

if TYPE_CHECKING:
    from pathlib import Path

    from zk_pipeline.operations.files.holiday_file import HolidayImport
    from zk_pipeline.operations.files.leave_file import LeaveImport
    from zk_pipeline.runs.launcher import RunResult

ZONE = "zk_pipeline.timezone"  # key of ZK_PIPELINE_TIMEZONE in click's context

_WIDE = "zk_pipeline.wide"  # key of --wide in click's context


def _remember_wide(context: click.Context, _: click.Parameter, is_wide: bool) -> None:
    context.meta[_WIDE] = is_wide


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
wide_option = click.option(
    "--wide",
    is_flag=True,
    expose_value=False,
    callback=_remember_wide,
    help="Print all columns in full width, as in a pipe.",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation. Raises click.Abort if the answer is no, UsageError without a terminal or `yes`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nothing was done: confirm with --yes")
    in_main_thread(lambda: click.confirm(question, abort=True, err=True))


def print_json(value: object) -> None:
    """Print as JSON: dataclasses as objects, dates and instants as ISO 8601 with their offset."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, keep: Set[str] = frozenset()) -> None:
    """Print a table: one line per row, full width in a pipe and with --wide.

    On a terminal it fits the width: see `tables.lay_out`; `keep` are columns that stay if they have a value.
    """
    texts = [{column: cell(row.get(column)) for column in columns} for row in rows]
    table = lay_out(texts, columns, width=_width(), keep=keep, colored=is_colored(sys.stdout))
    _print(table.lines)
    if table.left_out:
        text = f"not shown: {', '.join(table.left_out)}; --wide shows all columns"
        note("\n".join(textwrap.wrap(text, _width() or len(text), subsequent_indent="  ", break_on_hyphens=False)))
    elif table.is_truncated:
        note("long texts are truncated (…); --wide shows them")


def print_findings(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print a table whose last columns are sentences: on a terminal below each other, with line breaks."""
    if _width() is None:
        print_table(rows, columns)
        return
    first, *others = columns
    for row in rows:
        lines = [(cell(row[first]), cell(row[others[0]])), *(("", cell(row[name])) for name in others[1:])]
        _print(lay_out_pairs(lines, width=_width()))


def print_rows(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    *,
    as_json: bool,
    none: str,
    keep: Set[str] = frozenset(),
) -> None:
    """Print a list: all fields as JSON, `columns` as a table (see `print_table`), or the line `none` if it is empty."""
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows, columns, keep=keep)
    else:
        click.echo(none)


def print_pairs(values: Mapping[str, object]) -> None:
    """Print names and values, one pair per line."""
    _print(lay_out_pairs([(name, cell(value)) for name, value in values.items()], width=_width()))


def print_import(done: HolidayImport | LeaveImport, file: Path, *, as_json: bool) -> int:
    """Print the changes of an import, and to stderr the skipped events; returns the exit code."""
    if as_json:
        print_json(done)
    else:
        for what, entries in asdict(done).items():
            click.echo(f"{what}: {len(entries)}")
    for one in done.skipped:
        click.echo(
            f"zk-pipeline: {file}, line {one.line}: {one.summary or 'an event'} was skipped: {one.reason}", err=True
        )
    return int(not done.is_complete)


def note(message: str) -> None:
    """Print progress or a hint on stderr if that is a terminal; nothing in a pipe."""
    if sys.stderr.isatty():
        _to_stderr(message)


def warn(message: str) -> None:
    """Print a diagnostic on stderr."""
    _to_stderr(f"zk-pipeline: {message}")


def without_device(error: str | None, name: str) -> str | None:
    """The error of a device without its name, for a table that has it in another column."""
    found = re.match(rf"{re.escape(name)}(?: \((\S+)\))?: ", error or "")
    if error is None or found is None:
        return error
    return (f"{found[1]}: " if found[1] else "") + error[found.end() :]


def _to_stderr(message: str) -> None:
    """Print a line above the progress of `working`, which replaces `sys.stderr`; `err=True` would print into it."""
    click.echo(message, file=sys.stderr)


def exit_code(results: Sequence[RunResult]) -> int:
    """Exit code of Dagster runs, with a diagnostic for each failure: 130 if one was interrupted, 1 if one failed."""
    for result in results:
        if result.failure:
            warn(f"run {result.run_id}: {'interrupted' if result.is_interrupted else result.failure}")
    if any(result.is_interrupted for result in results):
        return 130
    return int(any(result.failure for result in results))


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show `what` with the elapsed time on stderr while the block runs, if that is a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415 (only on a terminal, in commands that take longer)
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.table import Column  # noqa: PLC0415

    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1))
    columns = SpinnerColumn(), TimeElapsedColumn(), text
    with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as progress:
        progress.add_task(what, total=None)
        yield


@contextmanager
def progress_of(logger_name: str) -> Iterator[None]:
    """Print the INFO messages of a logger as notes; its level is restored afterwards."""

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(record.getMessage())

    logger, handler = logging.getLogger(logger_name), Notes(logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def is_colored(stream: TextIO) -> bool:
    """True if output to the stream is colored: on a terminal without NO_COLOR, or anywhere with FORCE_COLOR.

    Of the conventions of no-color.org, force-color.org and bixense.com/clicolors, NO_COLOR is the strongest.
    """
    environ = os.environ
    if environ.get("NO_COLOR") or environ.get("CLICOLOR") == "0":
        return False
    if environ.get("FORCE_COLOR") or environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"


def _width() -> int | None:
    """Width of the terminal; None in a pipe and with --wide."""
    is_wide = click.get_current_context().meta.get(_WIDE, False)
    return None if is_wide or not sys.stdout.isatty() else shutil.get_terminal_size().columns


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(line, color=is_colored(sys.stdout))


def cell(value: object) -> str:
    """A value as text: instants in ZK_PIPELINE_TIMEZONE, wall-clock times without a zone."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, datetime):
        return either(value, click.get_current_context().meta.get(ZONE, "UTC"))
    return str(value)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value)
