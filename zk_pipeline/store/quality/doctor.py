"""Doctor: findings about the consistency of stored rows, each with a remedy.

Rules over days and punches are checked for a bounded range of dates at a time, each in a short read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from zk_pipeline.attendance.shifts import minutes
from zk_pipeline.counted import counted
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.locks.sync_lock import SyncAlreadyRunning
from zk_pipeline.store.maintenance.compaction import space_of
from zk_pipeline.store.maintenance.space_reclaim import files_of
from zk_pipeline.store.quality.integrity import duplicate_keys, inconsistent_dates, schema_faults
from zk_pipeline.store.quality.integrity_rules import PER_SPAN, REPAIR, REPORT, WHOLE, Rule, Severity
from zk_pipeline.store.quality.repairs import INSTANTS, wrong_instants
from zk_pipeline.store.schema.migrations_runner import tables_as_shipped
from zk_pipeline.store.terminals.clock_corrections import suggested
from zk_pipeline.store.terminals.namesakes import Names, candidates, namesakes
from zk_pipeline.store.work_dates.assignment import assign_work_dates, stored_workday_start
from zk_pipeline.time_text import wall_clock

_ROWS_AT_ONCE = 200_000  # some 0.3 s
_MANY_FILES = 2_000  # a query over all rows opens each


@dataclass(frozen=True)
class Finding:
    """`error`: a defect; `warning`: a future defect, or one that an operator should check; `note`: information."""

    severity: Severity
    name: str
    what: str
    advice: str


@dataclass(frozen=True)
class Doctor:
    database: Database

    def examine(self, now: datetime) -> Iterator[Finding]:
        """Yield findings. Raises StoreBusy, StoreUnusable."""
        shipped = tables_as_shipped()
        with self.database.read("doctor: whole tables") as connection:
            faults = schema_faults(connection, shipped)
            if faults:  # the following queries would fail
                yield Finding("error", "tables", "; ".join(faults), "restore a backup: `zk-pipeline restore FILE`")
                return
            for message in duplicate_keys(connection):
                yield Finding("error", "doubled-keys", message, REPORT)
            for rule in WHOLE:
                yield from _broken(rule, [_ask(connection, rule, {})])
            if isinstance(self.database.where, Path):
                yield from _space(connection)
            else:
                yield from _many_files(connection)
            yield from _late(connection, now)
            yield from _correctable(connection)
            named = candidates(connection)
            offset = minutes(stored_workday_start(connection))
            spans = _spans(connection, offset)
        yield from _namesakes(namesakes(named))
        inconsistent: dict[date, str] = {}
        misplaced, examples = 0, list[str]()
        counts: dict[str, list[tuple[int, str | None]]] = {rule.name: [] for rule in PER_SPAN}
        for first, last in spans:
            begin = datetime.combine(first, datetime.min.time()) + timedelta(minutes=offset)
            end = datetime.combine(last, datetime.min.time()) + timedelta(days=1, minutes=offset)
            values: dict[str, object] = {"first": first, "last": last, "begin": begin, "end": end}
            with self.database.read("doctor: a span of dates", f"{first} to {last}") as connection:
                inconsistent |= inconsistent_dates(
                    connection, [first + timedelta(days=n) for n in range((last - first).days + 1)]
                )
                for rule in PER_SPAN:
                    counts[rule.name].append(_ask(connection, rule, values))
                instants = connection.execute(INSTANTS, {"begin": begin, "end": end}).to_arrow_table()
            wrong = wrong_instants(instants.to_pandas())
            misplaced += int(wrong["punches"].sum())
            examples += [f"{one.device} {wall_clock(one.punched_at_local)}" for one in wrong.head(1).itertuples()]  # type: ignore[arg-type]
        if misplaced:
            yield Finding(
                "error", "punches-instant",
                "punches are stored at instants that differ from their wall clock in the zone of their device: "
                f"{misplaced:,} (such as {examples[0]})",
                REPAIR,
            )  # fmt: skip
        yield from _inconsistent(inconsistent)
        for rule in PER_SPAN:
            yield from _broken(rule, counts[rule.name])
        yield from self.left_sending()

    def left_sending(self) -> Iterator[Finding]:
        """Deliveries claimed by a sync that is no longer alive: the sync lock is free.

        The lock is only tested, with the store at hand: held during a wait for the store, it would make a sync fail.
        """
        with self.database.read("doctor: claimed deliveries") as connection:
            row = connection.execute("SELECT count(*) FROM crm_deliveries WHERE state = 'sending'").fetchone()
            if not row or not row[0]:
                return
            try:
                with self.database.engine.acquire_sync_lock():
                    is_left_behind = True
            except SyncAlreadyRunning:
                is_left_behind = False
        if is_left_behind:
            yield Finding(
                "warning", "left-sending",
                f"a run that died claimed {counted(row[0], 'delivery', 'deliveries')}, which the CRM may have received",
                "the next `zk-pipeline sync` sends them under the same keys",
            )  # fmt: skip


def _ask(connection: Connection, rule: Rule, values: dict[str, object]) -> tuple[int, str | None]:
    used = {name: value for name, value in values.items() if f"${name}" in rule.sql}
    sql = f"WITH placed AS ({_placed(connection)}) {rule.sql}" if "FROM placed" in rule.sql else rule.sql
    row = connection.execute(sql, used).fetchone()
    assert row is not None
    return int(row[0]), row[1]


def _placed(connection: Connection) -> str:
    """Query of valid punches with their work date."""
    placing = assign_work_dates(connection)
    return (
        f"SELECT {placing.work_date} AS day, punch.seq, punch.punched_at_local "  # noqa: S608 (constant SQL)
        f"FROM {placing.punches} AS punch {placing.join}"
    )


def _broken(rule: Rule, counts: list[tuple[int, str | None]]) -> Iterator[Finding]:
    total = sum(count for count, _ in counts)
    if total:
        example = next(example for count, example in counts if count)
        yield Finding(rule.severity, rule.name, f"{rule.what}: {total:,} (such as {example})", rule.advice)


def _inconsistent(dates: dict[date, str]) -> Iterator[Finding]:
    if dates:
        day, why = next(iter(dates.items()))
        yield Finding(
            "error", "inconsistent-dates",
            f"rows of {counted(len(dates), 'work date')} break a rule (such as {day}: {why})",
            "`zk-pipeline sync` and the hourly check keep them from the CRM; after that "
            "`zk-pipeline process --date D` processes them again",
        )  # fmt: skip


def _space(connection: Connection) -> Iterator[Finding]:
    space = space_of(connection)
    if space.is_worth_it and space.total > 64 << 20:
        yield Finding(
            "note", "free-blocks",
            f"{space.free / 1e6:,.0f} of the store's {space.total / 1e6:,.0f} MB are free blocks",
            "`zk-pipeline cleanup`, or the job of the next night, reclaims them",
        )  # fmt: skip


def _many_files(connection: Connection) -> Iterator[Finding]:
    held = files_of(connection)
    if held.files > _MANY_FILES:
        yield Finding(
            "note", "many-files", f"the store's rows are in {held.files:,} files, in {held.snapshots:,} snapshots",
            "`zk-pipeline cleanup`, or the job of the next night, merges them",
        )  # fmt: skip


def _correctable(connection: Connection) -> Iterator[Finding]:
    """Punches with a suspect clock, and the correction by the measured drift."""
    for one in suggested(connection):
        yield Finding(
            "warning", "clock-correction",
            f"{counted(one.punches, 'punch', 'punches')} of {one.device} came while its clock was measured "
            f"{-one.add_seconds:+,} s off",
            f"if all of them were recorded by it: `{one.command}`",
        )  # fmt: skip


def _namesakes(found: Names) -> Iterator[Finding]:
    if found:
        user_id, names = found[0]
        yield Finding(
            "warning", "namesakes",
            f"user ids have clearly different names at different sites, so the CRM gets one record per site: "
            f"{len(found):,} (such as {user_id}: {', '.join(names)})",
            "give one employee another id, or correct the name on the terminal",
        )  # fmt: skip


def _late(connection: Connection, now: datetime) -> Iterator[Finding]:
    row = connection.execute(
        """
        SELECT count(*), min(work_date) FROM work_dates
        WHERE raw_purged_at IS NULL AND latest_punch_seq > processed_seq AND work_date < $today::DATE - 2
        """,
        {"today": now.date()},
    ).fetchone()
    if row and row[0]:
        yield Finding(
            "warning", "stale-dates",
            f"past work dates have punches newer than their rows: {row[0]:,}, from {row[1]} on",
            "`zk-pipeline process`; `zk-pipeline up` does it every hour",
        )  # fmt: skip


def _spans(connection: Connection, offset: int) -> list[tuple[date, date]]:
    """First and last dates of ranges with a bounded number of punches and revisions each; together they cover all rows.

    `offset`: minutes after midnight at which work dates begin.
    """
    counted = connection.execute(
        """
        SELECT day, sum(held) FROM (
            SELECT CAST(punched_at_local - to_minutes($offset) AS DATE) AS day, count(*) AS held
            FROM (
                SELECT punched_at_local FROM raw_punches UNION ALL SELECT punched_at_local FROM manual_punches
            ) GROUP BY 1
            UNION ALL SELECT work_date, count(*) FROM daily_attendance_revisions GROUP BY 1
            UNION ALL SELECT work_date, count(*) FROM crm_deliveries GROUP BY 1
            UNION ALL SELECT work_date, count(*) FROM daily_attendance GROUP BY 1
        ) GROUP BY 1 ORDER BY 1
        """,
        {"offset": offset},
    ).fetchall()
    spans: list[tuple[date, date]] = []
    rows = 0
    for day, held in counted:
        if spans and rows + held <= _ROWS_AT_ONCE:
            spans[-1], rows = (spans[-1][0], day), rows + held
        else:
            spans.append((day, day))
            rows = held
    return spans
