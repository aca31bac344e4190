"""Measurements for the data quality checks: delays, duplicates, outlier shares. Each read is bounded by days, not by
the size of the history; the checks are evaluated elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.quality.integrity import (
    block_inconsistent_dates,
    blocked_dates,
    duplicate_keys,
    duplicate_punches,
    inconsistent_dates,
    schema_faults,
)
from zk_pipeline.store.queries.metrics import IS_POLL
from zk_pipeline.store.queries.terminal_health import IS_MISSING
from zk_pipeline.store.schema.migrations_runner import tables_as_shipped
from zk_pipeline.store.terminals.namesakes import Names, candidates, namesakes
from zk_pipeline.store.work_dates.assignment import assign_work_dates

DAY, WEEK, MONTH = timedelta(days=1), timedelta(days=7), timedelta(days=30)


@dataclass(frozen=True)
class DeviceReach:
    """An enabled device that is polled. `silent_since`: its last successful poll or last change of registration.
    `missing`: records of its last successful poll that are not in the store. The other fields are of its newest poll,
    None if that succeeded. Covers polls of the last two days.
    """

    device: str
    silent_since: datetime
    failed_at: datetime | None
    error_code: str | None
    error: str | None
    run_id: str | None
    missing: int


@dataclass(frozen=True)
class PushReach:
    """An enabled device whose terminal pushes. `silent_since`: its last contact with the receiver, adoption or change
    of registration. `missing`: punches of the terminal, from `differs_from` to
    `differs_until`, that it was asked for and that are not in the store. `refused_at`, `refusal`: its last upload that
    could not be read, and why.
    """

    device: str
    silent_since: datetime
    missing: int
    differs_from: date | None
    differs_until: date | None
    refused_at: datetime | None
    refusal: str | None


@dataclass(frozen=True)
class Undelivered:
    """Due deliveries, and dead letters."""

    due: int
    oldest_due: datetime | None
    failed: int
    oldest_failed: datetime | None
    failed_error: str | None  # message of the CRM for one of them


@dataclass(frozen=True)
class Freshness:
    """Delays. `waiting_since`: work dates that could be processed and are not, and since when. `locked_since`: devices,
    including disabled ones, whose reader and keys the pipeline locked, and since when.
    """

    devices: list[DeviceReach]
    waiting_since: Mapping[date, datetime]
    undelivered: Undelivered
    locked_since: Mapping[str, datetime] = field(default_factory=dict)
    pushing: list[PushReach] = field(default_factory=list)


@dataclass(frozen=True)
class Shares:
    """Rows of one work date, and how many of them are outliers or incomplete; `before`: the same of the 30 before."""

    rows: int
    outliers: int
    rows_before: int
    outliers_before: int


@dataclass(frozen=True)
class Facts:
    """State of the data before the work date `today`, which is not over and therefore not included."""

    schema_faults: list[str]
    duplicate_keys: list[str]
    duplicate_punches: int
    inconsistent_dates: Mapping[date, str]
    quarantined: Mapping[str, int]  # device → records of the last day that are still in quarantine
    quarantined_before: int
    shared_ids: list[tuple[str, str, str]]  # site, user id, names
    unknown_users: list[tuple[str, str, int]]  # device, user id, punches of the last week
    empty_days: list[tuple[str, date]]  # site, usual work date of the last week without punches
    shares: Mapping[date, Shares]  # of the last week
    several_sites: list[tuple[str, int, str]]  # user id, dates of the last week with rows at several sites, the sites
    namesakes: Names  # ids of different employees at different sites
    churning: list[tuple[date, str, str, int]]  # work date, site, user id, revisions of the last day


@dataclass(frozen=True)
class Quality:
    database: Database
    clock: Callable[[], datetime]

    def freshness(self, *, first: date, last: date) -> Freshness:
        """Current delays, for the work dates from `first` to `last`."""
        now = self.clock()
        with self.database.read("freshness") as connection:
            return freshness(connection, now, first=first, last=last)

    def reach(self) -> Freshness:
        """Current delays of devices only; without work dates and deliveries, which take longer to read."""
        with self.database.read("reach of devices") as connection:
            devices, locked, pushing = _reach(connection, self.clock())
        return Freshness(devices, {}, Undelivered(0, None, 0, None, None), locked, pushing)

    def facts(self, *, today: date) -> Facts:
        """The state of the data; does not change `blocked_dates`."""
        now, shipped = self.clock(), tables_as_shipped()
        with self.database.read("quality of the data") as connection:
            faults = schema_faults(connection, shipped)
            quarantined = connection.execute(_QUARANTINED, [now - DAY]).fetchall()
            before = connection.execute(
                "SELECT count(*) FROM quarantined_records WHERE created_at < ? AND released_at IS NULL", [now - DAY]
            ).fetchone()
            span = {"first": today - WEEK, "today": today}
            facts = Facts(
                schema_faults=faults,
                duplicate_keys=duplicate_keys(connection),
                duplicate_punches=duplicate_punches(connection, now - DAY - timedelta(hours=1)),
                inconsistent_dates=inconsistent_dates(connection, _relevant_dates(connection, now)),
                quarantined=dict(quarantined),
                quarantined_before=before[0] if before else 0,
                shared_ids=connection.execute(_SHARED_IDS).fetchall(),
                unknown_users=connection.execute(_UNKNOWN, [now - WEEK]).fetchall(),
                empty_days=connection.execute(_EMPTY_DAYS, {**span, "start": today - MONTH - WEEK}).fetchall(),
                shares=_shares(connection, today),
                several_sites=connection.execute(_SEVERAL_SITES, span).fetchall(),
                namesakes=[],
                churning=connection.execute(_CHURNING, [now - DAY]).fetchall(),
            )
            named = candidates(connection)
        return replace(facts, namesakes=namesakes(named))

    def block_inconsistent(self, dates: Collection[date]) -> dict[date, str]:
        """Block the inconsistent ones of `dates` from CRM delivery, unblock the others; returns the former."""
        with self.database.read("check work dates") as connection:
            inconsistent = inconsistent_dates(connection, dates)
            blocked = {day: reason for day, reason in blocked_dates(connection).items() if day in set(dates)}
        if inconsistent != blocked:
            with self.database.write("block inconsistent work dates") as connection:
                inconsistent = block_inconsistent_dates(connection, dates, self.clock())
        return inconsistent

    def block_relevant_dates(self) -> dict[date, str]:
        """`block_inconsistent` for dates with open deliveries, processed in the last day, or blocked already."""
        with self.database.read("work dates to check") as connection:
            dates = _relevant_dates(connection, self.clock())
        return self.block_inconsistent(dates)

    def blocked_dates(self) -> Mapping[date, str]:
        """Blocked work dates with the reason."""
        with self.database.read("blocked work dates") as connection:
            return blocked_dates(connection)

    def schema_faults(self) -> list[str]:
        """Differences of tables and columns from the migrations."""
        shipped = tables_as_shipped()
        with self.database.read("compare the schema") as connection:
            return schema_faults(connection, shipped)


def freshness(connection: Connection, now: datetime, *, first: date, last: date) -> Freshness:
    """As `Quality.freshness`, on the caller's connection."""
    placing = assign_work_dates(connection)
    asked = _WAITING.replace("<work_date>", placing.work_date).replace("<join>", placing.join)
    waiting = connection.execute(asked, {"first": first, "last": last, "now": now}).fetchall()
    devices, locked, pushing = _reach(connection, now)
    return Freshness(devices, dict(waiting), _undelivered(connection), locked, pushing)


