"""Status overview of devices, days and deliveries, in one consistent read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.queries.metrics import IS_POLL
from zk_pipeline.store.work_dates.settings_changes import is_applied, preview_settings
from zk_pipeline.store.work_dates.staleness import StaleDate, dates_outside, stale_dates


@dataclass(frozen=True)
class DeviceStatus:
    """One device with its newest poll; `fill` is records over capacity, 0 to 1. If it is not `polled`, its terminal
    only pushes: `last_success` and `last_poll` are its last contact.

    `keypad_locked_at`: since when the pipeline has locked its reader and keys; None if they are not locked.
    """

    name: str
    site: str
    address: str
    enabled: bool
    last_success: datetime | None
    last_poll: datetime | None
    last_poll_status: str | None
    last_error: str | None
    last_warnings: str | None  # of the latest poll; null if it failed
    clock_drift_seconds: float | None
    records: int | None
    fill: float | None
    keypad_locked_at: datetime | None = None
    polled: bool = True


@dataclass(frozen=True)
class StaleSites:
    """A stale work date; `sites`: those whose rows are older than their punches, None for all."""

    work_date: date
    sites: list[str] | None


@dataclass(frozen=True)
class StoreStatus:
    """The store at one instant. `unpartitioned`: dates with punches outside the partitions' range.

    `stale_sites`: the `stale` dates with the sites that make them so. `stale_by_settings`: those of the `stale` dates
    that only a change of the settings makes stale, which the next processing applies.
    """

    devices: list[DeviceStatus]
    punches: int
    days: int
    stale: list[date]
    stale_sites: list[StaleSites]
    stale_by_settings: list[date]
    unpartitioned: list[date]
    quarantined: int
    clock_suspects: int
    deliveries: dict[str, int]
    oldest_due: datetime | None
    failed: int


@dataclass(frozen=True)
class Overview:
    database: Database

    def devices(self, *, site: str | None = None, name: str | None = None) -> list[DeviceStatus]:
        """The registered devices by name, of a site or of this name (None: all), without the rest of the status."""
        with self.database.read("status of devices") as connection:
            return _read_devices(connection, site=site, name=name)

    def stale(self, rules: WorkRules, *, first: date, last: date, now: datetime) -> list[StaleSites]:
        """The stale work dates, without the rest of the status."""
        with self.database.read("stale work dates") as connection:
            found = read_stale_dates(connection, rules, first=first, last=last, now=now)
        return [StaleSites(one.work_date, one.sites) for one in found]

    def status(self, rules: WorkRules, *, first: date, last: date, now: datetime) -> StoreStatus:
        """Read the status by the current `rules`; `first` and `last` bound the existing work-date partitions."""
        with self.database.read("status") as connection:
            devices = _read_devices(connection)
            counts = connection.execute(
                """
                SELECT (SELECT count(*) FROM raw_punches), (SELECT count(*) FROM daily_attendance),
                       (SELECT count(*) FROM quarantined_records WHERE released_at IS NULL),
                       (SELECT count(*) FROM raw_punches
                        WHERE is_clock_suspect AND seq NOT IN (SELECT seq FROM corrected_punches)),
                       (SELECT min(created_at) FROM crm_deliveries WHERE state IN ('pending', 'sending', 'retry'))
                """
            ).fetchone()
            before = stale_dates(connection, first=first, last=last, now=now)
            stale = read_stale_dates(connection, rules, first=first, last=last, now=now)
            by_settings = {one.work_date for one in stale} - {one.work_date for one in before}
            outside = dates_outside(connection, first=first, last=last)
            states = dict(
                connection.execute("SELECT state, count(*) FROM crm_deliveries GROUP BY 1 ORDER BY 1").fetchall()
            )
        assert counts is not None
        punches, days, quarantined, clock_suspects, oldest_due = counts
        return StoreStatus(
            devices=devices,
            punches=punches,
            days=days,
            stale=[one.work_date for one in stale],
            stale_sites=[StaleSites(one.work_date, one.sites) for one in stale],
            stale_by_settings=sorted(by_settings),
            unpartitioned=outside,
            quarantined=quarantined,
            clock_suspects=clock_suspects,
            deliveries=states,
            oldest_due=oldest_due,
            failed=states.get("failed", 0),
        )


def read_stale_dates(
    connection: Connection, rules: WorkRules, *, first: date, last: date, now: datetime
) -> list[StaleDate]:
    """Stale work dates from `first` to `last`, including those that the next processing makes stale by `rules`."""
    read = stale_dates if is_applied(connection, rules) else partial(preview_settings, rules=rules)
    return read(connection, first=first, last=last, now=now)


def _read_devices(connection: Connection, site: str | None = None, name: str | None = None) -> list[DeviceStatus]:
    return [DeviceStatus(*row) for row in connection.execute(_DEVICES, {"site": site, "name": name}).fetchall()]


_DEVICES = f"""
WITH asked AS (
    SELECT * FROM devices
    WHERE removed_at IS NULL AND ($site IS NULL OR site = $site) AND ($name IS NULL OR name = $name)
),
newest AS (
    SELECT max(id) AS last_id, max(id) FILTER (status = 'success') AS good_id
    FROM device_polls WHERE {IS_POLL} AND device IN (SELECT name FROM asked) GROUP BY device
),
last_poll AS (SELECT poll.* FROM device_polls AS poll JOIN newest ON newest.last_id = poll.id),
last_good AS (SELECT poll.* FROM device_polls AS poll JOIN newest ON newest.good_id = poll.id)
SELECT
    device.name,
    device.site,
    device.ip_address || ':' || device.port AS address,
    device.enabled,
    device.last_sync,
    CASE WHEN device.polled THEN last_poll.finished_at ELSE terminal.last_seen_at END,
    CASE WHEN device.polled THEN last_poll.status WHEN terminal.device IS NOT NULL THEN 'success' END,
    CASE WHEN device.polled THEN last_poll.error END,
    CASE WHEN device.polled THEN last_poll.warnings END,
    CASE WHEN device.polled THEN last_good.clock_drift_seconds ELSE device.clock_drift_seconds END,
    CASE WHEN device.polled THEN last_good.record_count_after ELSE terminal.record_count END AS records,
    records / nullif(device.record_capacity, 0),
    device.keypad_locked_at,
    device.polled
FROM asked AS device
LEFT JOIN last_poll ON last_poll.device = device.name
LEFT JOIN last_good ON last_good.device = device.name
LEFT JOIN push_terminals AS terminal ON terminal.device = device.name
ORDER BY device.name
"""  # noqa: S608 (constant SQL)
