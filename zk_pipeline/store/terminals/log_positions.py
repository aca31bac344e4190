"""Resume positions of terminal logs: rows of `device_log_positions`, written in the transaction of the reading."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache

from zk_pipeline.data_libraries import pa
from zk_pipeline.devices.models import LogPosition, Reading
from zk_pipeline.store.engine.database import Connection

# A full reading at least this often finds changes that incremental ones cannot, such as a log cleared and refilled.
FULL_READING_EVERY = timedelta(days=1)

_FIELDS = ("serial_number", "layout", "record_count", "total_bytes", "overlap", "user_count")
_POSITIONS_SCHEMA = cache(
    lambda: pa.schema(
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
)


def usable_positions(connection: Connection, now: datetime) -> dict[str, LogPosition]:
    """Log position by device, for devices with a full reading within a day."""
    rows = connection.execute(
        f"SELECT device, {', '.join(_FIELDS)} FROM device_log_positions WHERE full_read_at > ?",  # noqa: S608 (constant names)
        [now - FULL_READING_EVERY],
    ).fetchall()
    return {device: LogPosition(**dict(zip(_FIELDS, values, strict=True))) for device, *values in rows}


def keep_positions(connection: Connection, readings: Mapping[str, Reading], now: datetime) -> None:
    """Store the positions of these readings, by device; delete the old one if a reading has none."""
    names = list(readings)
    known = dict(
        connection.execute(
            "SELECT device, full_read_at FROM device_log_positions WHERE list_contains(?, device)", [names]
        ).fetchall()
    )
    if known:
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
    connection.register("positions", pa.Table.from_pylist(rows, _POSITIONS_SCHEMA()))
    connection.execute("INSERT INTO device_log_positions BY NAME FROM positions")
    connection.unregister("positions")


def records_accounted_for(reading: Reading) -> int:
    """Number of records of the log that are stored or in quarantine after this reading."""
    return (
        reading.position.record_count if reading.position is not None else len(reading.punches) + len(reading.rejected)
    )
