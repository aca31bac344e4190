"""Leaves: dated reasons of absence of a user, rows of `leaves`. They change no attendance day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, Literal, get_args

from zk_pipeline.data_libraries import pa
from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.errors import LeaveExists, UnknownLeave
from zk_pipeline.store.shifts.holidays import check_sites

DayPart = Literal["morning", "afternoon"]
DAY_PARTS: tuple[DayPart, ...] = get_args(DayPart)
_LONGEST = timedelta(days=3660)
_MAX_KIND_LENGTH = 100
_MAX_TEXT_LENGTH = 500


@dataclass(frozen=True, kw_only=True)
class NewLeave:
    """A leave to enter. Raises UsageError for an invalid field. `uid`: the calendar event that it is imported from."""

    user_id: str
    first_date: date
    last_date: date
    kind: str
    site: str | None = None
    day_part: str | None = None
    note: str = ""
    uid: str | None = None

    def __post_init__(self) -> None:
        if not self.user_id.strip():
            raise UsageError("the user_id is empty")
        if not self.kind.strip():
            raise UsageError("the kind is empty")
        if len(self.kind) > _MAX_KIND_LENGTH or not self.kind.isprintable():
            raise UsageError(f"the kind must be at most {_MAX_KIND_LENGTH} printable characters")
        if max(len(self.user_id), len(self.note)) > _MAX_TEXT_LENGTH:
            raise UsageError(f"user_id and note must be at most {_MAX_TEXT_LENGTH} characters")
        if self.last_date < self.first_date:
            raise UsageError(f"last_date {self.last_date} is before first_date {self.first_date}")
        if self.last_date - self.first_date > _LONGEST:
            raise UsageError(f"it lasts longer than {_LONGEST.days} days: {self.first_date} to {self.last_date}")
        if self.day_part not in (None, *DAY_PARTS):
            raise UsageError(f"day_part {self.day_part!r} is not {' or '.join(DAY_PARTS)}")


@dataclass(frozen=True)
class Leave:
    """A row of `leaves`."""

    id: int
    user_id: str
    site: str | None
    first_date: date
    last_date: date
    day_part: str | None
    kind: str
    note: str
    source: str | None
    source_uid: str | None
    created_by: str
    created_at: datetime
    removed_by: str | None
    removed_at: datetime | None

    @property
    def dates(self) -> Iterable[date]:
        days = (self.last_date - self.first_date).days + 1
        return (self.first_date + timedelta(days=number) for number in range(days))

    @property
    def sentence(self) -> str:
        """The leave with its dates, source and operator."""
        dates = str(self.first_date) if self.first_date == self.last_date else f"{self.first_date} to {self.last_date}"
        kind = self.kind if self.day_part is None else f"{self.kind} ({self.day_part})"
        note = f", {self.note}" if self.note else ""
        source = f" from {self.source}" if self.source else ""
        return f"{kind}, {dates}{note} (entered by {self.created_by}{source})"


@dataclass(frozen=True)
class LeaveFile:
    """Content of an imported file. `is_gone`: whether it no longer has a leave of the import before.

    With `user_id` or `site`, an import removes only leaves of that user or site.
    """

    source: str
    leaves: Sequence[NewLeave]
    is_gone: Callable[[Leave], bool]
    user_id: str | None = None
    site: str | None = None


@dataclass(frozen=True)
class LeavesImported:
    """Changes of an import. `unchanged` are stored already, also from another source or entered manually."""

    added: list[Leave] = field(default_factory=list)
    unchanged: list[Leave] = field(default_factory=list)
    removed: list[Leave] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LeaveFilter:
    """Filter of leaves; None takes all. A leave is in the range from `first` to `last` if one of its dates is."""

    user_id: str | None = None
    site: str | None = None
    first: date | None = None
    last: date | None = None
    removed: bool = False


@dataclass(frozen=True)
class LeaveStore:
    database: Database
    clock: Callable[[], datetime]

    def page(self, wanted: LeaveFilter, *, limit: int | None = None, offset: int = 0) -> tuple[int, list[Leave]]:
        """Count and one page of active leaves (or the removed ones), the latest dates first."""
        values = asdict(wanted)
        page = "" if limit is None else f" LIMIT {int(limit)} OFFSET {int(offset)}"
        with self.database.read("list leaves") as connection:
            count = connection.execute(f"SELECT count(*) FROM leaves WHERE {_WANTED}", values).fetchall()[0][0]  # noqa: S608
            return count, read_leaves(connection, _WANTED, values, order=f"first_date DESC, user_id, id{page}")

    def add(self, new: NewLeave, created_by: str) -> Leave:
        """Enter a leave. Raises UsageError for a site without devices, LeaveExists for one that is stored."""
        with self.database.write("enter a leave") as connection:
            check_sites(connection, [new.site])
            held = next((one for one in _active(connection) if _content(one) == _content(new)), None)
            if held is not None:
                raise LeaveExists(f"{new.user_id} has this leave already: it is leave {held.id}")
            return _insert(connection, [new], None, created_by, self.clock())[0]

    def remove(self, leave_id: int, removed_by: str) -> Leave:
        """Remove a leave; its row stays. Raises UnknownLeave, also for a removed one."""
        with self.database.write("remove a leave", str(leave_id)) as connection:
            found = read_leaves(connection, "id = ? AND removed_at IS NULL", [leave_id])
            if not found:
                raise UnknownLeave(f"there is no leave {leave_id}; `zk-pipeline leave list` shows them")
            return _remove(connection, found, removed_by, self.clock())[0]

    def restore(self, leave_id: int) -> Leave:
        """Undo the removal of a leave. Raises UsageError for one that is not removed, LeaveExists for one that has been
        entered again.
        """
        with self.database.write("restore a leave", str(leave_id)) as connection:
            found = read_leaves(connection, "id = ? AND removed_at IS NOT NULL", [leave_id])
            if not found:
                raise UsageError(f"there is no removed leave {leave_id}")
            held = next((one for one in _active(connection) if _content(one) == _content(found[0])), None)
            if held is not None:
                raise LeaveExists(f"{held.user_id} has this leave already: it is leave {held.id}")
            connection.execute("UPDATE leaves SET removed_by = NULL, removed_at = NULL WHERE id = ?", [leave_id])
            return read_leaves(connection, "id = ?", [leave_id])[0]

    def take_over(self, file: LeaveFile, imported_by: str) -> LeavesImported:
        """Import the leaves of a file in one transaction: add new ones, and remove those of its source that are gone.

        Raises UsageError for a site without devices.
        """
        with self.database.write("import leaves", file.source) as connection:
            check_sites(connection, [one.site for one in file.leaves])
            active = _active(connection)
            by_content = {_content(one): one for one in active if one.source != file.source}
            own = {_content(one): one for one in active if one.source == file.source}
            new: dict[_Content, NewLeave] = {}
            kept: dict[int, Leave] = {}
            for one in file.leaves:
                content = _content(one)
                held = own.get(content, by_content.get(content))
                if held is None or (held.source == file.source and (held.note, held.source_uid) != (one.note, one.uid)):
                    new.setdefault(content, one)
                else:
                    kept[held.id] = held
            replaced = {_content(one) for one in new.values()}
            gone = [
                one
                for one in own.values()
                if one.id not in kept
                and file.user_id in (None, one.user_id)
                and file.site in (None, one.site)
                and (_content(one) in replaced or file.is_gone(one))
            ]
            now = self.clock()
            removed = _remove(connection, gone, imported_by, now)
            added = _insert(connection, list(new.values()), file.source, imported_by, now)
        return LeavesImported(added, list(kept.values()), removed)


def leave_on(*, site: str, user_id: str, work_date: str) -> str:
    """SQL of the leave of a user on a date, as in the view `absences`; null without one."""
    text = "kind || coalesce(' (' || day_part || ')', '')"
    return f"""(
        SELECT string_agg(DISTINCT {text}, ' / ' ORDER BY {text}) FROM leaves
        WHERE leaves.removed_at IS NULL AND leaves.user_id = {user_id} AND coalesce(leaves.site, {site}) = {site}
          AND {work_date} BETWEEN leaves.first_date AND leaves.last_date
    )"""  # noqa: S608 (constant SQL)


def read_leaves(
    connection: Connection, where: str, values: list[object] | dict[str, object], *, order: str = "id"
) -> list[Leave]:
    columns = ", ".join(Leave.__dataclass_fields__)
    rows = connection.execute(f"SELECT {columns} FROM leaves WHERE {where} ORDER BY {order}", values).fetchall()  # noqa: S608
    return [Leave(*row) for row in rows]


_Content = tuple[Any, ...]
_WANTED = """
    ($user_id::VARCHAR IS NULL OR user_id = $user_id) AND ($site::VARCHAR IS NULL OR coalesce(site, $site) = $site)
    AND ($first::DATE IS NULL OR last_date >= $first) AND ($last::DATE IS NULL OR first_date <= $last)
    AND (removed_at IS NOT NULL) = $removed
