"""Benchmark of processing: `python -m benchmarks.days` from a checkout. Figures: days.md.

Each method is measured in its own process, on a copy of the same store. This module has the timers and tables.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from datetime import time as clock_time
from multiprocessing.connection import Connection
from pathlib import Path

import click
import pandas as pd

from benchmarks import process_in_python, process_in_sql
from benchmarks.synthetic_history import SITES, Company, assign_all_users, punched
from zk_pipeline.attendance.evaluate import evaluate_days
from zk_pipeline.attendance.frames import SUMMARIES
from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shifts import Assignment, Shift, Target
from zk_pipeline.devices.protocol.events import LivePunch
from zk_pipeline.operations.process import process_dates
from zk_pipeline.store.shifts.shift_plan import ShiftPlan
from zk_pipeline.store.store import Store

YEAR = Company(employees=5000, first=date(2025, 1, 1), days=365)
SPREAD = YEAR.dates[5::10]  # slow methods are measured on 36 dates, the slowest for some users only
ORM_USERS, GROUPED_USERS = 60, 400
TIMES = 3  # repetitions for one date; the minimum is printed
RULES = WorkRules()
_NOTHING = pd.DataFrame(
    {name: pd.Series(dtype=str(one.dtype)) for name, one in SUMMARIES.columns.items() if one.required}
)


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds, peak memory of the process in MB, and number of rows."""

    wall: float
    cpu: float
    peak: int
    rows: int

    def scaled(self, rows: int) -> Cost:
        factor = rows / self.rows
        return Cost(self.wall * factor, self.cpu * factor, self.peak, rows)


Work = Callable[[Path], Callable[[], int]]  # prepares the store at a path and returns the measured callable


