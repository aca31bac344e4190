"""Restore: put a backup in the store's place, whole or not at all. What it takes over is in `carry_over`."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import duckdb

from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.runtime.file_lock import LockMode
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.locks.file_lock import StoreFileLock
from zk_pipeline.store.maintenance.carry_over import Carried, carry_over, other_store
from zk_pipeline.store.maintenance.verify import verify
from zk_pipeline.store.schema.catalog import TABLES
from zk_pipeline.store.schema.file_copy import aside, copy_file, settle_on_disk, wal_of
from zk_pipeline.store.schema.migrations_runner import literal, migrate, newest_version, transaction

_PURPOSE = "restore a backup"
_NUMBERS_SINCE, _REVISIONS_SINCE = 1_000_000_000, 100  # given since the backup, where nobody can tell how many


@dataclass(frozen=True)
class TableRows:
    """Rows of one table: of the backup, of the replaced store (None: none, or not readable), and as restored."""

    table: str
    backup: int
    replaced: int | None
    restored: int


@dataclass(frozen=True)
class Due:
    """Deliveries that the CRM has not confirmed, dead letters left out: days, and days it is to take back."""

    records: int
    retractions: int


@dataclass(frozen=True)
class _Replaced:
    """Content of the store that is replaced: rows by table, and what waited there for the CRM; None: not readable."""

    rows: Mapping[str, int]
    due: Due | None


@dataclass(frozen=True)
class Restored:
    """Outcome of a restore, or of its preview. `replaced`: where the store that was there is now; None without one.
    `due_there`: deliveries that waited in it; None where it cannot be read.

    `is_history_complete` is False where nothing could be taken over from the store that was there, with the reason in
    `not_carried`: revisions made from now on of dates up to today then begin above all that can have been used, and the
    outcome of the `in_doubt` undelivered deliveries of the backup is unknown.
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
    due_there: Due | None


@dataclass(frozen=True)
class Restore:
    database: Database
    clock: Callable[[], datetime]

    def restore(self, file: Path) -> Restored:
        """Verify a copy of `file`, bring it to the newest version, and give it the store's name by one rename.

        The caller sees to it that no runs are under way. Until the rename the store is as it was; afterwards it stands
        beside its successor. Raises UsageError for a file that is no whole store, StoreBusy, ZkPipelineError.
        """
        with self._prepared(file, self.database.path.parent, "exclusive") as (part, prepared):
            settle_on_disk(part)
            return replace(prepared, replaced=self._put(part))

    @contextmanager
    def preview(self, file: Path) -> Iterator[tuple[Path, Restored]]:
        """The store as `restore` would make it, under a name of its own that is gone afterwards, and what it would
        report. Nothing else is changed. Raises as `restore`.
        """
        beside = self.database.path.parent
        with tempfile.TemporaryDirectory(prefix=".preview-", dir=beside if beside.is_dir() else None) as folder:
            with self._prepared(file, Path(folder), "shared") as (part, prepared):
                shown = Path(shutil.copyfile(part, Path(folder) / "preview.duckdb"))
            yield shown, prepared

    @contextmanager
    def _prepared(self, file: Path, folder: Path, mode: LockMode) -> Iterator[tuple[Path, Restored]]:
        """The store to be, in `folder`, while the one that is there is held."""
        store = self.database.path
        if not file.is_file():
            raise UsageError(f"there is no file {file}")
        if store.exists() and file.samefile(store):
            raise UsageError(f"{file} is the store itself: name a backup of it")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with aside(folder / store.name) as part, aside(folder / f"replaced-{store.name}") as replaced:
                _copy(file, part)
                verified = verify(part, str(file))
                with duckdb.connect(str(part)) as connection:
                    migrate(connection, file, keep_copy=False)
                # A look at a place without a store keeps nobody away, and leaves no lock files there.
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
            raise ZkPipelineError(f"{file} could not be put in place: {error.strerror or error}") from error

    def _carry(self, part: Path, replaced: Path) -> tuple[Carried, _Replaced, str | None]:
        """Take over what is to be kept from a copy of the store about to be replaced: what that was, what that store
        held, and why nothing could be taken over.
        """
        if not (self.database.path.exists() and self.database.path.stat().st_size):
            return Carried(), _Replaced({}, Due(0, 0)), "there is no store there"
        copy_file(self.database.path, replaced)
        there = _Replaced({}, None)
        try:
            there = _look_at(replaced)
            return _carry_from(part, replaced, self.clock()), there, None
        except (duckdb.Error, ZkPipelineError) as error:
            return Carried(), there, str(error).strip().splitlines()[0]

    def _put(self, part: Path) -> Path | None:
        """The replaced store keeps a name of its own before its successor takes the old one: a kill loses neither."""
        store = self.database.path
        replaced = None
        if store.exists():
            instant = self.clock().astimezone(timezone.utc)
            replaced = store.with_name(f"{store.stem}.replaced-{instant:%Y%m%dT%H%M%SZ}.duckdb")
            for old, kept in ((store, replaced), (wal_of(store), wal_of(replaced))):
                if old.exists():
                    os.link(old, kept)
            wal_of(store).unlink(missing_ok=True)  # it belongs to the old file, which has it under the other name
        part.replace(store)
        settle_on_disk(store)
        return replaced


def _copy(file: Path, part: Path) -> None:
    for source, target in ((file, part), (wal_of(file), wal_of(part))):
        if source.exists():
            shutil.copyfile(source, target)


def _look_at(replaced: Path) -> _Replaced:
    """Verify the copy of the replaced store and bring it to the newest version. Raises StoreUnusable, duckdb.Error."""
    rows = verify(replaced, "the store that is replaced").rows
    with duckdb.connect(str(replaced)) as connection:
        migrate(connection, replaced, keep_copy=False)
    return _Replaced(rows, due_deliveries(replaced))


def _carry_from(part: Path, replaced: Path, now: datetime) -> Carried:
    """Raises StoreUnusable where the replaced store is no later state of the backup, and duckdb.Error."""
    with duckdb.connect(":memory:") as connection:
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
    with duckdb.connect(str(path)) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]  # noqa: S608 (names of ours)
            for table in TABLES
        }


def due_deliveries(path: Path) -> Due:
    """Of a store in a file that nobody else uses."""
    with duckdb.connect(str(path)) as connection:
        counted = connection.execute(
            """
            SELECT count(*) FILTER (NOT is_retracted OR merged IS NOT NULL),
                   count(*) FILTER (is_retracted AND merged IS NULL)
            FROM crm_deliveries JOIN daily_attendance_revisions USING (site, user_id, work_date, revision)
            WHERE state IN ('pending', 'sending', 'retry')
            """
        ).fetchall()
    return Due(*counted[0])


def _begin_unknown(part: Path, last: date) -> int:
    """Prepare a store of which nobody knows what it did since the backup; how many deliveries are in doubt by that."""
    with duckdb.connect(str(part)) as connection, transaction(connection):
        _begin_above(connection, last)
        return _doubt_deliveries(connection)


def _doubt_deliveries(connection: Connection) -> int:
    """Give whatever the CRM has not confirmed an unknown outcome: it may have been sent since, as the backup's mapping
    had it or as a later one. Claims end with it: the list of what their runs had in requests may be another's.
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


def _begin_above(connection: Connection, last: date) -> None:
    """Numbers and revisions given since the backup must not be given again: sensors take a date and number for done,
    and a CRM takes an equal or lower revision for old news.
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
