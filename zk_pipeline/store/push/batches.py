"""Uploads of pushing terminals since a number, summed by device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from zk_pipeline.data_libraries import pa
from zk_pipeline.store.engine.database import Connection


@dataclass(frozen=True, kw_only=True)
class UploadSummary:
    """Uploads of a device: counts as in `push_batches`, the longest and median seconds from the last punch of an upload
    to its arrival (None without punches), and the number of the last one.
    """

    device: str
    uploads: int
    lines: int
    stored: int
    duplicates: int
    quarantined: int
    max_lag_seconds: float | None
    median_lag_seconds: float | None
    last_upload: int


@dataclass(frozen=True, kw_only=True)
class PushContact:
    """An adopted terminal of an enabled device: its last contact and record counter."""

    device: str
    seen_at: datetime
    record_count: int | None
    record_capacity: int | None


def newest_upload(connection: Connection) -> int:
    """Number of the newest upload; 0 without one."""
    row = connection.execute("SELECT coalesce(max(id), 0) FROM push_batches").fetchone()
    assert row is not None
    return int(row[0])


def summarize_uploads(
    connection: Connection, after: int, *, until: int, after_by_device: Mapping[str, int]
) -> list[UploadSummary]:
    """Uploads with numbers above `after`, or above that of the device, up to `until`, by device."""
    rows = [{"device": device, "number": number} for device, number in after_by_device.items()]
    connection.register("known_uploads", pa.Table.from_pylist(rows, _KNOWN()))
    found = connection.execute(
        """
        SELECT batch.device, count(*), sum(lines)::BIGINT, sum(stored)::BIGINT, sum(duplicates)::BIGINT,
               sum(quarantined)::BIGINT, max(lag_seconds), median(lag_seconds), max(id)
        FROM push_batches AS batch LEFT JOIN known_uploads AS known USING (device)
        WHERE id > $after AND id <= $until AND id > coalesce(known.number, 0)
        GROUP BY batch.device ORDER BY batch.device
        """,
        {"after": after, "until": until},
    ).fetchall()
    connection.unregister("known_uploads")
    return [UploadSummary(**dict(zip(UploadSummary.__dataclass_fields__, row, strict=True))) for row in found]


def read_contacts(connection: Connection) -> list[PushContact]:
    """Contacts of the adopted terminals of enabled devices, by device."""
    rows = connection.execute(
        """
        SELECT device.name, terminal.last_seen_at, terminal.record_count, device.record_capacity
        FROM push_terminals AS terminal JOIN devices AS device ON device.name = terminal.device
        WHERE device.enabled AND device.removed_at IS NULL ORDER BY device.name
        """
    ).fetchall()
    return [PushContact(**dict(zip(PushContact.__dataclass_fields__, row, strict=True))) for row in rows]


_KNOWN = cache(lambda: pa.schema({"device": pa.string(), "number": pa.int64()}))