def measured(work: Work, store: Path) -> Cost:
    """Cost of the callable that `work` returns, in a new process and on a copy of the store."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=store.parent) as folder:
        copy = Path(shutil.copyfile(store, Path(folder) / "attendance.duckdb"))
        here, there = context.Pipe()
        process = context.Process(target=_measure, args=(there, work, copy))
        process.start()
        there.close()
        cost: Cost = here.recv()
        process.join()
    return cost


def _measure(pipe: Connection, work: Work, store: Path) -> None:
    run = work(store)
    Store.at(store).punches.total()  # imports everything first, with the modules that pandera imports at first use
    evaluate_days(_NOTHING, RULES, datetime.now(UTC))
    wall, cpu = time.perf_counter(), time.process_time()
    rows = run()
    pipe.send(Cost(time.perf_counter() - wall, time.process_time() - cpu, _peak_mb(), rows))


def with_process_dates(path: Path) -> Callable[[], int]:
    store = Store.at(path)
    return lambda: sum(one.rows for one in process_dates(store, YEAR.dates, RULES, run_id="benchmark").written)


def with_shifts(path: Path) -> Callable[[], int]:
    store = Store.at(path)
    assign_all_users(store, YEAR)
    return with_process_dates(path)


def with_all_rules(path: Path) -> Callable[[], int]:
    """Breaks, overtime, night hours, rounding and thresholds for every user."""
    assign_to_sites(Store.at(path))
    return with_process_dates(path)


def by_sql_with_all_rules(path: Path) -> Callable[[], int]:
    assign_to_sites(Store.at(path))
    return by_sql(path, process_in_sql.OFFICE)


def assign_to_sites(store: Store) -> None:
    office = process_in_sql.OFFICE
    assignments = tuple(Assignment(shift=office.name, target=Target(site=site)) for site, *_ in SITES)
    store.apply_shifts(ShiftPlan(shifts=(office,), assignments=assignments))


def assigning(path: Path) -> Callable[[], int]:
    """Apply a plan of shifts for all users to a store with many punches; nearly all of it locks the store."""
    store = Store.at(path)

    def run() -> int:
        assign_all_users(store, YEAR)
        return len(store.days.stale(first=date.min, last=date.max))

    return run


def through_dagster(path: Path) -> Callable[[], int]:
    """One run of the job in its own home, with the metadata of each date for the UI."""
    home = path.parent
    (home / "data").mkdir()
    path.rename(home / "data" / path.name)
    os.environ.update(ZK_PIPELINE_HOME=str(home), ZK_PIPELINE_HISTORY_START=YEAR.first.isoformat())
    from zk_pipeline.config.home import export_home  # noqa: PLC0415
    from zk_pipeline.config.settings import load_settings  # noqa: PLC0415
    from zk_pipeline.defs.partitions import DateRange  # noqa: PLC0415
    from zk_pipeline.runs.launcher import open_launcher  # noqa: PLC0415 (Dagster, only here)

    settings = load_settings()
    export_home(settings.home, os.environ)

    def run() -> int:
        with open_launcher(settings) as launcher:
            result = launcher.process(DateRange(YEAR.dates[0], YEAR.dates[-1]))
        assert result.success, result.failure
        return sum(int(made["dagster/partition_row_count"]) for made in result.partitions.values())

    return run


def by_sql(path: Path, shift: Shift | None = None) -> Callable[[], int]:
    store = Store.at(path)

    def run() -> int:
        process_in_sql.make_days(store, YEAR.dates, RULES, [zone for _, zone, _ in SITES], shift)
        return _days(store)

    return run


def by_orm(path: Path) -> Callable[[], int]:
    punches = process_in_python.punches_of(Store.at(path), SPREAD)
    users = _some(punches, ORM_USERS)
    session = process_in_python.orm_store(path.with_suffix(".sqlite"), punches)
    return lambda: process_in_python.orm_loop(session, users, SPREAD)


def by_plain_loop(path: Path) -> Callable[[], int]:
    store = Store.at(path)
    return lambda: len(list(process_in_python.plain_loop(process_in_python.punches_of(store, SPREAD))))


def by_groups(path: Path) -> Callable[[], int]:
    punches = process_in_python.punches_of(Store.at(path), SPREAD)
    users = set(_some(punches, GROUPED_USERS))
    selected = [punch for punch in punches if punch.user_id in users]
    return lambda: len(process_in_python.grouped(selected))


def _some(punches: Sequence[process_in_python.Punch], many: int) -> list[str]:
    """The first users of all sites."""
    return sorted({punch.user_id for punch in punches})[:many]


def one_date(path: Path) -> Callable[[], int]:
    """A run of one date without Dagster itself, in a store that has applied the settings before."""
    store, day = Store.at(path), YEAR.first
    store.punches.apply_settings(RULES)

    def run() -> int:
        store.punches.apply_settings(RULES)
        done = process_dates(store, [day], RULES, run_id="benchmark")
        store.days.statistics(day, day, workday_starts_at=clock_time(0))
        return sum(one.rows for one in done.written)

    return run


def one_date_with_shifts(path: Path) -> Callable[[], int]:
    assign_all_users(Store.at(path), YEAR)
    return one_date(path)


def one_date_with_all_rules(path: Path) -> Callable[[], int]:
    assign_to_sites(Store.at(path))
    return one_date(path)


def late_punch(path: Path) -> Callable[[], int]:
    """A punch of one of three sites after the date was processed."""
    run = one_date(path)
    run()
    store = Store.at(path)
    punch = LivePunch(
        user_id="E00001",
        punched_at_local=datetime.combine(YEAR.first, clock_time(12, 30)),
        verify_type=1,
        punch_state=0,
        received_at=datetime.now(UTC),
    )
    gate = store.devices.get("Office 0")
    poll = store.punches.begin_live(gate.name)
    store.punches.ingest_live(gate, [punch], poll_id=poll)
    return run


def late_punch_for_all_sites(path: Path) -> Callable[[], int]:
    run = late_punch(path)
    Store.at(path).days.request_all_sites([YEAR.first])
    return run


@click.group(chain=True)
def main() -> None:
    """Measure by name, or `all`."""


@main.command("all")
@click.pass_context
def everything(context: click.Context) -> None:
    """Everything: about four minutes."""
    for command in (check, year, day):
        context.invoke(command)


@main.command()
def check() -> None:
    """Verify on a smaller company that all methods compute the same rows."""
    company = Company(employees=300, first=YEAR.first, days=3)
    with tempfile.TemporaryDirectory() as folder:
        store = punched(Path(folder) / "process_dates.duckdb", company)
        other = Store.at(Path(shutil.copyfile(store.database.path, Path(folder) / "sql.duckdb")))
        process_dates(store, company.dates, RULES, run_id="benchmark")
        process_in_sql.make_days(other, company.dates, RULES, [zone for _, zone, _ in SITES])
        expected = _contents(store)
        punches = process_in_python.punches_of(store, company.dates)
        plain = [
            (d.site, d.user_id, d.work_date, d.clock_in, d.clock_out, d.punch_count, d.codes, d.reason)
            for made in (process_in_python.plain_loop(punches), process_in_python.grouped(punches))
            for d in made
        ]
        if (
            _contents(other) != expected
            or set(plain) != {row[:8] for row in expected}
            or len(plain) != 2 * len(expected)
        ):
            raise click.ClickException("the methods do not compute the same rows")
        _check_all_rules(company, Path(folder))
    click.echo(f"All methods compute the same {len(expected)} rows, keys included.\n")


def _check_all_rules(company: Company, folder: Path) -> None:
    """Verify that `process_dates` and SQL compute the same rows by the shift with all rules."""
    store = punched(folder / "rules.duckdb", company)
    assign_to_sites(store)
    other = Store.at(Path(shutil.copyfile(store.database.path, folder / "rules-sql.duckdb")))
    process_dates(store, company.dates, RULES, run_id="benchmark")
    process_in_sql.make_days(other, company.dates, RULES, [zone for _, zone, _ in SITES], process_in_sql.OFFICE)
    if _contents(other) != _contents(store):
        raise click.ClickException("SQL and process_dates do not compute the same rows by all rules")


@main.command()
def year() -> None:
    """A year of 5,000 employees in one run, compared with other methods."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "year.duckdb"
        total = punched(path, YEAR).punches.total()
        made = measured(with_process_dates, path)
        click.echo(f"{YEAR.days} dates, {YEAR.employees:,} employees, {total:,} punches, {made.rows:,} days\n")
        click.echo(
            "| method | measured on | wall | CPU | peak memory | wall, `process_dates` = 1 |\n" + "|---" * 6 + "|"
        )
        _row("`process_dates`", made, made)
        _row("`process_dates`, a shift for every user", measured(with_shifts, path), made)
        _row("a Dagster run of the range", measured(through_dagster, path), made)
        _row("(a) a query, a row and a commit per user and day (ORM, SQLite)", measured(by_orm, path), made)
        _row("the same loop in memory, nothing written", measured(by_plain_loop, path), made)
        _row("(b) pandas groupby.apply, nothing written", measured(by_groups, path), made)
        _row("(c) DuckDB SQL alone", measured(by_sql, path), made)
        _row("`process_dates`, a shift with all rules", measured(with_all_rules, path), made)
        _row("(d) DuckDB SQL alone, for these rules", measured(by_sql_with_all_rules, path), made)
        click.echo()


