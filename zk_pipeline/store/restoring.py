"""Putting a backup in the store's place, whole or not at all, without forgetting what the CRM was told since."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import duckdb

from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.copying import aside, settle_on_disk, wal_of
from zk_pipeline.store.database import Connection, Database
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.lock import FairLock
from zk_pipeline.store.migrate import literal, migrate, newest_version, transaction
from zk_pipeline.store.verifying import verify

_PURPOSE = "restore a backup"
_NUMBERS_SINCE, _REVISIONS_SINCE = 1_000_000_000, 100  # given since the backup, where nobody can tell how many


@dataclass(frozen=True)
class Restored:
    """What was put in place. `replaced`: where the store that was there is now; None where there was none.

    `days_carried` days, of work dates `first` to `last`, have revisions that the backup does not know: they were taken
    over with their deliveries. Where there was nothing to read them from (`is_history_complete` is False), revisions
    made from now on of dates up to today begin above all that can have been used.
    """

    file: Path
    from_version: int
    version: int
    rows: dict[str, int]
    replaced: Path | None
    is_history_complete: bool
    days_carried: int
    first: date | None
    last: date | None


@dataclass(frozen=True)
class Restoring:
    database: Database
    clock: Callable[[], datetime]

    def restore(self, file: Path) -> Restored:
        """Verify a copy of `file`, bring it to the newest version, and give it the store's name by one rename.

        The caller sees to it that no runs are under way. Until the rename the store is as it was; afterwards it stands
        beside its successor. Raises UsageError for a file that is no whole store, StoreBusy, ZkPipelineError.
        """
        store = self.database.path
        if not file.is_file():
            raise UsageError(f"there is no file {file}")
        if store.exists() and file.samefile(store):
            raise UsageError(f"{file} is the store itself: name a backup of it")
        try:
            store.parent.mkdir(parents=True, exist_ok=True)
            with aside(store) as part:
                _copy(file, part)
                verified = verify(part, str(file))
                with duckdb.connect(str(part)) as connection:
                    migrate(connection, file, keep_copy=False)
                lock = FairLock(store)
                with lock.hold("exclusive", _PURPOSE, wait_seconds=self.database.wait_seconds):
                    carried = self._carry(part)
                    settle_on_disk(part)
                    replaced = self._put(part)
        except OSError as error:
            raise ZkPipelineError(f"{file} could not be put in place: {error.strerror or error}") from error
        return Restored(store, verified.version, newest_version(), verified.rows, replaced, *carried)

    def _carry(self, part: Path) -> tuple[bool, int, date | None, date | None]:
        """Take over from the store about to be replaced what was promised to the outside; whether it could be read."""
        store = self.database.path
        if store.exists() and store.stat().st_size:
            try:
                with duckdb.connect(str(part)) as connection:
                    connection.execute("SET TimeZone = 'UTC'")
                    connection.execute(f"ATTACH {literal(str(store))} AS replaced")
                    with transaction(connection):
                        return True, *_carry_promises(connection)
            except duckdb.Error as error:
                if "Conflicting lock" in str(error):
                    raise StoreBusy(f"{store} is held open by a process that is not zk_pipeline; close it") from error
        with duckdb.connect(str(part)) as connection, transaction(connection):
            _begin_above(connection, self.clock().date() + timedelta(days=1))
        return False, 0, None, None

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


def _carry_promises(connection: Connection) -> tuple[int, date | None, date | None]:
    """Days whose revisions or deliveries the backup does not know, with their whole history, from `replaced`.

    Their punches are not: those come again from the terminals. So the days stay as the CRM knows them until their
    dates are made again, and a correction then gets a revision that the CRM has not seen.
    """
    connection.execute(
        """
        CREATE TEMP TABLE told AS
        SELECT DISTINCT site, user_id, work_date FROM (
            (SELECT site, user_id, work_date, revision, payload_hash FROM replaced.main.daily_attendance_history
             EXCEPT SELECT site, user_id, work_date, revision, payload_hash FROM daily_attendance_history)
            UNION ALL BY NAME
            (SELECT site, user_id, work_date, revision, idempotency_key, state FROM replaced.main.crm_deliveries
             EXCEPT SELECT site, user_id, work_date, revision, idempotency_key, state FROM crm_deliveries)
        )
        """
    )
    for table in ("daily_attendance", "daily_attendance_history", "crm_deliveries"):
        connection.execute(
            f"DELETE FROM {table} WHERE (site, user_id, work_date) IN (SELECT (site, user_id, work_date) FROM told)"  # noqa: S608
        )
        connection.execute(
            f"INSERT INTO {table} BY NAME FROM replaced.main.{table} SEMI JOIN told USING (site, user_id, work_date)"
        )
    connection.execute(
        """
        INSERT INTO work_dates (work_date, punched_seq, built_seq)
        SELECT DISTINCT work_date, 0, 0 FROM told WHERE work_date NOT IN (SELECT work_date FROM work_dates)
        """
    )
    _read_logs_anew(connection)
    connection.execute(
        """
        UPDATE store_settings SET value = greatest(value::BIGINT, (
            SELECT max(value::BIGINT) FROM replaced.main.store_settings WHERE name = 'last_seq'
        ))::VARCHAR
        WHERE name = 'last_seq'
        """
    )
    row = connection.execute("SELECT count(*), min(work_date), max(work_date) FROM told").fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _read_logs_anew(connection: Connection) -> None:
    """The next poll of each terminal reads its whole log: the backup does not have what was read since."""
    connection.execute("DELETE FROM device_tails")


def _begin_above(connection: Connection, last: date) -> None:
    """Numbers and revisions given since the backup must not be given again: sensors take a date and number for done,
    and a CRM takes an equal or lower revision for old news.
    """
    _read_logs_anew(connection)
    connection.execute(
        "UPDATE store_settings SET value = (value::BIGINT + ?)::VARCHAR WHERE name = 'last_seq'", [_NUMBERS_SINCE]
    )
    connection.execute("DELETE FROM store_settings WHERE name IN ('revision_floor', 'revision_floor_until')")
    connection.execute(
        """
        INSERT INTO store_settings
        SELECT 'revision_floor', (coalesce(max(revision), 0) + $since)::VARCHAR FROM daily_attendance_history
        UNION ALL SELECT 'revision_floor_until', $last::DATE::VARCHAR
        """,
        {"since": _REVISIONS_SINCE, "last": last},
    )
