"""Records that could not be read as punches: rows of `quarantined_records`, and their release."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pyarrow as pa

from zk_pipeline.devices.models import USER_COLUMNS, Device
from zk_pipeline.store.database import Database
from zk_pipeline.store.ingest import Brought, insert_punches, next_poll_id, punches_table
from zk_pipeline.store.lists import Rows
from zk_pipeline.store.pages import Key, Listing, Place, read_page


@dataclass(frozen=True)
class QuarantinedRecord:
    """A record with its bytes; `released_at`: when it could be read after all."""

    device: str
    raw: bytes
    reason: str
    poll_id: int
    created_at: datetime
    released_at: datetime | None


@dataclass(frozen=True)
class QuarantinedKind:
    """How many records of a device are in quarantine for one reason, and since when."""

    device: str
    reason: str
    count: int
    oldest: datetime
    newest: datetime


@dataclass(frozen=True)
class QuarantineStore:
    database: Database
    clock: Callable[[], datetime]

    def all(self) -> list[QuarantinedRecord]:
        """Every record that ever was in quarantine, the released ones included, by device and time."""
        with self.database.read("quarantined records") as connection:
            rows = connection.execute(f"{_SELECT} ORDER BY device, created_at, raw").fetchall()
        return [QuarantinedRecord(*row) for row in rows]

    def kinds(self) -> list[QuarantinedKind]:
        """What is in quarantine now, by device and reason."""
        with self.database.read("count quarantined records") as connection:
            rows = connection.execute(
                """
                SELECT device, reason, count(*), min(created_at), max(created_at)
                FROM quarantined_records WHERE released_at IS NULL GROUP BY ALL ORDER BY ALL
                """
            ).fetchall()
        return [QuarantinedKind(*row) for row in rows]

    def page(self, place: Place, *, device: str | None = None, released: bool = False) -> Rows[QuarantinedRecord]:
        """A page of those in quarantine, or of those released from it, the newest first."""
        conditions = ["released_at IS NOT NULL" if released else "released_at IS NULL"]
        conditions += ["device = $device"] if device is not None else []
        values = {} if device is None else {"device": device}
        with self.database.read("list quarantined records") as connection:
            page = read_page(
                connection,
                Listing(_NUMBERED, PAGE_ORDER, conditions, values),
                "device, raw, reason, first_poll_id, created_at, released_at",
                place,
            )
        return Rows(page.count, [QuarantinedRecord(*row) for row in page.rows], page.until, page.last, page.has_more)

    def of(self, device: str) -> list[QuarantinedRecord]:
        """Those of a device that are still in quarantine."""
        with self.database.read(f"quarantined records of {device}") as connection:
            rows = connection.execute(
                f"{_SELECT} WHERE device = ? AND released_at IS NULL ORDER BY created_at, raw", [device]
            ).fetchall()
        return [QuarantinedRecord(*row) for row in rows]

    def decoding(self, device: str) -> tuple[pd.DataFrame, str | None]:
        """What reading them again takes: the people now known (as `Reading.users`) and the log's layout, if known."""
        with self.database.read(f"how to read records of {device}") as connection:
            users = connection.execute(
                f"SELECT {', '.join(USER_COLUMNS)} FROM device_users WHERE device = ?",  # noqa: S608 (names of ours)
                [device],
            ).fetchall()
            layout = connection.execute("SELECT log_layout FROM devices WHERE name = ?", [device]).fetchone()
        return pd.DataFrame(users, columns=USER_COLUMNS), None if layout is None else layout[0]

    def release(self, device: Device, punches: pd.DataFrame, records: Sequence[QuarantinedRecord]) -> int:
        """Store `punches` (as `Reading.punches`) that `records` turned out to be; returns how many were new."""
        table, now = punches_table(punches, device.timezone), self.clock()
        freed = pa.table(
            {
                "raw": pa.array([one.raw for one in records], pa.binary()),
                "reason": pa.array([one.reason for one in records], pa.string()),
            }
        )
        with self.database.write(f"release quarantined records of {device.name}") as connection:
            poll_id = next_poll_id(connection)
            done = insert_punches(connection, [Brought(device.name, poll_id, table)], now)[0]
            connection.execute(
                """
                INSERT INTO device_polls (id, device, started_at, finished_at, status, mode, fetched, stored, "new")
                VALUES (?, ?, ?, ?, 'success', 'release', ?, ?, ?)
                """,
                [poll_id, device.name, now, now, len(records), done.stored, done.new],
            )
            connection.register("freed", freed)
            connection.execute(
                """
                UPDATE quarantined_records SET released_at = $now
                WHERE device = $device AND released_at IS NULL AND (raw, reason) IN (SELECT (raw, reason) FROM freed)
                """,
                {"now": now, "device": device.name},
            )
            connection.unregister("freed")
        return done.new


PAGE_ORDER = [Key("created_at", "instant", descending=True)]
# Each record is there once by device, bytes and reason, and has no number of its own.
_NUMBERED = "SELECT *, (hash((device, raw, reason)) >> 2)::BIGINT AS id FROM quarantined_records"
_SELECT = "SELECT device, raw, reason, first_poll_id, created_at, released_at FROM quarantined_records"
