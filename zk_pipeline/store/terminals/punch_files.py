"""Punches from files: comparison with the store, and storage by the same ingest as polls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.data_libraries import pa
from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.terminals.devices import registration
from zk_pipeline.store.terminals.ingest import (
    FetchedTable,
    count_new,
    insert_punches,
    insert_rejected,
    next_poll_id,
)
from zk_pipeline.store.work_dates.staleness import keep_setting

_COLUMNS = "punch_columns "  # prefix of a name in store_settings, before the device


@dataclass(frozen=True)
class FileRows:
    """Content of one file for one registered device, prepared before the lock.

    `punches`: as from `punches_table` with the instants of `zone`; `in_doubt`: which of them have a clock known to be
    wrong; `rejected`: as from `rejected_lines`, of `record_format` as in `quarantined_records`; `read`: lines of the
    file with a record; `name`: of the file.
    """

    device: str
    zone: str
    name: str
    read: int
    punches: pa.Table
    rejected: pa.Table
    record_format: str
    in_doubt: pa.Array


@dataclass(frozen=True)
class FileComparison:
    """A file compared with the store. `purged`: punches of work dates whose punches retention has deleted, which are
    not stored again. `unknown_users`: ids that no terminal of the device's site has enrolled.
    """

    new: int
    purged: int
    unknown_users: list[str]


@dataclass(frozen=True)
class StoredFile:
    """Result of one import: its row of `device_polls` (None if nothing changed), and counts."""

    poll_id: int | None
    stored: int
    new: int
    in_doubt: int
    quarantined: int


@dataclass(frozen=True)
class PunchFileStore:
    database: Database
    clock: Callable[[], datetime]

    def compare(self, rows: FileRows) -> FileComparison:
        """Compare a file with the store, without a change."""
        with self.database.read("compare punch files", rows.device) as connection:
            new, purged = count_new(connection, rows.device, rows.punches)
            return FileComparison(new, purged, unknown_users(connection, rows.device, rows.punches))

    def insert(self, rows: FileRows, *, columns: Mapping[str, str] | None = None) -> StoredFile:
        """Store a file in one transaction. Idempotent: a file without anything new changes nothing.

        `columns`: names of its columns to keep for the next file of the device. Raises ReadingRefused for a device that
        is no longer registered, UsageError if its time zone changed.
        """
        with self.database.write("store punch files", rows.device) as connection:
            if columns is not None:
                keep_setting(connection, f"{_COLUMNS}{rows.device}", json.dumps(dict(columns)))
            return insert_file(connection, rows, self.clock())

    def columns_of(self, device: str) -> dict[str, str] | None:
        """Names of the columns in the last imported table of the device, by field; None if they were never given."""
        with self.database.read("compare punch files", device) as connection:
            row = connection.execute(
                "SELECT value FROM store_settings WHERE name = ?", [f"{_COLUMNS}{device}"]
            ).fetchone()
        return None if row is None else json.loads(row[0])


def insert_file(connection: Connection, rows: FileRows, now: datetime) -> StoredFile:
    """As `PunchFileStore.insert`, in the caller's transaction."""
    if registration(connection, rows.device).timezone != rows.zone:
        raise UsageError(f"{rows.name}: the time zone of {rows.device} changed during the import: run it again")
    new, _ = count_new(connection, rows.device, rows.punches)
    fresh = _without_known(connection, rows.device, rows.rejected)
    if not new and not len(fresh):
        return StoredFile(None, 0, 0, 0, 0)
    poll_id = next_poll_id(connection)
    fetched = FetchedTable(rows.device, poll_id, rows.punches, rows.in_doubt, source="file")
    done = insert_punches(connection, [fetched], now)[0]
    rejected = FetchedTable(rows.device, poll_id, fresh, source="file", record_format=rows.record_format)
    insert_rejected(connection, [rejected], now)
    connection.execute(
        """
        INSERT INTO device_polls
            (id, device, started_at, finished_at, status, mode, fetched, stored, "new", quarantined, warnings)
        VALUES ($id, $device, $now, $now, 'success', 'file', $read, $stored, $new, $quarantined, $name)
        """,
        {
            "id": poll_id,
            "device": rows.device,
            "now": now,
            "read": rows.read,
            "stored": done.stored,
            "new": done.new,
            "quarantined": len(fresh),
            "name": f"imported from {rows.name}",
        },
    )
    return StoredFile(poll_id, done.stored, done.new, done.in_doubt, len(fresh))


def unknown_users(connection: Connection, device: str, punches: pa.Table) -> list[str]:
    """Users of `punches` whom no terminal of the site of `device` has enrolled."""
    connection.register("named_users", punches.select(["user_id"]))
    rows = connection.execute(
        """
        SELECT DISTINCT user_id FROM named_users ANTI JOIN (
            SELECT user_id FROM device_users
            WHERE device IN (
                SELECT name FROM devices WHERE site = (SELECT site FROM devices WHERE name = $device)
            )
        ) AS enrolled USING (user_id) ORDER BY user_id
        """,
        {"device": device},
    ).fetchall()
    connection.unregister("named_users")
    return [user_id for (user_id,) in rows]


def _without_known(connection: Connection, device: str, rejected: pa.Table) -> pa.Table:
    """The rejected records that are not in quarantine yet."""
    if not len(rejected):
        return rejected
    known = connection.execute("SELECT raw FROM quarantined_records WHERE device = ?", [device]).fetchall()
    held = {raw for (raw,) in known}
    return rejected.take(pa.array([index for index, raw in enumerate(_raw(rejected)) if raw not in held], pa.int64()))


def _raw(rejected: pa.Table) -> Sequence[bytes]:
    values: Sequence[bytes] = rejected["raw"].to_pylist()
    return values