def _reach(connection: Connection, now: datetime) -> tuple[list[DeviceReach], dict[str, datetime], list[PushReach]]:
    """Devices that are polled, devices with a locked keypad, and devices whose terminals push, as in `Freshness`."""
    devices = connection.execute(_REACH, {"since": now - 2 * DAY}).fetchall()
    locked = connection.execute(
        "SELECT name, keypad_locked_at FROM devices "
        "WHERE keypad_locked_at IS NOT NULL AND removed_at IS NULL ORDER BY name"
    ).fetchall()
    pushing = connection.execute(_PUSHING).fetchall()
    return [DeviceReach(*row) for row in devices], dict(locked), [PushReach(*row) for row in pushing]


def _relevant_dates(connection: Connection, now: datetime) -> list[date]:
    rows = connection.execute(
        """
        SELECT work_date FROM work_dates WHERE processed_at > $since
        UNION SELECT work_date FROM crm_deliveries WHERE state IN ('pending', 'sending', 'retry')
        UNION SELECT work_date FROM blocked_dates
        """,
        {"since": now - DAY - timedelta(hours=1)},
    ).fetchall()
    return [row[0] for row in rows]


def _undelivered(connection: Connection) -> Undelivered:
    row = connection.execute(
        """
        SELECT count(*) FILTER (state <> 'failed'), min(created_at) FILTER (state <> 'failed'),
               count(*) FILTER (state = 'failed'), min(created_at) FILTER (state = 'failed'),
               any_value(last_error) FILTER (state = 'failed')
        FROM crm_deliveries WHERE state IN ('pending', 'sending', 'retry', 'failed')
        """
    ).fetchone()
    assert row is not None
    return Undelivered(*row)


