"""Where the last reading of each log ended: rows of `device_tails`, written with the punches they follow."""

from __future__ import annotations

from datetime import datetime, timedelta

from zk_pipeline.devices.models import LogTail, Reading
from zk_pipeline.store.database import Connection

# A full reading at least this often finds what no tail can show, such as a log cleared and filled again.
FULL_READING_EVERY = timedelta(days=1)

_FIELDS = ("serial_number", "layout", "record_count", "total_bytes", "overlap", "user_count")


def usable_tails(connection: Connection, now: datetime) -> dict[str, LogTail]:
    """Tail by device, of those whose whole log was read within a day."""
    rows = connection.execute(
        f"SELECT device, {', '.join(_FIELDS)} FROM device_tails WHERE full_read_at > ?",  # noqa: S608 (names of ours)
        [now - FULL_READING_EVERY],
    ).fetchall()
    return {device: LogTail(**dict(zip(_FIELDS, values, strict=True))) for device, *values in rows}


def keep_tail(connection: Connection, device: str, reading: Reading, now: datetime) -> None:
    """Remember the end of this reading; forget the one before where this one gives none."""
    row = connection.execute("SELECT full_read_at FROM device_tails WHERE device = ?", [device]).fetchone()
    connection.execute("DELETE FROM device_tails WHERE device = ?", [device])
    tail = reading.tail
    if tail is None:
        return
    full_read_at = now if reading.mode == "full" or row is None else row[0]
    connection.execute(
        f"""
        INSERT INTO device_tails (device, {", ".join(_FIELDS)}, full_read_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,  # noqa: S608 (names of ours)
        [device, *(getattr(tail, name) for name in _FIELDS), full_read_at, now],
    )


def accounted(reading: Reading) -> int:
    """Records of the log that are stored or in quarantine once this reading is."""
    return reading.tail.record_count if reading.tail is not None else len(reading.punches) + len(reading.rejected)
