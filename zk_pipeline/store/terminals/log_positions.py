"""Where the last reading of each log ended: rows of `device_log_positions`, written with the punches they follow."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pyarrow as pa

from zk_pipeline.devices.models import LogPosition, Reading
from zk_pipeline.store.engine.database import Connection

# A full reading at least this often finds what no tail can show, such as a log cleared and filled again.
FULL_READING_EVERY = timedelta(days=1)

_FIELDS = ("serial_number", "layout", "record_count", "total_bytes", "overlap", "user_count")
_TAILS = pa.schema(
    {
        "device": pa.string(),
        "serial_number": pa.string(),
        "layout": pa.string(),
        "record_count": pa.int64(),
        "total_bytes": pa.int64(),
        "overlap": pa.binary(),
        "user_count": pa.int64(),
        "full_read_at": pa.timestamp("us", "UTC"),
        "updated_at": pa.timestamp("us", "UTC"),
    }
)


def usable_positions(connection: Connection, now: datetime) -> dict[str, LogPosition]:
    """Tail by device, of those whose whole log was read within a day."""
    rows = connection.execute(
        f"SELECT device, {', '.join(_FIELDS)} FROM device_log_positions WHERE full_read_at > ?",  # noqa: S608 (names of ours)
        [now - FULL_READING_EVERY],
    ).fetchall()
    return {device: LogPosition(**dict(zip(_FIELDS, values, strict=True))) for device, *values in rows}


def keep_positions(connection: Connection, readings: Mapping[str, Reading], now: datetime) -> None:
    """Remember the ends of these readings, by device; forget the one before where a reading gives none."""
    names = list(readings)
    known = dict(
        connection.execute(
            "SELECT device, full_read_at FROM device_log_positions WHERE list_contains(?, device)", [names]
        ).fetchall()
    )
    connection.execute("DELETE FROM device_log_positions WHERE list_contains(?, device)", [names])
    rows = [
        {
            "device": device,
            **{name: getattr(reading.position, name) for name in _FIELDS},
            "full_read_at": now if reading.mode == "full" else known.get(device, now),
            "updated_at": now,
        }
        for device, reading in readings.items()
        if reading.position is not None
    ]
    if not rows:
        return
    connection.register("tails", pa.Table.from_pylist(rows, _TAILS))
    connection.execute("INSERT INTO device_log_positions BY NAME FROM tails")
    connection.unregister("tails")


def records_accounted_for(reading: Reading) -> int:
    """Records of the log that are stored or in quarantine once this reading is."""
    return (
        reading.position.record_count if reading.position is not None else len(reading.punches) + len(reading.rejected)
    )