def _shares(connection: Connection, today: date) -> dict[date, Shares]:
    """Shares of those of the seven dates before `today` that have rows."""
    values = {"start": today - WEEK - MONTH, "today": today}
    by_date = {row[0]: (row[1], row[2]) for row in connection.execute(_ODD, values).fetchall()}
    shares = {}
    for day in (today - timedelta(days=number) for number in range(1, 8)):
        if day in by_date:
            past = [by_date[one] for one in by_date if day - MONTH <= one < day]
            shares[day] = Shares(*by_date[day], sum(rows for rows, _ in past), sum(outliers for _, outliers in past))
    return shares


_REACH = f"""
WITH newest AS (
    SELECT max(id) AS last_id, max(id) FILTER (status = 'success') AS good_id
    FROM device_polls WHERE started_at > $since AND {IS_POLL} GROUP BY device
),
poll AS (SELECT one.* FROM device_polls AS one JOIN newest ON newest.last_id = one.id WHERE one.status = 'failed'),
good AS (SELECT one.* FROM device_polls AS one JOIN newest ON newest.good_id = one.id)
SELECT
    device.name,
    greatest(coalesce(device.last_sync, device.created_at), device.updated_at),
    poll.finished_at,
    poll.error_code,
    poll.error,
    poll.run_id,
    -- If the terminal's counter is not the number of its records, the poll has a warning.
    CASE WHEN good.warnings IS NULL THEN greatest(0, coalesce(good.reported - good.records_accounted_for, 0)) ELSE 0 END
FROM devices AS device LEFT JOIN poll ON poll.device = device.name LEFT JOIN good ON good.device = device.name
WHERE device.enabled AND device.polled AND device.removed_at IS NULL
ORDER BY device.name
"""  # noqa: S608 (constant SQL)

_PUSHING = f"""
SELECT
    device.name,
    greatest(terminal.last_seen_at, terminal.adopted_at, device.updated_at),
    coalesce(differing.missing, 0),
    differing.first_date,
    differing.last_date,
    terminal.refused_at,
    terminal.refusal
FROM devices AS device
JOIN push_terminals AS terminal ON terminal.device = device.name
LEFT JOIN (
    SELECT serial_number, sum(terminal_punches - stored_punches)::BIGINT AS missing,
           min(first_date) AS first_date, max(last_date) AS last_date
    FROM push_checks WHERE {IS_MISSING} GROUP BY serial_number
) AS differing ON differing.serial_number = terminal.serial_number
WHERE device.enabled AND device.removed_at IS NULL
ORDER BY device.name
"""  # noqa: S608 (constant SQL)

