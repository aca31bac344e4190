"""Moving a store to another place or engine: compare by partition, copy what differs, compare again.

Each copy is one transaction, so a kill leaves whole partitions, and the next run goes on with those that differ. The
store that is left is only read. The one that is filled refuses everybody else until it is complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.database import Connection, Database
from zk_pipeline.store.engines.engine import Mode
from zk_pipeline.store.lock import Held
from zk_pipeline.store.migrate import FILLING, column_types, newest_version, read_version
from zk_pipeline.store.partitions import MARK, MOVED, Sum, of_partitions, sums_of

_ROWS_AT_ONCE = 200_000  # of one transaction, unless a partition has more
_ROUNDS = 3  # a store that is still written differs again after each
_PURPOSE = "move the store"

Tell = Callable[[str, int, int], None]  # table, partitions copied, of so many


@dataclass
class MovedTable:
    """`partitions` of so many `rows` are equal on both sides; `copied` of them by this run."""

    table: str
    partitions: int = 0
    copied: int = 0
    rows: int = 0
    checksum: int = 0


@dataclass
class Moved:
    source: str
    target: str
    version: int
    seconds: float = 0.0
    tables: list[MovedTable] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def copied(self) -> int:
        return sum(table.copied for table in self.tables)


@dataclass(frozen=True)
class Moving:
    source: Database
    target: Database
    tell: Tell = lambda *_: None

    def move(self) -> Moved:
        """Make `target` hold what `source` holds, and prove it. Can be called again after any failure or kill.

        Raises UsageError where there is nothing to move or `target` holds something else; StoreBusy;
        ZkPipelineError where the two still differ in the end.
        """
        began = time.monotonic()
        if self.source.where == self.target.where:
            raise UsageError(f"{self.source.name} would be moved onto itself: name another target")
        self._check_source()
        is_complete = self._begin()
        copied: dict[str, set[str]] = {table: set() for table in MOVED}
        for _ in range(1 if is_complete else _ROUNDS):
            differing = self._compare()
            if not any(differing.values()):
                break
            if is_complete:
                raise UsageError(self._used(next(table for table, keys in differing.items() if keys)))
            for table, keys in differing.items():
                if keys:
                    self._copy(table, keys, copied[table])
        moved = Moved(self.source.name, self.target.name, newest_version())
        moved.tables = self._verified(copied)
        if not is_complete:
            self._complete()
        moved.seconds = time.monotonic() - began
        return moved

    def _check_source(self) -> None:
        if self.source.engine.is_missing():
            raise UsageError(f"there is no store at {self.source.name}")
        with self._reading(self.source) as connection:
            version = read_version(connection, self.source.where)
        if version < newest_version():
            raise UsageError(
                f"{self.source.name} is at store version {version}, and only one at {newest_version()} can be moved: "
                "any command that uses it, such as `zk-pipeline status`, brings it there"
            )

    def _begin(self) -> bool:
        """Make the target ours; whether it was completely filled from this source before. Raises UsageError."""
        if self.target.engine.is_missing():
            with self.target.exclusive("create the store"):
                pass
        with self._writing() as connection:
            filling = connection.execute("SELECT name FROM schema_migrations WHERE version = ?", [FILLING]).fetchall()
            if filling:
                if filling[0][0] != self.source.name:
                    words = f"{self.target.name} is being filled from {filling[0][0]}: name that, or a new target"
                    raise UsageError(words)
                return False
            read_version(connection, self.target.where)
            marks = connection.execute("SELECT name FROM store_settings WHERE name = ?", [self._mark]).fetchall()
            if marks:
                return True
            held = next((table for table in MOVED if self._holds_something(connection, table)), None)
            if held:
                raise UsageError(self._used(held))
            connection.execute("INSERT INTO schema_migrations VALUES (?, ?, now())", [FILLING, self.source.name])
        return False

    @staticmethod
    def _holds_something(connection: Connection, table: str) -> bool:
        own = "WHERE (name, value) <> ('last_seq', '0')" if table == "store_settings" else ""
        row = connection.execute(f"SELECT count(*) FROM {table} {own}").fetchone()  # noqa: S608 (names of ours)
        return row != (0,)

    def _used(self, table: str) -> str:
        return f"{self.target.name} holds other data ({table}): name a target that is empty or does not exist"

    def _compare(self) -> dict[str, list[str]]:
        """By table, the partitions that are not the same on both sides."""
        here, there = self._sums(self.source), self._sums(self.target)
        return {table: _differing(here[table], there[table]) for table in MOVED}

    def _sums(self, database: Database) -> dict[str, dict[str, Sum]]:
        """By table and partition, of one state of the store."""
        with self._reading(database) as connection:
            return {table: sums_of(connection, table) for table in MOVED}

    def _copy(self, table: str, keys: list[str], copied: set[str]) -> None:
        with self._reading(self.source) as connection:
            sizes = {key: found.rows for key, found in sums_of(connection, table).items()}
        for done, part in _parts(keys, sizes):
            self.tell(table, done, len(keys))
            with self._reading(self.source) as connection:
                held = connection.execute(
                    f"SELECT * FROM {table} WHERE {of_partitions(table)}",  # noqa: S608 (names of ours)
                    {"keys": part},
                ).to_arrow_table()
            with self._writing() as connection:
                connection.execute(f"DELETE FROM {table} WHERE {of_partitions(table)}", {"keys": part})  # noqa: S608
                connection.register("held", held)
                columns = ", ".join(f'"{name}"' for name in column_types(table))
                connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM held")  # noqa: S608
                connection.unregister("held")
            copied.update(part)

    def _verified(self, copied: dict[str, set[str]]) -> list[MovedTable]:
        """Raises ZkPipelineError for the first table that is not the same on both sides."""
        here, there = self._sums(self.source), self._sums(self.target)
        tables = []
        for table in MOVED:
            wrong, held = _differing(here[table], there[table]), there[table].values()
            if wrong:
                raise ZkPipelineError(
                    f"{len(wrong)} partitions of {table} still differ (such as {wrong[0]}): somebody writes to "
                    f"{self.source.name}; end `zk-pipeline up` and what else uses it, then run this again"
                )
            rows, checksum = sum(one.rows for one in held), sum(one.checksum for one in held)
            tables.append(MovedTable(table, len(held), len(copied[table] & there[table].keys()), rows, checksum))
        return tables

    def _complete(self) -> None:
        with self._writing() as connection:
            connection.execute("DELETE FROM schema_migrations WHERE version = ?", [FILLING])
            connection.execute("INSERT INTO store_settings VALUES (?, now()::VARCHAR)", [self._mark])

    @property
    def _mark(self) -> str:
        return f"{MARK}from {self.source.name}"

    @contextmanager
    def _opened(self, database: Database, mode: Mode) -> Iterator[tuple[Connection, Held]]:
        """Without what `Database` does for everybody else: migrate, and refuse a store that is being filled."""
        hold = database.engine.hold(mode, _PURPOSE, wait_seconds=database.wait_seconds)
        with hold as held, database.engine.open(held, mode) as connection:
            yield connection, held

    @contextmanager
    def _reading(self, database: Database) -> Iterator[Connection]:
        with self._opened(database, "shared") as (connection, _):
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._opened(self.target, "exclusive") as (connection, held):
            connection.begin()
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            self.target.engine.commit(connection, held)


def _differing(here: dict[str, Sum], there: dict[str, Sum]) -> list[str]:
    return [key for key in sorted(here.keys() | there.keys()) if here.get(key) != there.get(key)]


def _parts(keys: list[str], sizes: dict[str, int]) -> Iterator[tuple[int, list[str]]]:
    """Keys that are copied together, each time with how many went before."""
    part: list[str] = []
    rows = done = 0
    for key in keys:
        if part and rows + sizes.get(key, 0) > _ROWS_AT_ONCE:
            yield done, part
            done, part, rows = done + len(part), [], 0
        part.append(key)
        rows += sizes.get(key, 0)
    if part:
        yield done, part
