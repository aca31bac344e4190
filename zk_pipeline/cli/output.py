"""Output of commands: tables or JSON on stdout, notes and warnings on stderr; exit codes of Dagster runs."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.processes import in_main_thread
from zk_pipeline.time_text import either

if TYPE_CHECKING:
    from pathlib import Path

    from zk_pipeline.operations.files.holiday_file import HolidayImport
    from zk_pipeline.operations.files.leave_file import LeaveImport
    from zk_pipeline.runs.launcher import RunResult

ZONE = "zk_pipeline.timezone"  # key of ZK_PIPELINE_TIMEZONE in click's context

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
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


def print_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Print a table: one line per row, full width in a pipe."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row.get(column))) for column in columns))
    _print(table)


def print_rows(rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, as_json: bool, none: str) -> None:
    """Print a list: all fields as JSON, `columns` as a table, or the line `none` if it is empty."""
    if as_json:
        print_json(rows)
    elif rows:
        print_table(rows, columns)
    else:
        click.echo(none)


def print_pairs(values: Mapping[str, object]) -> None:
    """Print names and values, one pair per line."""
    table = Table.grid(padding=(0, 2))
    for name, value in values.items():
        table.add_row(Text(name), Text(cell(value)))
    _print(table)


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
        click.echo(message, err=True)


def warn(message: str) -> None:
    """Print a diagnostic on stderr."""
    click.echo(f"zk-pipeline: {message}", err=True)


def exit_code(results: Sequence[RunResult]) -> int:
    """Exit code of Dagster runs, with a diagnostic for each failure: 130 if one was interrupted, 1 if one failed."""
    for result in results:
        if result.failure:
            warn(f"run {result.run_id}: {'interrupted' if result.is_interrupted else result.failure}")
    if any(result.is_interrupted for result in results):
        return 130
    return int(any(result.failure for result in results))


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


def _print(table: Table) -> None:
    if sys.stdout.isatty():
        Console(file=sys.stdout, highlight=False).print(table)
        return
    wide = Console(file=io.StringIO(), width=10_000, highlight=False, color_system=None)
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def cell(value: object) -> str:
    """A value as text: instants in ZK_PIPELINE_TIMEZONE, wall-clock times without a zone."""
    if value is None:
        return "–"
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
