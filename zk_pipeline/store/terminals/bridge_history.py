"""History of another system: its devices, punches, users, and what it delivered to the CRM, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.data_libraries import pa
from zk_pipeline.devices.models import Device
from zk_pipeline.store.deliveries.earlier_deliveries import record_earlier_deliveries, settle_earlier_deliveries
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.terminals.devices import insert_device
from zk_pipeline.store.terminals.ingest import count_new
from zk_pipeline.store.terminals.punch_files import FileComparison, FileRows, StoredFile, insert_file

UNKNOWN_UID = -1  # slot of an imported user, until the first poll reads the user list


@dataclass(frozen=True)
class HistoryRows:
    """History prepared before the lock: devices to register, punches per device, users
    (`ingest.USERS_OF_DEVICES`) and deliveries (`earlier_deliveries.EARLIER_DELIVERIES`).
    """

    new_devices: list[Device]
    files: list[FileRows]
    users: pa.Table
    deliveries: pa.Table


@dataclass(frozen=True)
class HistoryStored:
    """Result: per file as `StoredFile`; new users; new or changed deliveries; due deliveries that are delivered now."""

    files: list[StoredFile]
    users: int
    deliveries: int
    settled: int


@dataclass(frozen=True)
class BridgeHistoryStore:
    database: Database
    clock: Callable[[], datetime]

    def compare(self, files: Sequence[FileRows]) -> list[FileComparison]:
        """Compare the punches of each device with the store, without a change; `unknown_users` stay empty."""
        with self.database.read("compare punch files") as connection:
            return [FileComparison(*count_new(connection, one.device, one.punches), []) for one in files]

    def insert(self, rows: HistoryRows) -> HistoryStored:
        """Store a history. Idempotent. Raises UsageError if a device was removed or changed its zone in between."""
        now = self.clock()
        with self.database.write("store punch files") as connection:
            for device in rows.new_devices:
                insert_device(connection, device, now)
            files = [insert_file(connection, one, now) for one in rows.files]
            users = _insert_users(connection, rows.users, now)
            deliveries = record_earlier_deliveries(connection, rows.deliveries)
            return HistoryStored(files, users, deliveries, settle_earlier_deliveries(connection))


def _insert_users(connection: Connection, users: pa.Table, now: datetime) -> int:
    """Insert the users of devices without a user list; a terminal's own list replaces them at its first poll."""
    connection.register("imported_users", users)
    row = connection.execute(
        """
        INSERT INTO device_users BY NAME
        SELECT imported_users.*, $now AS updated_at FROM imported_users
        WHERE device NOT IN (SELECT device FROM device_users)
        """,
        {"now": now},
    ).fetchone()
    connection.unregister("imported_users")
    return int(row[0]) if row else 0
