"""Reconciliation of stored punches with the counts of pushing terminals: rows of `push_checks`, and their commands.

All progress is in the store: after a restart the next call continues. `check_plan` decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Literal
from zoneinfo import ZoneInfo

from zk_pipeline.data_libraries import pa
from zk_pipeline.devices.push.families import Family
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.push.check_plan import (
    Answer,
    Begun,
    CheckedTerminal,
    PushCheck,
    Span,
    Verdict,
    due_checks,
    explained_surplus,
    is_due,
    judge,
)
from zk_pipeline.store.push.uploads import RESENT
from zk_pipeline.store.terminals.ingest import NAMES_OF_TERMINALS
from zk_pipeline.time_text import in_zone

REQUESTED_BY = "reconciliation"
IN_CONTACT = timedelta(minutes=15)
BACKLOG_LINES, BACKLOG_PAUSE = 20, timedelta(minutes=10)  # of one upload; since the last such upload
RESENT_TABLES = ["ATTLOG", "TABLEDATA:transaction"]
MAX_BEGUN = 2_000  # checks begun by one call


@dataclass(frozen=True)
class Step:
    """A change of one check. `before`: its row, None for a new one; `after`: without the id of its new command."""

    device: str
    before: PushCheck | None
    after: PushCheck
    needs_command: bool = False
    starts_on: date | None = None  # first date of the command, if retention has deleted earlier punches
    has_span: bool = True  # of the command: family C has no spans


@dataclass(frozen=True, kw_only=True)
class _Terminal:
    serial_number: str
    device: str
    family: Family
    zone: str
    adopted_at: datetime
    is_in_contact: bool
    record_count: int | None
    is_uploading: bool
    checks: list[PushCheck] = field(default_factory=list)


@dataclass(frozen=True)
class _Ended:
    """An open check whose command has ended, with the span of that command."""

    terminal: _Terminal
    check: PushCheck
    state: Literal["done", "failed", "expired"]
    return_code: int | None
    result: str | None
    finished_at: datetime
    asked: Span


def plan_steps(connection: Connection, now: datetime, *, begin: bool) -> list[Step]:
    """Changes of checks at `now`; `begin`: also begin checks that are due, otherwise only continue open ones."""
    if not begin and not _has_ended(connection):
        return []
    terminals = _terminals(connection, now)
    begins = _first_kept_date(connection)
    steps = _continued(connection, terminals, begins, now)
    if begin:
        steps += _begun(
            connection, terminals, begins, now, {(one.after.serial_number, one.after.span) for one in steps}
        )
    return steps


def apply_steps(connection: Connection, steps: Sequence[Step], now: datetime) -> None:
    """Store the changes and queue their commands, in the caller's transaction."""
    rows = _with_commands(connection, steps, now)
    replaced = [one.before for one in steps if one.before is not None] + rows
    connection.register("replaced_checks", pa.Table.from_pylist([vars(one) for one in replaced], _CHECKS()))
    connection.execute(
        """
        DELETE FROM push_checks USING replaced_checks AS former
        WHERE push_checks.serial_number = former.serial_number AND push_checks.first_date = former.first_date
          AND push_checks.last_date = former.last_date
        """
    )
    connection.unregister("replaced_checks")
    connection.register("new_checks", pa.Table.from_pylist([vars(one) for one in rows], _CHECKS()))
    connection.execute("INSERT INTO push_checks BY NAME FROM new_checks")
    connection.unregister("new_checks")