# A date that became stale without new punches (a changed rule, a moved device) is requested by the sensor at once; its
# delay is unknown, and it does not count as late.
_WAITING = """
WITH stale AS (
    SELECT work_date, processed_seq, reprocess_after FROM work_dates
    WHERE work_date BETWEEN $first AND $last AND raw_purged_at IS NULL
      AND (latest_punch_seq > processed_seq OR reprocess_after <= $now)
),
span AS (SELECT min(processed_seq) AS seq, min(work_date) AS first, max(work_date) AS last FROM stale),
fresh AS (
    SELECT <work_date> AS work_date, punch.seq, punch.created_at
    FROM span, raw_punches AS punch <join>
    WHERE punch.seq > span.seq AND NOT punch.is_clock_suspect AND punch.voided_at IS NULL
      AND punch.punched_at_local BETWEEN span.first AND span.last + INTERVAL 2 DAY
)
SELECT
    stale.work_date,
    least(min(fresh.created_at), CASE WHEN stale.reprocess_after <= $now THEN stale.reprocess_after END) AS since
FROM stale LEFT JOIN fresh ON fresh.work_date = stale.work_date AND fresh.seq > stale.processed_seq
GROUP BY stale.work_date, stale.reprocess_after HAVING since IS NOT NULL ORDER BY 1
"""

_QUARANTINED = """
SELECT device, count(*) FROM quarantined_records WHERE created_at >= ? AND released_at IS NULL GROUP BY 1 ORDER BY 1
"""

_SHARED_IDS = """
SELECT device.site, person.user_id, string_agg(DISTINCT trim(person.name), ' / ' ORDER BY trim(person.name)) AS names
FROM device_users AS person JOIN devices AS device ON device.name = person.device
WHERE device.removed_at IS NULL AND trim(person.name) <> ''
GROUP BY 1, 2 HAVING count(DISTINCT lower(trim(person.name))) > 1
ORDER BY 1, 2 LIMIT 100
"""

# Only sites with a user list: not every terminal has one.
_UNKNOWN = """
WITH people AS (
    SELECT DISTINCT device.site, person.user_id
    FROM device_users AS person JOIN devices AS device ON device.name = person.device
)
SELECT punch.device, punch.user_id, count(*)
FROM raw_punches AS punch JOIN devices AS device ON device.name = punch.device
WHERE punch.created_at >= ? AND device.removed_at IS NULL
  AND punch.device IN (SELECT device FROM device_users)
  AND (device.site, punch.user_id) NOT IN (SELECT (site, user_id) FROM people)
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 100
"""

# A usual weekday: the site had punches on it in at least three of the four weeks before.
_EMPTY_DAYS = """
WITH present AS (
    SELECT DISTINCT site, work_date FROM daily_attendance WHERE work_date >= $start AND work_date < $today
),
asked AS (
    SELECT site, unnest(generate_series($first::DATE, $today::DATE - 1, INTERVAL 1 DAY))::DATE AS work_date
    FROM (SELECT DISTINCT site FROM devices WHERE enabled AND removed_at IS NULL)
)
SELECT site, work_date FROM asked
WHERE (site, work_date) NOT IN (SELECT (site, work_date) FROM present)
  AND 3 <= (
      SELECT count(*) FROM present AS earlier
      WHERE earlier.site = asked.site AND earlier.work_date IN (
          asked.work_date - 7, asked.work_date - 14, asked.work_date - 21, asked.work_date - 28
      )
  )
ORDER BY 2, 1
"""

_ODD = """
SELECT work_date, count(*), count(*) FILTER (is_outlier OR is_incomplete)
FROM daily_attendance WHERE work_date >= $start AND work_date < $today
GROUP BY 1 ORDER BY 1
"""

_SEVERAL_SITES = """
SELECT user_id, count(*), any_value(sites) FROM (
    SELECT user_id, work_date, string_agg(site, ', ' ORDER BY site) AS sites FROM daily_attendance
    WHERE work_date >= $first AND work_date <= $today
    GROUP BY 1, 2 HAVING count(DISTINCT site) > 1
)
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 100
"""

_CHURNING = """
SELECT work_date, site, user_id, count(*) AS revisions
FROM daily_attendance_revisions WHERE created_at >= ?
GROUP BY 1, 2, 3 HAVING revisions > 12
ORDER BY 4 DESC, 1, 2, 3 LIMIT 100
"""
