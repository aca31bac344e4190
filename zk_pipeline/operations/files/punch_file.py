"""Requests of manual punches from a table (.csv), such as after an outage: all of them, or none."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path, PurePath

from zk_pipeline.errors import RowsRefused, UsageError
from zk_pipeline.store.errors import PunchesRefused
from zk_pipeline.store.store import Store
from zk_pipeline.store.work_dates.manual_punches import ManualPunch, PunchRequest

COLUMNS = ("user_id", "site", "at", "state", "reason")


def parse_wall_clock(text: str) -> datetime:
    """The wall-clock time of `YYYY-MM-DD HH:MM`. Raises UsageError."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%d %H:%M")  # noqa: DTZ007 (wall clock)
    except ValueError:
        raise UsageError(f"{text!r} is not a time such as '2026-11-22 08:30'") from None


def apply_punch_file(store: Store, path: Path, operator: str) -> list[ManualPunch]:
    """Store and approve the manual punches of a file. Raises UsageError naming each bad line, without any change."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    return request_punches(store, path, content, operator, approve=True)


def request_punches(
    store: Store, path: PurePath, content: bytes, operator: str, *, approve: bool = False
) -> list[ManualPunch]:
    """Store the requests of a file's `content`, with `approve` as approved. Raises UsageError as `apply_punch_file`."""
    requests, problems = _read(path, content)
    try:
        if not problems:
            return store.manual_punches.request(list(requests.values()), operator, approve=approve)
    except PunchesRefused as error:
        lines = list(requests)
        problems = {lines[index]: text for index, text in error.problems.items()}
    raise RowsRefused(f"{path}: no punch was stored", problems)


def _read(path: PurePath, content: bytes) -> tuple[dict[int, PunchRequest], dict[int, str]]:
    """Requests and problems, by line."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: cannot be read: {error}") from None
    table = csv.DictReader(text.splitlines(), strict=True)
    requests: dict[int, PunchRequest] = {}
    problems: dict[int, str] = {}
    try:
        if sorted(table.fieldnames or ()) != sorted(COLUMNS):
            raise UsageError(f"{path}: the first line must name the columns {','.join(COLUMNS)}")
        for row in table:
            if None in row or None in row.values():
                problems[table.line_num] = f"it must have {len(COLUMNS)} values"
                continue
            try:
                at = parse_wall_clock(row["at"])
            except UsageError as error:
                problems[table.line_num] = str(error)
                continue
            values = {name: row[name].strip() for name in ("user_id", "site", "state", "reason")}
            requests[table.line_num] = PunchRequest(punched_at_local=at, **values)
    except csv.Error as error:
        raise UsageError(f"{path}, line {table.line_num}: {error}") from None
    if not requests and not problems:
        raise UsageError(f"{path}: the table has no punch")
    return requests, problems