@main.command()
def day() -> None:
    """One date of 5,000 employees, with short and long history."""
    click.echo("| punches in the store | shifts | CPU | wall | CPU, minimum = 1 |\n" + "|---" * 5 + "|")
    found: list[tuple[int, str, Cost]] = []
    with tempfile.TemporaryDirectory() as folder:
        for days in (1, 530):
            path = Path(folder) / f"{days}.duckdb"
            total = punched(path, Company(YEAR.employees, YEAR.first, days)).punches.total()
            for shifts, work in (
                ("none", one_date),
                ("a shift for every user", one_date_with_shifts),
                ("a shift with all rules", one_date_with_all_rules),
            ):
                found.append((total, shifts, _best(work, path)))
            assigned = _best(assigning, path)
            late, of_all = _best(late_punch, path), _best(late_punch_for_all_sites, path)
    least = min(cost.cpu for _, _, cost in found)
    for total, shifts, cost in found:
        click.echo(f"| {total:,} | {shifts} | {cost.cpu:.2f} s | {cost.wall:.2f} s | {cost.cpu / least:.2f} |")
    click.echo(
        f"\nA shift for each of {YEAR.employees:,} users, applied to {total:,} punches: "
        f"{assigned.cpu:.2f} s of CPU, {assigned.wall:.2f} s wall; {assigned.rows:,} dates became stale."
    )
    click.echo(
        f"\nA late punch of one of {len(SITES)} sites: {late.cpu:.2f} s of CPU, {late.wall:.2f} s wall; with all sites "
        f"processed again {of_all.cpu:.2f} s and {of_all.wall:.2f} s."
    )


def _best(work: Work, path: Path) -> Cost:
    return min((measured(work, path) for _ in range(TIMES)), key=lambda cost: cost.cpu)


def _row(method: str, cost: Cost, reference: Cost) -> None:
    full = cost.scaled(reference.rows)
    part = "all" if cost.rows == reference.rows else f"{cost.rows:,} days, scaled"
    ratio = f"{full.wall / reference.wall:.2f}"
    click.echo(f"| {method} | {part} | {full.wall:,.1f} s | {full.cpu:,.1f} s | {cost.peak:,} MB | {ratio} |")


def _days(store: Store) -> int:
    with store.database.read("count days") as connection:
        return int(connection.execute("SELECT count(*) FROM daily_attendance").fetchall()[0][0])


def _contents(store: Store) -> Sequence[tuple[object, ...]]:
    with store.database.read("days and keys") as connection:
        return connection.execute(
            """
            SELECT site, user_id, work_date, clock_in, clock_out, punch_count, array_to_string(outlier_codes, ' '),
                   outlier_reason, device, clock_in_local, clock_out_local, timezone, worked_minutes, is_incomplete,
                   is_outlier, late_minutes, early_leave_minutes, attendance_status, judged_by, break_minutes,
                   break_source, overtime_minutes, overtime_class, night_minutes, payload_hash, idempotency_key,
                   device_ip, state
            FROM daily_attendance JOIN crm_deliveries USING (site, user_id, work_date, revision)
            ORDER BY work_date, site, user_id
            """
        ).fetchall()


def _peak_mb() -> int:
    """Peak memory of this process in MB (Linux; getrusage would include the parent)."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


if __name__ == "__main__":
    main()
