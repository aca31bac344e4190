"""What the API's `/metrics` and `/health/ready` count, each in one read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.work_dates.staleness import stale_dates


@dataclass(frozen=True)
class PollFigures:
    """The polls of one device that ended in `status`, ever since it was registered."""

    device: str
    status: str
    polls: int
    seconds: float
    new: int


@dataclass(frozen=True)
class DeviceFigures:
    """One enabled device after its newest successful poll; None where there was none."""

    device: str
    last_success: datetime | None
    clock_drift_seconds: float | None
    fill: float | None
    last_seconds: float | None  # how long that poll took


@dataclass(frozen=True)
class StoreFigures:
    """The store at one instant."""

    punches: int
    days: int
    outliers: int
    quarantined: int
    stale: int
    polls: list[PollFigures]
    devices: list[DeviceFigures]
    deliveries: dict[str, int]
    oldest_due: datetime | None


def store_figures(database: Database, *, first: date, last: date, now: datetime) -> StoreFigures:
    """`first` and `last` bound the work dates that have a partition."""
    with database.read("figures for metrics") as connection:
        counts = connection.execute(
            """
            SELECT (SELECT count(*) FROM raw_punches), (SELECT count(*) FROM daily_attendance),
                   (SELECT count(*) FROM daily_attendance WHERE is_outlier),
                   (SELECT count(*) FROM quarantined_records),
                   (SELECT min(created_at) FROM crm_deliveries WHERE state IN ('pending', 'sending', 'retry'))
            """
        ).fetchone()
        polls = connection.execute(
            """
            SELECT device, status, count(*), coalesce(sum(epoch(finished_at - started_at)), 0), coalesce(sum("new"), 0)
            FROM device_polls WHERE mode IS DISTINCT FROM 'live' GROUP BY device, status ORDER BY device, status
            """
        ).fetchall()
        devices = connection.execute(_DEVICES).fetchall()
        states = connection.execute("SELECT state, count(*) FROM crm_deliveries GROUP BY state ORDER BY 1").fetchall()
        stale = len(stale_dates(connection, first=first, last=last, now=now))
    assert counts is not None
    return StoreFigures(
        punches=counts[0],
        days=counts[1],
        outliers=counts[2],
        quarantined=counts[3],
        stale=stale,
        polls=[PollFigures(*row) for row in polls],
        devices=[DeviceFigures(*row) for row in devices],
        deliveries=dict(states),
        oldest_due=counts[4],
    )


def device_figures(database: Database) -> list[DeviceFigures]:
    """Every enabled device, by name: also the shortest proof that the store can be read."""
    with database.read("last polls") as connection:
        return [DeviceFigures(*row) for row in connection.execute(_DEVICES).fetchall()]


_DEVICES = """
WITH newest AS (
    SELECT device,
           max(struct_pack(id, started_at, finished_at, record_count_after, clock_drift_seconds)) AS poll
    FROM device_polls WHERE status = 'success' AND mode IS DISTINCT FROM 'live' GROUP BY device
)
SELECT device.name, newest.poll.finished_at, newest.poll.clock_drift_seconds,
       newest.poll.record_count_after / nullif(device.record_capacity, 0),
       epoch(newest.poll.finished_at - newest.poll.started_at)
FROM devices AS device LEFT JOIN newest ON newest.device = device.name
WHERE device.enabled AND device.removed_at IS NULL
ORDER BY device.name
"""
