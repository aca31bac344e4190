"""Details of one device for the web admin: stored punches, and its latest polls."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.queries.metrics import IS_POLL

NEWEST_POLLS = 20


@dataclass(frozen=True)
class PollListItem:
    """One poll; the counts are None if it failed."""

    started_at: datetime
    finished_at: datetime
    status: str
    mode: str | None
    fetched: int | None
    new: int | None
    quarantined: int | None
    clock_drift_seconds: float | None
    run_id: str | None
    error: str | None
    warnings: str | None

    @property
    def took_seconds(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class DeviceDetails:
    """One terminal. `polls`: newest first; `records` and `drift_seconds`: of the latest successful poll, or of the
    latest uploads of a terminal that only pushes; the drift before the first poll that of a connection test.
    """

    polls: list[PollListItem]
    punches: int
    last_punch_local: datetime | None
    quarantined: int
    enrolled: int
    firmware_version: str | None
    platform: str | None
    record_capacity: int | None
    records: int | None
    drift_seconds: float | None

    @property
    def fill(self) -> float | None:
        return self.records / self.record_capacity if self.records is not None and self.record_capacity else None


def device_details(database: Database, name: str) -> DeviceDetails:
    """Details of a registered device."""
    with database.read("device details") as connection:
        facts = connection.execute(_FACTS, {"name": name}).fetchone()
        polls = connection.execute(_POLLS, {"name": name, "limit": NEWEST_POLLS}).fetchall()
    assert facts is not None
    return DeviceDetails([PollListItem(*row) for row in polls], *facts)


_FACTS = f"""
WITH punches AS (
    SELECT count(*) AS held, max(punched_at_local) FILTER (NOT is_clock_suspect AND voided_at IS NULL) AS last
    FROM raw_punches WHERE device = $name
),
good AS (
    SELECT record_count_after, clock_drift_seconds FROM device_polls
    WHERE id = (SELECT max(id) FROM device_polls WHERE device = $name AND status = 'success' AND {IS_POLL})
)
SELECT
    punches.held,
    punches.last,
    (SELECT count(*) FROM quarantined_records WHERE device = $name AND released_at IS NULL),
    (SELECT count(DISTINCT user_id) FROM device_users WHERE device = $name),
    device.firmware_version,
    device.platform,
    device.record_capacity,
    CASE WHEN device.polled THEN good.record_count_after ELSE terminal.record_count END,
    CASE WHEN device.polled THEN coalesce(good.clock_drift_seconds, device.clock_drift_seconds)
         ELSE device.clock_drift_seconds END
FROM punches, devices AS device
LEFT JOIN good ON true
LEFT JOIN push_terminals AS terminal ON terminal.device = device.name
WHERE device.name = $name
"""  # noqa: S608 (constant SQL)
_POLLS = """
SELECT started_at, finished_at, status, mode, fetched, "new", quarantined, clock_drift_seconds, run_id, error,
       warnings
FROM device_polls WHERE device = $name ORDER BY id DESC LIMIT $limit
"""
