"""Facts of the home page, in one consistent read: problems, punches and deliveries by hour, delays, polls by hour.

Each query is bounded by days or by the number of devices, not by the size of the history.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import pyarrow as pa

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.quality.alerts import KnownAlert, known_alerts
from zk_pipeline.store.quality.quality import Freshness, freshness
from zk_pipeline.store.queries.metrics import IS_POLL
from zk_pipeline.store.queries.overview import StaleSites, read_stale_dates
from zk_pipeline.store.work_dates.assignment import valid_punches
from zk_pipeline.store.work_dates.staleness import dates_outside

HOURS = 24
WEEKS = 8  # before today, for the usual day
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True)
class HourlyPolls:
    """Polls of one device that began in one hour, and uploads of a terminal that pushes."""

    read: int = 0
    failed: int = 0
    uploads: int = 0


@dataclass(frozen=True)
class TerminalHours:
    """An enabled device in the last 24 hours. `connection`: `polls`, `pushes` or `files`; `last_contact`: its last
    successful poll or connection to the receiver; `hours`: by number of the hour, without those of no contact.
    """

    id: int
    name: str
    site: str
    connection: str
    created_at: datetime
    last_contact: datetime | None
    hours: Mapping[int, HourlyPolls] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum(one.failed for one in self.hours.values())


@dataclass(frozen=True)
class HourlyDeliveries:
    """Requests to the CRM that ended in one hour."""

    delivered: int = 0
    failed: int = 0


@dataclass(frozen=True)
class UsualDay:
    """Punches by hour of the wall clock at each terminal: of today by site, and the median of the same weekday in the
    last eight weeks over all sites. `days`: of these, the days with punches, which the median is of; `weekday`: None if
    it differs by terminal; `last_hour`: the highest hour of the terminals' clocks, -1 without terminals.
    """

    today: Mapping[str, Sequence[int]]
    usual: Sequence[float]
    days: int
    weekday: str | None
    last_hour: int


@dataclass(frozen=True)
class Delay:
    """Seconds from one stage to the next: median and 95th percentile of `count` values, None without any."""

    count: int
    median: float | None
    p95: float | None


@dataclass(frozen=True)
class Delays:
    """Delays of the punches of the last 24 hours, without imported files and corrected clocks.
    `to_day`: from storing the last punch of an
    attendance day to its first revision with it; `to_crm`: from that revision to its confirmation by the CRM;
    `altogether`: from that punch to this confirmation.
    """

    to_store: Delay
    to_day: Delay
    to_crm: Delay
    altogether: Delay


@dataclass(frozen=True)
class HomeFacts:
    """The store at one instant. `begin`: start of hour 0 of 24, the last of which is not over; `alerts`: open ones;
    `deliveries`: by state; other counts are of what waits for an operator.
    """

    begin: datetime
    late: Freshness
    alerts: list[KnownAlert]
    terminals: list[TerminalHours]
    punches: UsualDay
    delays: Delays
    sent: Mapping[int, HourlyDeliveries]
    deliveries: Mapping[str, int]
    stale: list[StaleSites]
    outside: list[date]
    devices: int  # registered, including disabled ones
    quarantined: int
    clock_suspects: int
    pending_terminals: int
    waiting_requests: int


@dataclass(frozen=True)
class HomeQueries:
    database: Database

    def read(self, rules: WorkRules, *, first: date, last: date, now: datetime, zone: str) -> HomeFacts:
        """Read everything by the current `rules`; `first` and `last` bound the work dates that have a partition. The
        hours begin on the hour of the wall clock in `zone`.
        """
        local = now.astimezone(ZoneInfo(zone))
        begin = now - timedelta(minutes=local.minute, seconds=local.second, microseconds=now.microsecond)
        begin -= (HOURS - 1) * HOUR
        with self.database.read("home page") as connection:
            counts = connection.execute(_COUNTS).fetchall()[0]
            return HomeFacts(
                begin=begin,
                late=freshness(connection, now, first=first, last=last),
                alerts=[one for one in known_alerts(connection, now) if one.resolved_at is None],
                terminals=_terminals(connection, begin),
                punches=_usual_day(connection, now),
                delays=_delays(connection, now - DAY),
                sent=_sent(connection, begin),
                deliveries=dict(connection.execute(_DELIVERIES).fetchall()),
                stale=[
                    StaleSites(one.work_date, one.sites)
                    for one in read_stale_dates(connection, rules, first=first, last=last, now=now)
                ],
                outside=dates_outside(connection, first=first, last=last),
                **dict(zip(_COUNTED, counts, strict=True)),
            )


_COUNTED = ("devices", "quarantined", "clock_suspects", "pending_terminals", "waiting_requests")
_COUNTS = """
SELECT (SELECT count(*) FROM devices WHERE removed_at IS NULL),
       (SELECT count(*) FROM quarantined_records WHERE released_at IS NULL),
       (SELECT count(*) FROM raw_punches WHERE is_clock_suspect AND seq NOT IN (SELECT seq FROM corrected_punches)),
       (SELECT count(*) FROM push_terminals WHERE device IS NULL),
       (SELECT count(*) FROM manual_punches WHERE decision IS NULL)