def read_checks(connection: Connection, serial: str, limit: int) -> list[PushCheck]:
    """The checks of a terminal, those that changed last first."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM push_checks WHERE serial_number = ? ORDER BY checked_at DESC, first_date DESC LIMIT ?",  # noqa: S608
        [serial, limit],
    ).fetchall()
    return [_check(row) for row in rows]


def _has_ended(connection: Connection) -> bool:
    row = connection.execute(
        """
        SELECT 1 FROM push_checks AS checked JOIN push_commands AS command ON command.id = checked.command_id
        WHERE checked.state IN ('asked', 'queried') AND command.state IN ('done', 'failed', 'expired') LIMIT 1
        """
    ).fetchone()
    return row is not None


def _terminals(connection: Connection, now: datetime) -> dict[str, _Terminal]:
    """Adopted terminals of enabled devices, with the checks that a decision may need."""
    rows = connection.execute(
        """
        SELECT terminal.serial_number, device.name, coalesce(terminal.family, 'A'), device.timezone,
               terminal.adopted_at, terminal.last_seen_at > $contact, terminal.record_count,
               terminal.serial_number IN (
                   SELECT serial FROM push_batches
                   WHERE received_at > $pause AND lines >= $backlog AND stamp IS DISTINCT FROM $resent
               )
        FROM push_terminals AS terminal JOIN devices AS device ON device.name = terminal.device
        WHERE device.enabled AND device.removed_at IS NULL
        """,
        {
            "contact": now - IN_CONTACT,
            "pause": now - BACKLOG_PAUSE,
            "backlog": BACKLOG_LINES,
            "resent": RESENT,
        },
    ).fetchall()
    names = (
        "serial_number", "device", "family", "zone", "adopted_at", "is_in_contact", "record_count", "is_uploading",
    )  # fmt: skip
    found = {row[0]: _Terminal(**dict(zip(names, row, strict=True))) for row in rows}
    checks = connection.execute(
        f"""
        SELECT {_FIELDS} FROM push_checks
        WHERE first_date < last_date OR last_date >= ? OR state IN ('asked', 'queried')
           OR stored_punches < terminal_punches
        """,  # noqa: S608 (constant names)
        [(now - timedelta(days=10)).date()],
    ).fetchall()
    for one in map(_check, checks):
        if one.serial_number in found:
            found[one.serial_number].checks.append(one)
    return found


def _first_kept_date(connection: Connection) -> date:
    """First date of which retention has deleted no punch, whatever the time at which its work date begins."""
    row = connection.execute("SELECT max(work_date) FROM work_dates WHERE raw_purged_at IS NOT NULL").fetchone()
    return date.min if row is None or row[0] is None else row[0] + timedelta(days=2)


def _continued(connection: Connection, terminals: Mapping[str, _Terminal], begins: date, now: datetime) -> list[Step]:
    ended = _ended(connection, terminals)
    stored = _stored(connection, {(one.terminal.device, one.terminal.family == "C", one.asked) for one in ended})
    resent = _resent_lines(connection, [one for one in ended if one.check.state == "queried"])
    querying = {
        one.serial_number for terminal in terminals.values() for one in terminal.checks if one.state == "queried"
    }
    steps: list[Step] = []
    for one in ended:
        serial, terminal = one.check.serial_number, one.terminal
        answer = Answer(
            one.state,
            one.return_code,
            one.finished_at,
            count=int(one.result) if one.result is not None and one.result.isdecimal() else None,
            stored=stored.get((terminal.device, one.asked), 0),
            resent=resent.get((serial, one.check.span), 0),
            explained=explained_surplus(terminal.checks, one.check.span),
            may_query=serial not in querying and not terminal.is_uploading,
        )
        verdict = judge(one.check, answer, terminal.family, now)
        if verdict is None:
            continue
        if verdict.state == "queried":
            querying.add(serial)
        steps.append(_judged(one, verdict, begins, now))
        steps += _halves(terminal, verdict, begins, now)
    return steps


def _ended(connection: Connection, terminals: Mapping[str, _Terminal]) -> list[_Ended]:
    open_checks = {one.command_id: one for terminal in terminals.values() for one in terminal.checks if one.is_open}
    rows = connection.execute(
        """
        SELECT id, state, return_code, result, finished_at, start_local::DATE, end_local::DATE FROM push_commands
        WHERE state IN ('done', 'failed', 'expired') AND list_contains($ids, id) ORDER BY id
        """,
        {"ids": list(open_checks)},
    ).fetchall()
    found = []
    for command_id, state, return_code, result, finished_at, first, last in rows:
        check = open_checks[command_id]
        asked = Span(check.first_date, _END_OF_LOG) if first is None else Span(first, last)
        terminal = terminals[check.serial_number]
        found.append(_Ended(terminal, check, state, return_code, result, finished_at, asked))
    return found


def _judged(ended: _Ended, verdict: Verdict, begins: date, now: datetime) -> Step:
    after = replace(
        ended.check,
        state=verdict.state,
        terminal_punches=verdict.terminal_punches,
        stored_punches=verdict.stored_punches,
        resent_punches=verdict.resent_punches,
        command_id=None,
        checked_at=now,
    )
    is_queried = verdict.state == "queried"
    return Step(ended.terminal.device, ended.check, after, is_queried, begins, ended.terminal.family != "C")


def _halves(terminal: _Terminal, verdict: Verdict, begins: date, now: datetime) -> list[Step]:
    known = {one.span: one for one in terminal.checks}
    today = in_zone(now, terminal.zone).date()
    checked = _checked(terminal, begins, 0)
    return [
        _asked(terminal, Begun(span, "asked", known.get(span)), begins, now)
        for span in verdict.spans
        if span.last >= begins and is_due(known.get(span), checked, today)
    ]


def _begun(
    connection: Connection,
    terminals: Mapping[str, _Terminal],
    begins: date,
    now: datetime,
    changed: Collection[tuple[str, Span]],
) -> list[Step]:
    ready = [one for one in terminals.values() if one.is_in_contact and not one.is_uploading]
    stored = _stored_in_total(connection, [one.device for one in ready if one.record_count is not None])
    steps: list[Step] = []
    for terminal in ready:
        for begun in due_checks(_checked(terminal, begins, stored.get(terminal.device, 0)), now):
            if (terminal.serial_number, begun.span) not in changed and len(steps) < MAX_BEGUN:
                steps.append(_asked(terminal, begun, begins, now))
    return steps


def _checked(terminal: _Terminal, begins: date, stored: int) -> CheckedTerminal:
    return CheckedTerminal(
        serial_number=terminal.serial_number,
        family=terminal.family,
        zone=terminal.zone,
        adopted_at=terminal.adopted_at,
        begins=begins,
        record_count=terminal.record_count,
        stored=stored,
        checks=terminal.checks,
    )


def _asked(terminal: _Terminal, begun: Begun, begins: date, now: datetime) -> Step:
    former = begun.former
    row = PushCheck(
        serial_number=terminal.serial_number,
        first_date=begun.span.first,
        last_date=begun.span.last,
        state=begun.state,
        terminal_punches=former.terminal_punches if former else None,
        stored_punches=former.stored_punches if former else None,
        resent_punches=former.resent_punches if former else None,
        checked_at=now,
    )
    return Step(terminal.device, former, row, True, begins, terminal.family != "C")


def _stored(connection: Connection, wanted: Iterable[tuple[str, bool, Span]]) -> dict[tuple[str, Span], int]:
    """Punches of each device and span in the store; with True, also its events of access control."""
    devices: dict[tuple[Span, bool], list[str]] = {}
    for device, has_events, span in wanted:
        devices.setdefault((span, has_events), []).append(device)
    found: dict[tuple[str, Span], int] = {}
    for (span, has_events), names in devices.items():
        values = {"names": names, "start": _begin(span.first), "end": _begin(span.last) + timedelta(days=1)}
        rows = connection.execute(
            f"""
            SELECT terminal.device, count(*) FROM raw_punches AS punch
            JOIN ({NAMES_OF_TERMINALS}) AS terminal ON terminal.stored_as = punch.device
            WHERE punch.punched_at_local >= $start AND punch.punched_at_local < $end
              AND list_contains($names, terminal.device)
            GROUP BY 1
            """,  # noqa: S608 (constant SQL)
            values,
        ).fetchall()
        if has_events:
            rows += connection.execute(
                """
                SELECT device, count(*) FROM device_events
                WHERE NOT is_operation AND occurred_at_local >= $start AND occurred_at_local < $end
                  AND list_contains($names, device)
                GROUP BY 1
                """,
                values,
            ).fetchall()
        for device, count in rows:
            found[device, span] = found.get((device, span), 0) + count
    return found


def _stored_in_total(connection: Connection, devices: Sequence[str]) -> dict[str, int]:
    """Punches and quarantined lines of each device in the store."""
    if not devices:
        return {}
    rows = connection.execute(
        f"""
        SELECT terminal.device, count(*) FROM (
            SELECT device FROM raw_punches
            UNION ALL SELECT device FROM quarantined_records WHERE released_at IS NULL
        ) AS stored JOIN ({NAMES_OF_TERMINALS}) AS terminal ON terminal.stored_as = stored.device
        WHERE list_contains(?, terminal.device) GROUP BY 1
        """,  # noqa: S608 (constant SQL)
        [list(devices)],
    ).fetchall()
    return dict(rows)


def _resent_lines(connection: Connection, queried: Sequence[_Ended]) -> dict[tuple[str, Span], int]:
    """Lines that each terminal has sent again since its query. Each has one query at a time.

    Such an upload has the stamp 0, by the documents. The push client in firmware of 2013 sends its current stamp: then
    it is known by its last punch, which is not after the queried dates.
    """
    if not queried:
        return {}
    checks = [vars(one.check) | {"ends_at": _instant(one.check.last_date + _DAY, one.terminal.zone)} for one in queried]
    connection.register("queried_checks", pa.Table.from_pylist(checks, _QUERIED()))
    rows = connection.execute(
        """
        SELECT queried.serial_number, queried.first_date, queried.last_date, sum(batch.lines)::BIGINT
        FROM queried_checks AS queried
        JOIN push_batches AS batch ON batch.serial = queried.serial_number AND batch.received_at >= queried.checked_at
        WHERE list_contains($tables, batch.table_name)
          AND (batch.stamp = $resent
               OR batch.received_at - to_microseconds(CAST(1e6 * batch.lag_seconds AS BIGINT)) < queried.ends_at)
        GROUP BY ALL
        """,
        {"resent": RESENT, "tables": RESENT_TABLES},
    ).fetchall()
    connection.unregister("queried_checks")
    return {(serial, Span(first, last)): lines for serial, first, last, lines in rows}


def _with_commands(connection: Connection, steps: Sequence[Step], now: datetime) -> list[PushCheck]:
    """The rows after the steps; queues their commands by one statement."""
    newest = connection.execute("SELECT coalesce(max(id), 0) FROM push_commands").fetchone()
    assert newest is not None
    rows, commands, command_id = [], [], newest[0]
    for one in steps:
        if not one.needs_command:
            rows.append(one.after)
            continue
        command_id += 1
        rows.append(replace(one.after, command_id=command_id))
        first = max(one.after.first_date, one.starts_on or date.min)
        commands.append(
            {
                "id": command_id,
                "serial_number": one.after.serial_number,
                "kind": "count_punches" if one.after.state == "asked" else "query_punches",
                "start_local": _begin(first) if one.has_span else None,
                "end_local": _begin(one.after.last_date) + _TO_LAST_SECOND if one.has_span else None,
                "requested_by": REQUESTED_BY,
                "requested_at": now,
                "state": "queued",
                "times_sent": 0,
            }
        )
    if commands:
        connection.register("new_commands", pa.Table.from_pylist(commands, _COMMANDS()))
        connection.execute("INSERT INTO push_commands BY NAME FROM new_commands")
        connection.unregister("new_commands")
    return rows


def _begin(day: date) -> datetime:
    return datetime.combine(day, time())


def _instant(day: date, zone: str) -> datetime:
    """The begin of a date in an IANA zone."""
    return _begin(day).replace(tzinfo=ZoneInfo(zone))


def _check(row: tuple[object, ...]) -> PushCheck:
    return PushCheck(**dict(zip(PushCheck.__dataclass_fields__, row, strict=True)))  # type: ignore[arg-type]


_END_OF_LOG = date(9000, 1, 1)  # of a command without a span
_DAY = timedelta(days=1)
_TO_LAST_SECOND = timedelta(days=1, seconds=-1)
_FIELDS = ", ".join(PushCheck.__dataclass_fields__)
_CHECKS = cache(
    lambda: pa.schema(
        {
            "serial_number": pa.string(),
            "first_date": pa.date32(),
            "last_date": pa.date32(),
            "state": pa.string(),
            "terminal_punches": pa.int32(),
            "stored_punches": pa.int32(),
            "resent_punches": pa.int32(),
            "command_id": pa.int64(),
            "checked_at": pa.timestamp("us", "UTC"),
        }
    )
)
_QUERIED = cache(lambda: _CHECKS().append(pa.field("ends_at", pa.timestamp("us", "UTC"))))
_COMMANDS = cache(
    lambda: pa.schema(
        {
            "id": pa.int64(),
            "serial_number": pa.string(),
            "kind": pa.string(),
            "start_local": pa.timestamp("us"),
            "end_local": pa.timestamp("us"),
            "requested_by": pa.string(),
            "requested_at": pa.timestamp("us", "UTC"),
            "state": pa.string(),
            "times_sent": pa.int32(),
        }
    )
)
