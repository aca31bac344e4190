"""Metrics of the store for `/metrics` and `/health/ready`, each in one read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.work_dates.staleness import stale_dates

# Modes of `device_polls` that are polls of a terminal's log; null: a failed poll.
IS_POLL = "coalesce(mode, 'full') IN ('full', 'incremental', 'unchanged')"


@dataclass(frozen=True)
class PollCounters:
    """All polls of one device that ended with `status`, since it was registered; live capture is not counted."""

    device: str
    status: str
    polls: int
    duration_seconds: float
    new_punches: int


@dataclass(frozen=True)
class PushMetrics:
    """A device whose terminal has pushed: uploads and lines by outcome since the beginning, and its last contact (None
    if no terminal is adopted for it now).
    """

    device: str
    uploads: int
    stored: int
    duplicates: int
    quarantined: int
    other: int
    last_contact: datetime | None


@dataclass(frozen=True)
class DeviceMetrics:
    """An enabled device after its latest successful poll, or the last contact of a terminal that only pushes; None
    without one.
    """

    device: str
    last_success: datetime | None
    clock_drift_seconds: float | None
    log_used_ratio: float | None
    last_poll_seconds: float | None


@dataclass(frozen=True)
class StoreMetrics:
    """Counts at one instant; `oldest_due` is when the oldest delivery that is due was created."""

    punches: int
    attendance_days: int
    outlier_days: int
    quarantined_records: int
    stale_work_dates: int
    polls: list[PollCounters]
    devices: list[DeviceMetrics]
    pushing: list[PushMetrics]
    pending_terminals: int
    deliveries: dict[str, int]
    oldest_due: datetime | None


def read_store_metrics(database: Database, *, first: date, last: date, now: datetime) -> StoreMetrics:
    """`first` and `last` bound the work dates that have a partition."""
    with database.read("metrics") as connection:
        counts = connection.execute(
            """
            SELECT (SELECT count(*) FROM raw_punches), (SELECT count(*) FROM daily_attendance),
                   (SELECT count(*) FROM daily_attendance WHERE is_outlier),
                   (SELECT count(*) FROM quarantined_records),
                   (SELECT min(created_at) FROM crm_deliveries WHERE state IN ('pending', 'sending', 'retry')),
                   (SELECT count(*) FROM push_terminals WHERE device IS NULL)
            """
        ).fetchone()
        pushing = read_push_metrics(connection)
        polls = read_poll_counters(connection)
        devices = connection.execute(_DEVICES).fetchall()
        states = connection.execute("SELECT state, count(*) FROM crm_deliveries GROUP BY state ORDER BY 1").fetchall()
        stale = len(stale_dates(connection, first=first, last=last, now=now))
    assert counts is not None
    return StoreMetrics(
        punches=counts[0],
        attendance_days=counts[1],
        outlier_days=counts[2],
        quarantined_records=counts[3],
        stale_work_dates=stale,
        polls=polls,
        devices=[DeviceMetrics(*row) for row in devices],
        pushing=pushing,
        pending_terminals=counts[5],
        deliveries=dict(states),
        oldest_due=counts[4],
    )


def read_device_metrics(database: Database) -> list[DeviceMetrics]:
    """Every enabled device, by name. The readiness probe uses it as its test that the store can be read."""
    with database.read("latest polls") as connection:
        return [DeviceMetrics(*row) for row in connection.execute(_DEVICES).fetchall()]


def count_polls(condition: str = "true", source: str = "device_polls AS old") -> str:
    """A query of the columns of `device_poll_totals` over the polls that meet the condition.

    Durations are whole microseconds: a sum of floats depends on its order, and no counter may fall by a rounding error.
    """
    return f"""
        SELECT device, status, count(*)::BIGINT AS polls,
               coalesce(sum(greatest(0, epoch_us(finished_at) - epoch_us(started_at))), 0)::BIGINT
                   AS duration_microseconds,
               coalesce(sum("new"), 0)::BIGINT AS new_punches
        FROM {source} WHERE coalesce(mode, 'full') NOT IN ('live', 'push', 'file') AND ({condition})
        GROUP BY device, status
    """  # noqa: S608 (SQL of this package)


UPLOAD_COUNTS = ("uploads", "stored", "duplicates", "quarantined", "other")


def count_uploads(condition: str = "true", source: str = "push_batches AS old") -> str:
    """A query of the columns of `push_totals` over the uploads that meet the condition."""
    sums = ", ".join(f"coalesce(sum({name}), 0)::BIGINT AS {name}" for name in UPLOAD_COUNTS[1:])
    return f"SELECT device, count(*)::BIGINT AS uploads, {sums} FROM {source} WHERE ({condition}) GROUP BY device"  # noqa: S608


def read_push_metrics(connection: Connection) -> list[PushMetrics]:
    """By device: rows of `push_batches`, plus `push_totals` of deleted rows."""
    names = ", ".join(("device", *UPLOAD_COUNTS))
    sums = ", ".join(f"coalesce(sum(counted.{name}), 0)::BIGINT" for name in UPLOAD_COUNTS)
    rows = connection.execute(
        f"""
        SELECT device, {sums}, any_value(terminal.last_seen_at)
        FROM (SELECT {names} FROM push_totals UNION ALL {count_uploads()}) AS counted
        FULL JOIN (SELECT device, last_seen_at FROM push_terminals WHERE device IS NOT NULL) AS terminal USING (device)
        GROUP BY device ORDER BY device
        """  # noqa: S608 (SQL of this package)
    ).fetchall()
    return [PushMetrics(*row) for row in rows]


def read_poll_counters(connection: Connection) -> list[PollCounters]:
    """By device and status: rows of `device_polls`, plus `device_poll_totals` of deleted rows."""
    rows = connection.execute(
        f"""
        SELECT device, status, sum(polls)::BIGINT, sum(duration_microseconds)::BIGINT / 1e6, sum(new_punches)::BIGINT
        FROM (
            SELECT device, status, polls, duration_microseconds, new_punches FROM device_poll_totals
            UNION ALL {count_polls()}
        )
        GROUP BY device, status ORDER BY device, status
        """  # noqa: S608 (SQL of this package)
    ).fetchall()
    return [PollCounters(*row) for row in rows]


_DEVICES = f"""
WITH newest AS (
    SELECT device,
           max(struct_pack(id, started_at, finished_at, record_count_after, clock_drift_seconds)) AS poll
    FROM device_polls WHERE status = 'success' AND {IS_POLL} GROUP BY device
)
SELECT device.name,
       CASE WHEN device.polled THEN newest.poll.finished_at ELSE terminal.last_seen_at END,
       CASE WHEN device.polled THEN newest.poll.clock_drift_seconds ELSE device.clock_drift_seconds END,
       CASE WHEN device.polled THEN newest.poll.record_count_after ELSE terminal.record_count END
           / nullif(device.record_capacity, 0),
       CASE WHEN device.polled THEN epoch(newest.poll.finished_at - newest.poll.started_at) END
FROM devices AS device
LEFT JOIN newest ON newest.device = device.name
LEFT JOIN push_terminals AS terminal ON terminal.device = device.name
WHERE device.enabled AND device.removed_at IS NULL
ORDER BY device.name
"""  # noqa: S608 (constant SQL)