"""
_DELIVERIES = "SELECT state, count(*) FROM crm_deliveries GROUP BY state"


def _terminals(connection: Connection, begin: datetime) -> list[TerminalHours]:
    devices = connection.execute(_DEVICES).fetchall()
    hours: dict[str, dict[int, HourlyPolls]] = defaultdict(dict)
    for device, hour, *counts in connection.execute(_POLLS, {"begin": begin}).fetchall():
        hours[device][hour] = HourlyPolls(*counts)
    return [
        TerminalHours(number, name, site, kind, created_at, last_contact, hours.get(name, {}))
        for number, name, site, kind, created_at, last_contact in devices
    ]


_DEVICES = """
SELECT device.id, device.name, device.site,
       CASE WHEN device.polled THEN 'polls' WHEN terminal.device IS NULL THEN 'files' ELSE 'pushes' END,
       device.created_at, greatest(device.last_sync, terminal.last_seen_at)
FROM devices AS device LEFT JOIN push_terminals AS terminal ON terminal.device = device.name
WHERE device.enabled AND device.removed_at IS NULL ORDER BY device.name
"""
_POLLS = f"""
SELECT device, hour, sum(read)::INTEGER, sum(failed)::INTEGER, sum(uploads)::INTEGER
FROM (
    SELECT device, floor((epoch(started_at) - epoch($begin::TIMESTAMPTZ)) / 3600)::INTEGER AS hour,
           count(*) FILTER (status = 'success') AS read, count(*) FILTER (status <> 'success') AS failed, 0 AS uploads
    FROM device_polls WHERE started_at >= $begin AND {IS_POLL} GROUP BY ALL
    UNION ALL
    SELECT device, floor((epoch(received_at) - epoch($begin::TIMESTAMPTZ)) / 3600)::INTEGER, 0, 0, count(*)
    FROM push_batches WHERE received_at >= $begin GROUP BY ALL
)
GROUP BY device, hour
"""  # noqa: S608 (constant SQL)


def _usual_day(connection: Connection, now: datetime) -> UsualDay:
    devices = connection.execute("SELECT name, site, timezone FROM devices WHERE removed_at IS NULL").fetchall()
    clocks = [now.astimezone(ZoneInfo(zone)) for _, _, zone in devices]
    today: dict[str, list[int]] = defaultdict(lambda: [0] * HOURS)
    before: dict[int, list[int]] = defaultdict(lambda: [0] * HOURS)
    if devices:
        table = pa.table(
            {
                "device": pa.array([name for name, _, _ in devices], pa.string()),
                "site": pa.array([site for _, site, _ in devices], pa.string()),
                "today": pa.array([clock.date() for clock in clocks], pa.date32()),
            }
        )
        connection.register("todays", table)
        for site, weeks, hour, count in connection.execute(
            _count_punches(valid_punches(connection), {clock.date() for clock in clocks})
        ).fetchall():
            counts = before[weeks] if weeks else today[site]
            counts[hour] += count
        connection.unregister("todays")
    weekdays = {f"{clock:%A}" for clock in clocks}
    return UsualDay(
        today=dict(today),
        usual=[median(counts[hour] for counts in before.values()) if before else 0 for hour in range(HOURS)],
        days=len(before),
        weekday=weekdays.pop() if len(weekdays) == 1 else None,
        last_hour=max((clock.hour for clock in clocks), default=-1),
    )


def _count_punches(punches: str, todays: Iterable[date]) -> str:
    """Query of site (of today), weeks before today, hour and punches. One range of the stored column per day, so that
    DuckDB skips the row groups of all other days.
    """
    days = [(today, weeks, today - timedelta(weeks=weeks)) for today in todays for weeks in range(WEEKS + 1)]
    return " UNION ALL ".join(
        f"""
        SELECT {"NULL" if weeks else "todays.site"} AS site, {weeks} AS weeks, hour(punched_at_local) AS hour, count(*)
        FROM {punches} AS punch JOIN todays ON todays.device = punch.device AND todays.today = DATE '{today}'
        WHERE punched_at_local >= TIMESTAMP '{day}' AND punched_at_local < TIMESTAMP '{day + DAY}' GROUP BY ALL
        """  # noqa: S608 (dates)
        for today, weeks, day in days
    )


def _delays(connection: Connection, since: datetime) -> Delays:
    row = connection.execute(_DELAYS, {"since": since}).fetchall()[0]
    return Delays(*(Delay(*row[start : start + 3]) for start in range(0, 12, 3)))


def _spread(expression: str) -> str:
    """Count, median and 95th percentile of seconds, as SQL."""
    return f"count({expression}), median({expression}), quantile_cont({expression}, 0.95)"


_DELAYS = f"""
WITH fresh AS (
    SELECT device.site, punch.user_id, punch.punched_at, punch.created_at
    FROM raw_punches AS punch JOIN devices AS device ON device.name = punch.device
    WHERE punch.created_at >= $since AND punch.punched_at >= $since AND punch.source <> 'file'
      AND NOT punch.is_clock_suspect AND punch.voided_at IS NULL
      AND punch.seq NOT IN (SELECT seq FROM corrected_punches)
),
made AS (
    SELECT fresh.site, fresh.user_id, fresh.punched_at, fresh.created_at,
           min(day.created_at) AS day_at, min(struct_pack(revision := day.revision, work_date := day.work_date)) AS day
    FROM fresh JOIN daily_attendance_revisions AS day
      ON day.site = fresh.site AND day.user_id = fresh.user_id
     AND coalesce(day.clock_out, day.clock_in) = fresh.punched_at
    WHERE day.created_at >= $since
    GROUP BY ALL
),
sent AS (
    SELECT made.punched_at, made.day_at, delivery.delivered_at
    FROM made JOIN crm_deliveries AS delivery
      ON delivery.site = made.site AND delivery.user_id = made.user_id
     AND delivery.work_date = made.day.work_date AND delivery.revision = made.day.revision
    WHERE delivery.delivered_at >= $since
)
SELECT * FROM (SELECT {_spread("greatest(0, epoch(created_at) - epoch(punched_at))")} FROM fresh),
    (SELECT {_spread("greatest(0, epoch(day_at) - epoch(created_at))")} FROM made),
    (SELECT {_spread("greatest(0, epoch(delivered_at) - epoch(day_at))")},
            {_spread("greatest(0, epoch(delivered_at) - epoch(punched_at))")} FROM sent)
"""  # noqa: S608 (constant SQL)


def _sent(connection: Connection, begin: datetime) -> dict[int, HourlyDeliveries]:
    rows = connection.execute(
        """
        SELECT floor((epoch(finished_at) - epoch($begin::TIMESTAMPTZ)) / 3600)::INTEGER,
               count(*) FILTER (outcome = 'delivered'), count(*) FILTER (outcome <> 'delivered')
        FROM crm_attempts WHERE finished_at >= $begin GROUP BY 1
        """,
        {"begin": begin},
    ).fetchall()
    return {hour: HourlyDeliveries(delivered, failed) for hour, delivered, failed in rows}
