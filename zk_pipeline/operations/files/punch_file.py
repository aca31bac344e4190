"""Requests of manual punches from a table (.csv, .xlsx), such as after an outage: all of them, or none."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path, PurePath

from zk_pipeline.errors import RowsRefused, UsageError
from zk_pipeline.operations.files.table_reader import read_content, read_table
from zk_pipeline.store.errors import PunchesRefused
from zk_pipeline.store.store import Store
from zk_pipeline.store.work_dates.manual_punches import ManualPunch, PunchRequest

_NO_TIME = datetime(1, 1, 1)  # noqa: DTZ001 (wall clock)
COLUMNS = ("user_id", "site", "at", "state", "reason")


def parse_wall_clock(text: str) -> datetime:
    """The wall-clock time of `YYYY-MM-DD HH:MM`. Raises UsageError."""
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%d %H:%M")  # noqa: DTZ007 (wall clock)
    except ValueError:
        raise UsageError(f"{text!r} is not a time such as '2026-11-22 08:30'") from None


def apply_punch_file(store: Store, path: Path, operator: str, *, history_start: date) -> list[ManualPunch]:
    """Store and approve the manual punches of a file. Raises UsageError naming each bad line, without any change."""
    return request_punches(store, path, read_content(path), operator, approve=True, history_start=history_start)


def request_punches(
    store: Store, path: PurePath, content: bytes, operator: str, *, history_start: date, approve: bool = False
) -> list[ManualPunch]:
    """Store the requests of a file's `content`, with `approve` as approved. Raises UsageError as `apply_punch_file`."""
    table = read_table(path, content, COLUMNS)
    if not table.rows and not table.problems:
        raise UsageError(f"{path}: the table has no punch")
    lines = [*table.rows, *table.problems]
    requests: list[PunchRequest] = []
    refused = {len(table.rows) + index: text for index, text in enumerate(table.problems.values())}
    for index, row in enumerate(table.rows.values()):
        try:
            at = parse_wall_clock(row.pop("at"))
        except UsageError as error:
            at, refused[index] = _NO_TIME, str(error)
        requests.append(PunchRequest(punched_at_local=at, **row))
    names = store.enrolled_users.names_as_ids([one.user_id for one in requests])
    refused |= {index: names[one.user_id] for index, one in enumerate(requests) if one.user_id in names}
    try:
        return store.manual_punches.request(
            requests, operator, approve=approve, history_start=history_start, refused=refused
        )
    except PunchesRefused as error:
        problems = {lines[index]: text for index, text in error.problems.items()}
        raise RowsRefused(f"{path}: no punch was stored", problems) from None
