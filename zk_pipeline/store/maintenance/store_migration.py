"""Store migration to another path or engine: compare by partition, copy what differs, compare again.

Each copy is one transaction, so a kill leaves complete partitions, and the next run continues with those that differ.
The source is only read. The target rejects all other processes until it is complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.engine.engine import Mode
from zk_pipeline.store.locks.file_lock import HeldLock
from zk_pipeline.store.maintenance.checksums import MARK, MOVED, Checksum, partition_checksums, table_checksums
from zk_pipeline.store.maintenance.site_split import WHOLE, Part, check_split, split_facts
from zk_pipeline.store.schema.migrations_runner import FILLING, column_types, newest_version, read_version, transaction

_ROWS_AT_ONCE = 200_000  # per transaction, unless a partition has more
_ROUNDS = 3  # a source that is still written differs after each
_PURPOSE = "migrate the store"

Tell = Callable[[str, int, int], None]  # table, copied partitions, total
Sums = dict[str, dict[str, Checksum]]  # by table and partition


@dataclass(frozen=True)
class MovedTable:
    """One table: `partitions` and `rows` that are equal on both sides; `copied`: partitions copied by this run."""

    table: str
    partitions: int
    copied: int
    rows: int
    checksum: int


@dataclass(frozen=True)
class MigrationResult:
    source: str
    target: str
    version: int
    seconds: float
    tables: list[MovedTable]

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def copied(self) -> int:
        return sum(table.copied for table in self.tables)


@dataclass(frozen=True)
class StoreMigration:
    source: Database
    target: Database
    tell: Tell = lambda *_: None
    part: Part = WHOLE

    def move(self) -> MigrationResult:
        """Copy the rows of `part` from `source` to `target` and verify them. Can be repeated after any failure or kill.

        Raises UsageError if there is no source, `target` contains other data, or the part cannot be split off;
        StoreBusy; ZkPipelineError if the two still differ at the end.
        """
        began = time.monotonic()
        if self.source.where == self.target.where:
            raise UsageError(f"{self.source.name} would be moved onto itself: name another target")
        self._check_source()
        is_complete = self._begin()
        copied: dict[str, set[str]] = {table: set() for table in MOVED}
        here, there = self._sums(self.source, self.part), self._sums(self.target)
        for _ in range(0 if is_complete else _ROUNDS):
            differing = _all_differing(here, there)
            if not differing:
                break
            for table, keys in differing.items():
                self._copy(table, keys, copied[table], here[table])
            here, there = self._sums(self.source, self.part), self._sums(self.target)
        self._check(here, there, is_complete=is_complete)
        if not is_complete:
            self._complete()
        tables = [
            MovedTable(
                table, len(held), len(copied[table] & held.keys()),
                rows=sum(one.rows for one in held.values()), checksum=sum(one.checksum for one in held.values()),
            )
            for table, held in there.items()
        ]  # fmt: skip
        return MigrationResult(self.source.name, self.target.name, newest_version(), time.monotonic() - began, tables)

    def _check_source(self) -> None:
        if self.source.engine.is_missing():
            raise UsageError(f"there is no store at {self.source.name}")
        with self._reading(self.source) as connection:
            version = read_version(connection, self.source.where)
            is_newest = version == newest_version()
            facts = split_facts(connection, self.part) if self.part.sites and is_newest else None
        if version < newest_version():
            raise UsageError(
                f"{self.source.name} is at store version {version}, and only one at {newest_version()} can be moved: "
                "any command that uses it, such as `zk-pipeline status`, brings it there"
            )
        if facts:
            check_split(self.part, facts)

    def _begin(self) -> bool:
        """Reserve the target; returns whether this source already filled it completely. Raises UsageError."""
        self._create()
        with self._writing() as connection:
            filling = connection.execute("SELECT name FROM schema_migrations WHERE version = ?", [FILLING]).fetchall()
            if filling:
                if filling[0][0] != self._origin:
                    message = f"{self.target.name} is being filled from {filling[0][0]}: name that, or a new target"
                    raise UsageError(message)
                return False
            read_version(connection, self.target.where)
            marks = connection.execute("SELECT name FROM store_settings WHERE name = ?", [self._mark]).fetchall()
            if marks:
                return True
            held = next((table for table in MOVED if self._holds_something(connection, table)), None)
            if held:
                raise UsageError(self._used(held))
            connection.execute("INSERT INTO schema_migrations VALUES (?, ?, now())", [FILLING, self._origin])
        return False

    def _create(self) -> None:
        engine = self.target.engine
        engine.prepare()
        with engine.lock("maintenance", _PURPOSE, wait_seconds=self.target.wait_seconds) as held:
            engine.create(held, self._origin)

    @staticmethod
    def _holds_something(connection: Connection, table: str) -> bool:
        own = "WHERE (name, value) <> ('last_seq', '0')" if table == "store_settings" else ""
        row = connection.execute(f"SELECT count(*) FROM {table} {own}").fetchone()  # noqa: S608 (constant names)
        return row != (0,)

    def _used(self, table: str) -> str:
        return f"{self.target.name} holds other data ({table}): name a target that is empty or does not exist"

    def _sums(self, database: Database, part: Part = WHOLE) -> Sums:
        """Checksums by table and partition, of one state of the store."""
        with self._reading(database) as connection:
            return {table: table_checksums(connection, table, part.condition(table)) for table in MOVED}

    def _copy(self, table: str, keys: list[str], copied: set[str], sums: dict[str, Checksum]) -> None:
        sizes = {key: found.rows for key, found in sums.items()}
        for done, part in _parts(keys, sizes):
            self.tell(table, done, len(keys))
            with self._reading(self.source) as connection:
                held = connection.execute(
                    f"SELECT * FROM {table} "  # noqa: S608 (constant names, quoted sites)
                    f"WHERE {partition_checksums(table)} AND {self.part.condition(table)}",
                    {"keys": part},
                ).to_arrow_table()
            with self._writing() as connection:
                connection.execute(f"DELETE FROM {table} WHERE {partition_checksums(table)}", {"keys": part})  # noqa: S608
                connection.register("held", held)
                columns = ", ".join(f'"{name}"' for name in column_types(table))
                connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM held")  # noqa: S608
                connection.unregister("held")
            copied.update(part)

    def _check(self, here: Sums, there: Sums, *, is_complete: bool) -> None:
        """Raises UsageError for a complete target that was used since, ZkPipelineError for other differences."""
        for table, wrong in _all_differing(here, there).items():
            if is_complete:
                raise UsageError(self._used(table))
            raise ZkPipelineError(
                f"{len(wrong)} partitions of {table} still differ (such as {wrong[0]}): a process writes to "
                f"{self.source.name}; end `zk-pipeline up` and what else uses it, then run this again"
            )

    def _complete(self) -> None:
        with self._writing() as connection:
            connection.execute("DELETE FROM schema_migrations WHERE version = ?", [FILLING])
            connection.execute("INSERT INTO store_settings VALUES (?, now()::VARCHAR)", [self._mark])

    @property
    def _mark(self) -> str:
        return f"{MARK}from {self._origin}"

    @property
    def _origin(self) -> str:
        sites = f" (sites: {', '.join(sorted(self.part.sites))})" if self.part.sites else ""
        return f"{self.source.name}{sites}"

    @contextmanager
    def _opened(self, database: Database, mode: Mode) -> Iterator[tuple[Connection, HeldLock]]:
        """Open without the migration and the check for an incomplete store that `Database` performs."""
        hold = database.engine.lock(mode, _PURPOSE, wait_seconds=database.wait_seconds)
        with hold as held, database.engine.open(held, mode) as connection:
            yield connection, held

    @contextmanager
    def _reading(self, database: Database) -> Iterator[Connection]:
        with self._opened(database, "shared") as (connection, _):
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with (
            self._opened(self.target, "exclusive") as (connection, held),
            transaction(
                connection,
                lambda: self.target.engine.commit(connection, held),
                is_begun=self.target.engine.opens_in_transaction,
            ),
        ):
            yield connection


def _all_differing(here: Sums, there: Sums) -> dict[str, list[str]]:
    """Partitions that differ, by table; equal tables are left out."""
    found = {
        table: [key for key in sorted(one.keys() | there[table].keys()) if one.get(key) != there[table].get(key)]
        for table, one in here.items()
    }
    return {table: keys for table, keys in found.items() if keys}


def _parts(keys: list[str], sizes: dict[str, int]) -> Iterator[tuple[int, list[str]]]:
    """Batches of keys to copy together, each with the number of keys before it."""
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