"""
_NEW = cache(
    lambda: pa.schema(
        {
            "id": pa.int64(),
            "user_id": pa.string(),
            "site": pa.string(),
            "first_date": pa.date32(),
            "last_date": pa.date32(),
            "day_part": pa.string(),
            "kind": pa.string(),
            "note": pa.string(),
            "source": pa.string(),
            "source_uid": pa.string(),
            "created_by": pa.string(),
            "created_at": pa.timestamp("us", "UTC"),
        }
    )
)


def _content(one: Leave | NewLeave) -> _Content:
    return one.user_id, one.site, one.first_date, one.last_date, one.day_part, one.kind


def _active(connection: Connection) -> list[Leave]:
    return read_leaves(connection, "removed_at IS NULL", [])


def _insert(
    connection: Connection, new: Sequence[NewLeave], source: str | None, created_by: str, now: datetime
) -> list[Leave]:
    if not new:
        return []
    first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM leaves").fetchall()[0][0]
    rows = [
        {
            "id": id_,
            "user_id": one.user_id,
            "site": one.site,
            "first_date": one.first_date,
            "last_date": one.last_date,
            "day_part": one.day_part,
            "kind": one.kind,
            "note": one.note,
            "source": source,
            "source_uid": one.uid,
            "created_by": created_by,
            "created_at": now,
        }
        for id_, one in enumerate(new, start=first)
    ]
    connection.register("new_leaves", pa.Table.from_pylist(rows, _NEW()))
    connection.execute("INSERT INTO leaves BY NAME SELECT * FROM new_leaves")
    connection.unregister("new_leaves")
    return read_leaves(connection, "id >= ?", [first])


def _remove(connection: Connection, leaves: Sequence[Leave], removed_by: str, now: datetime) -> list[Leave]:
    ids = [one.id for one in leaves]
    connection.execute(
        "UPDATE leaves SET removed_by = ?, removed_at = ? WHERE list_contains(?::BIGINT[], id)", [removed_by, now, ids]
    )
    return read_leaves(connection, "list_contains(?::BIGINT[], id)", [ids])
