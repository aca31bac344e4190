"""Restore: replace the store by a backup, atomically. `carry_over` defines what it takes from the replaced store."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb

from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.runtime.file_lock import LockMode
from zk_pipeline.store.engine.attached_file import attached_file, needs_one_thread
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.locks.file_lock import StoreFileLock
from zk_pipeline.store.maintenance.carry_over import Carried, carry_over, other_store
from zk_pipeline.store.maintenance.verify import verify
from zk_pipeline.store.schema.catalog import TABLES
from zk_pipeline.store.schema.file_copy import copy_file, fsync_file, temporary_name, wal_path
from zk_pipeline.store.schema.migrations_runner import literal, migrate, newest_version, transaction

_PURPOSE = "restore a backup"
_NUMBERS_SINCE, _REVISIONS_SINCE = 1_000_000_000, 100  # assumed numbers since the backup, if unknown


@dataclass(frozen=True)
class TableRows:
    """Row counts of one table: in the backup, in the replaced store (None: absent or unreadable), and restored."""

    table: str
    backup: int
    replaced: int | None
    restored: int


@dataclass(frozen=True)
class DueDeliveries:
    """Deliveries that the CRM has not confirmed, without dead letters: records and retractions."""

    records: int
    retractions: int


@dataclass(frozen=True)
class _Replaced:
    """Rows by table and due deliveries of the replaced store; None if it is unreadable."""

    rows: Mapping[str, int]
    due: DueDeliveries | None


@dataclass(frozen=True)
class Restored:
    """Result of a restore, or of its preview. `replaced`: new path of the replaced store; None without one.
    `due_there`: deliveries due in the replaced store; None if it is unreadable.

    `is_history_complete` is False if nothing could be taken over from the replaced store; `not_carried` has the reason.
    New revisions of dates up to today then start above all that may have been used, and the `in_doubt` undelivered
    deliveries of the backup have an unknown outcome.
    """

    file: Path
    from_version: int
    version: int
    tables: list[TableRows]
    replaced: Path | None
    is_history_complete: bool
    not_carried: str | None
    carried: Carried
    in_doubt: int
    due_there: DueDeliveries | None


@dataclass(frozen=True)
class Restore:
    database: Database
    clock: Callable[[], datetime]

    def check_file(self, file: Path) -> None:
        """Raises UsageError for a missing file and for the store itself."""
        if not file.is_file():
            raise UsageError(f"there is no file {file}")
        if self.database.path.exists() and file.samefile(self.database.path):
            raise UsageError(f"{file} is the store itself: name a backup of it")

    def run(self, file: Path) -> Restored:
        """Verify a copy of `file`, migrate it, and replace the store by it with one rename.

        The caller ensures that no runs are in progress. Until the rename the store is unchanged; afterwards it stays
        next to its successor. Raises UsageError for a file that is no complete store, StoreBusy, ZkPipelineError.
        """
        with self._prepared(file, self.database.path.parent, "exclusive") as (part, prepared):
            fsync_file(part)
            return replace(prepared, replaced=self._put(part))

    @contextmanager
    def preview(self, file: Path) -> Iterator[tuple[Path, Restored]]:
        """Yield the path of a temporary store as `run` would restore it, and the result that it would return. Changes
        nothing else. Raises as `run`.
        """
        parent = self.database.path.parent
        with tempfile.TemporaryDirectory(prefix=".preview-", dir=parent if parent.is_dir() else None) as folder:
            with self._prepared(file, Path(folder), "shared") as (part, prepared):
                shown = Path(shutil.copyfile(part, Path(folder) / "preview.duckdb"))
            yield shown, prepared

    @contextmanager
    def _prepared(self, file: Path, folder: Path, mode: LockMode) -> Iterator[tuple[Path, Restored]]:
        """Prepare the restored store in `folder`, under the lock of the current one."""
        store = self.database.path
        self.check_file(file)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (
                temporary_name(folder / store.name) as part,
                temporary_name(folder / f"replaced-{store.name}") as replaced,
            ):
                _copy(file, part)
                verified = verify(part, str(file))
                with attached_file(part, read_only=False) as connection:
                    migrate(connection, file, keep_copy=False)
                # A preview without a store takes no lock, so that it leaves no lock files.
                is_locked = mode == "exclusive" or store.exists()
                lock = StoreFileLock(store).hold(mode, _PURPOSE, wait_seconds=self.database.wait_seconds)
                with lock if is_locked else nullcontext():
                    carried, there, problem = self._carry(part, replaced)
                    in_doubt = 0 if problem is None else _begin_unknown(part, self.clock().date() + timedelta(days=1))
                    tables = [
                        TableRows(table, verified.rows.get(table, 0), there.rows.get(table), rows)
                        for table, rows in _rows(part).items()
                    ]
                    yield (
                        part,
                        Restored(
                            file=store,
                            from_version=verified.version,
                            version=newest_version(),
                            tables=tables,
                            replaced=None,
                            is_history_complete=problem is None,
                            not_carried=problem,
                            carried=carried,
                            in_doubt=in_doubt,
                            due_there=there.due,
                        ),
                    )
        except OSError as error:
            raise ZkPipelineError(f"{file} could not be restored: {error.strerror or error}") from error

    def _carry(self, part: Path, replaced: Path) -> tuple[Carried, _Replaced, str | None]:
        """Take over rows from a copy of the store to be replaced. Returns the takeover, the content of that store, and
        the reason if nothing could be taken over.
        """
        if not (self.database.path.exists() and self.database.path.stat().st_size):
            return Carried(), _Replaced({}, DueDeliveries(0, 0)), "there is no store to replace"
        copy_file(self.database.path, replaced)
        there = _Replaced({}, None)
        try:
            there = _look_at(replaced)
            return _carry_from(part, replaced, self.clock()), there, None
        except (duckdb.Error, ZkPipelineError) as error:
            return Carried(), there, str(error).strip().splitlines()[0]

    def _put(self, part: Path) -> Path | None:
        """Link the replaced store to a new name before its successor takes the old one: a kill loses neither."""
        store = self.database.path
        replaced = None
        if store.exists():
            instant = self.clock().astimezone(UTC)
            replaced = store.with_name(f"{store.stem}.replaced-{instant:%Y%m%dT%H%M%SZ}.duckdb")
            for old, kept in ((store, replaced), (wal_path(store), wal_path(replaced))):
                if old.exists():
                    os.link(old, kept)
            wal_path(store).unlink(missing_ok=True)  # belongs to the old file, which is linked under the other name
        part.replace(store)
        fsync_file(store)
        return replaced


def _copy(file: Path, part: Path) -> None:
    for source, target in ((file, part), (wal_path(file), wal_path(part))):
        if source.exists():
            shutil.copyfile(source, target)


def _look_at(replaced: Path) -> _Replaced:
    """Verify and migrate the copy of the replaced store. Raises StoreUnusable, duckdb.Error."""
    rows = verify(replaced, "the store that is replaced").rows
    with attached_file(replaced, read_only=False) as connection:
        migrate(connection, replaced, keep_copy=False)
        return _Replaced(rows, due_deliveries(replaced))


def _carry_from(part: Path, replaced: Path, now: datetime) -> Carried:
    """Raises StoreUnusable if the replaced store is no later state of the backup, and duckdb.Error."""
    with duckdb.connect(":memory:") as connection:
        if needs_one_thread(part, replaced):
            connection.execute("SET threads = 1")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH {literal(str(part))} AS restored")
        connection.execute(f"ATTACH {literal(str(replaced))} AS replaced (READ_ONLY)")
        connection.execute("USE restored")
        other = other_store(connection)
        if other is not None:
            raise StoreUnusable(f"the store that is replaced is no later state of the backup: their {other!r} differ")
        with transaction(connection):
            carried = carry_over(connection, now)
        connection.execute("CHECKPOINT restored")
    return carried


def _rows(path: Path) -> dict[str, int]:
    with attached_file(path, read_only=False) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]  # noqa: S608 (constant names)
            for table in TABLES
        }


def due_deliveries(path: Path) -> DueDeliveries:
    """Due deliveries of a store in a file that no other process uses."""
    with attached_file(path, read_only=False) as connection:
        counted = connection.execute(
            """
            SELECT count(*) FILTER (NOT is_retracted OR merged IS NOT NULL),
                   count(*) FILTER (is_retracted AND merged IS NULL)
            FROM crm_deliveries JOIN daily_attendance_revisions USING (site, user_id, work_date, revision)
            WHERE state IN ('pending', 'sending', 'retry')
            """
        ).fetchall()
    return DueDeliveries(*counted[0])


def _begin_unknown(part: Path, last: date) -> int:
    """Prepare a store with unknown history since the backup; returns the number of deliveries in doubt."""
    with attached_file(part, read_only=False) as connection, transaction(connection):
        _set_revision_floor(connection, last)
        return _doubt_deliveries(connection)


def _doubt_deliveries(connection: Connection) -> int:
    """Give all unconfirmed deliveries an unknown outcome: they may have been sent since, with the backup's mapping or a
    later one. This also ends claims, because the send journal may belong to another run.
    """
    row = connection.execute(
        """
        UPDATE crm_deliveries
        SET sent_body = CASE WHEN state = 'sending' THEN '' ELSE coalesce(sent_body, '') END,
            state = CASE WHEN state = 'sending' THEN 'pending' ELSE state END
        WHERE state IN ('pending', 'sending', 'retry', 'failed')
        """
    ).fetchone()
    return row[0] if row else 0


def _set_revision_floor(connection: Connection, last: date) -> None:
    """Skip the numbers and revisions that may have been used since the backup: sensors treat a known date and number as
    done, and a CRM ignores an equal or lower revision.
    """
    connection.execute("DELETE FROM device_log_positions")  # the next poll of each terminal reads its whole log
    connection.execute(
        "UPDATE store_settings SET value = (value::BIGINT + ?)::VARCHAR WHERE name = 'last_seq'", [_NUMBERS_SINCE]
    )
    connection.execute("DELETE FROM store_settings WHERE name IN ('revision_floor', 'revision_floor_until')")
    connection.execute(
        """
        INSERT INTO store_settings
        SELECT 'revision_floor', (coalesce(max(revision), 0) + $since)::VARCHAR FROM daily_attendance_revisions
        UNION ALL SELECT 'revision_floor_until', $last::DATE::VARCHAR
        """,
        {"since": _REVISIONS_SINCE, "last": last},
    )
