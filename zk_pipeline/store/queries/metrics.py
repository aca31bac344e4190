"""Metrics of the store for `/metrics` and `/health/ready`, each in one read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from math import inf

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


@dataclass(frozen=True)
class NewestPoll:
    """The latest successful poll of a device."""

    id: int
    started_at: datetime
    finished_at: datetime
    record_count: int | None
    clock_drift_seconds: float | None


@dataclass
class PollHistory:
    """Counters and latest successes of all polls, continued from those of the reading before.

    Polls are added with higher ids; retention moves them to `device_poll_totals`, which changes no counter. All are
    counted again every `seconds`, and in a store without the last known poll: another one was restored. Thread-safe.
    """

    seconds: float = 3600.0
    monotonic: Callable[[], float] = time.monotonic
    _counted_at: float = -inf
    _last: tuple[int, datetime] | None = None
    _counters: dict[tuple[str, str], PollCounters] = field(default_factory=dict)
    _newest: dict[str, NewestPoll] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, connection: Connection) -> tuple[list[PollCounters], dict[str, NewestPoll]]:
        """Counters by device and status, and the latest successful poll by device."""
        with self._lock:
            if not self._is_known(connection):
                self._counted_at, self._last = self.monotonic(), None
                self._counters = {(one.device, one.status): one for one in _deleted_polls(connection)}
                self._newest = {}
            self._continue(connection)
            return [self._counters[key] for key in sorted(self._counters)], dict(self._newest)

    def _is_known(self, connection: Connection) -> bool:
        if self._last is None or self.monotonic() - self._counted_at > self.seconds:
            return False
        found = connection.execute("SELECT id, started_at FROM device_polls WHERE id = ?", [self._last[0]]).fetchone()
        return found == self._last

    def _continue(self, connection: Connection) -> None:
        after = 0 if self._last is None else self._last[0]
        for row in connection.execute(_POLLS_AFTER, {"after": after}).fetchall():
            device, status, polls, microseconds, new_punches, newest = row
            if polls:
                known = self._counters.get((device, status), PollCounters(device, status, 0, 0.0, 0))
                self._counters[device, status] = PollCounters(
                    device,
                    status,
                    known.polls + polls,
                    (round(known.duration_seconds * 1e6) + microseconds) / 1e6,
                    known.new_punches + new_punches,
                )
            if newest is not None:
                self._newest[device] = NewestPoll(*newest.values())
        self._last = (
            connection.execute("SELECT id, started_at FROM device_polls WHERE id > ? ORDER BY id DESC LIMIT 1", [after])
            .fetchone()
            or self._last
        )  # fmt: skip


def read_store_metrics(
    database: Database, *, first: date, last: date, now: datetime, history: PollHistory | None = None
) -> StoreMetrics:
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
        polls, newest = (history or PollHistory()).read(connection)
        devices = _device_metrics(connection, newest)
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
        devices=devices,
        pushing=pushing,
        pending_terminals=counts[5],
        deliveries=dict(states),
        oldest_due=counts[4],
    )


def read_device_metrics(database: Database, history: PollHistory | None = None) -> list[DeviceMetrics]:
    """Every enabled device, by name. The readiness probe uses it as its test that the store can be read."""
    with database.read("latest polls") as connection:
        return _device_metrics(connection, (history or PollHistory()).read(connection)[1])


def _device_metrics(connection: Connection, newest: Mapping[str, NewestPoll]) -> list[DeviceMetrics]:
    metrics = []
    for name, is_polled, capacity, drift, last_seen, record_count in connection.execute(_DEVICES).fetchall():
        poll = newest.get(name)
        if not is_polled:
            metrics.append(DeviceMetrics(name, last_seen, drift, _ratio(record_count, capacity), None))
        elif poll is None:
            metrics.append(DeviceMetrics(name, None, None, None, None))
        else:
            seconds = (poll.finished_at - poll.started_at).total_seconds()
            used = _ratio(poll.record_count, capacity)
            metrics.append(DeviceMetrics(name, poll.finished_at, poll.clock_drift_seconds, used, seconds))
    return metrics


def _ratio(records: int | None, capacity: int | None) -> float | None:
    return records / capacity if records is not None and capacity else None


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
    return PollHistory().read(connection)[0]


def _deleted_polls(connection: Connection) -> list[PollCounters]:
    rows = connection.execute(
        "SELECT device, status, polls, duration_microseconds / 1e6, new_punches FROM device_poll_totals"
    ).fetchall()
    return [PollCounters(*row) for row in rows]


_POLLS_AFTER = f"""
WITH counted AS ({count_polls("id > $after")}),
newest AS (
    SELECT device, 'success' AS status,
           max(struct_pack(id, started_at, finished_at, record_count_after, clock_drift_seconds)) AS poll
    FROM device_polls WHERE status = 'success' AND {IS_POLL} AND id > $after GROUP BY device
)
SELECT device, status, coalesce(polls, 0), coalesce(duration_microseconds, 0), coalesce(new_punches, 0), newest.poll
FROM counted FULL JOIN newest USING (device, status)
"""  # noqa: S608 (constant SQL)

_DEVICES = """
SELECT device.name, device.polled, device.record_capacity, device.clock_drift_seconds, terminal.last_seen_at,
       terminal.record_count
FROM devices AS device LEFT JOIN push_terminals AS terminal ON terminal.device = device.name
WHERE device.enabled AND device.removed_at IS NULL
ORDER BY device.name
"""
