"""Carry-over of a restore: for every table, the rows that the restored store takes from the replaced one.

Facts stay as in the replaced store: records of terminals, manual punches, leaves, registered terminals, processed days
and their deliveries, payroll periods and the minutes that they paid, active API tokens. Operators' decisions return to
the backup: shifts, holidays, clock corrections.
Work dates whose attendance days would differ become stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.maintenance.poll_totals import subtract_from_totals
from zk_pipeline.store.maintenance.push_totals import subtract_upload_totals
from zk_pipeline.store.terminals.clock_corrections import correct
from zk_pipeline.store.terminals.devices import EDITABLE, apply_timezone
from zk_pipeline.store.work_dates.assignment import assign_work_dates
from zk_pipeline.store.work_dates.device_changes import fingerprint
from zk_pipeline.store.work_dates.manual_punches import follow_devices
from zk_pipeline.store.work_dates.sequence import mark_stale, next_seq

# Rows of the replaced store, by these key columns; keys that it does not have keep the row of the backup.
CARRIED: Mapping[str, tuple[str, ...]] = {
    "store_settings": ("name",),
    "devices": ("name",),
    "device_polls": ("id",),
    "device_poll_totals": ("device", "status"),
    "raw_punches": ("device", "user_id", "punched_at_local"),
    "manual_punches": ("id",),
    "leaves": ("id",),
    "quarantined_records": ("device", "raw"),
    "push_terminals": ("serial_number",),
    "push_batches": ("id",),
    "push_totals": ("device",),
    "push_stamps": ("serial_number", "table_name"),
    "push_commands": ("id",),
    "push_checks": ("serial_number", "first_date", "last_date"),
    "device_events": ("device",),
    "device_users": ("device",),
    "device_slots": ("device",),
    "work_dates": ("work_date",),
    "frozen_work_date_starts": ("device", "user_id", "on_date"),
    "blocked_dates": ("work_date",),
    "earlier_deliveries": ("source", "device", "user_id", "work_date"),
    "day_reviews": ("site", "user_id", "work_date"),
    "api_tokens": ("id",),
    "alerts": ("key", "first_seen_at"),
    "alert_messages": ("id",),
}
# By user_id and work_date, because revisions are numbered over all sites: a user and date with other revisions or
# deliveries is taken over in all of these tables together.
PER_PERSON = ("daily_attendance", "daily_attendance_revisions", "crm_deliveries", "crm_attempts")
# As in the replaced store: hours of the settings and pay, which no restore changes.
WHOLE = ("configured_hours", "payroll_periods", "payroll_days")
# As in the backup; later clock corrections are kept, but revoked.
BACK = ("shifts", "shift_assignments", "shift_seasons", "holidays", "holiday_sources", "clock_corrections")

_PERSON = ("user_id", "work_date")


@dataclass(frozen=True)
class Carried:
    """Rows that a restore took over. Names are those of devices and API tokens.

    `days`: number of users and dates, from `first` to `last`, whose revisions or deliveries differ from the backup and
    are as in the replaced store. `stale`: work dates to process again, because their input changed or they were taken
    over. `undone`: by table, rows of decisions since the backup that are lost, and rows that are back.
    """

    days: int = 0
    first: date | None = None
    last: date | None = None
    stale: list[date] = field(default_factory=list)
    devices_added: list[str] = field(default_factory=list)
    devices_changed: list[str] = field(default_factory=list)
    devices_removed: list[str] = field(default_factory=list)
    tokens_added: list[str] = field(default_factory=list)
    tokens_revoked: list[str] = field(default_factory=list)
    undone: dict[str, tuple[int, int]] = field(default_factory=dict)


def other_store(connection: Connection) -> str | None:
    """A device with the same id but another identity in both stores: neither is an earlier state of the other."""
    row = connection.execute(
        """
        SELECT min(here.name) FROM devices AS here JOIN replaced.main.devices AS there USING (id)
        WHERE (here.name, here.created_at) IS DISTINCT FROM (there.name, there.created_at)
        """
    ).fetchone()
    return row[0] if row else None


def carry_over(connection: Connection, now: datetime) -> Carried:
    """Copy the rows to keep from the attached `replaced` into the current database, in the caller's transaction.

    Both are stores at the newest version, the current one an earlier state of `replaced`.
    """
    devices, tokens, undone = _device_changes(connection), _token_changes(connection), _undone(connection)
    last_seq = "SELECT max(value::BIGINT) FROM {} WHERE name = 'last_seq'"
    used = max(
        connection.execute(last_seq.format(table)).fetchall()[0][0]
        for table in ("store_settings", "replaced.main.store_settings")
    )
    connection.execute(f"CREATE TEMP TABLE own_punches AS {_only_here('raw_punches')}")
    connection.execute(f"CREATE TEMP TABLE own_manual AS {_only_here('manual_punches')}")
    connection.execute(
        """
        CREATE TEMP TABLE moved_devices AS
        SELECT name FROM devices AS here JOIN replaced.main.devices AS there USING (name)
        WHERE here.timezone <> there.timezone AND name IN (SELECT device FROM own_punches)
        """
    )
    for table, key in CARRIED.items():
        _take(connection, table, key, _differing(table, key))
    for table in WHOLE:
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 (constant names)
        connection.execute(f"INSERT INTO {table} FROM replaced.main.{table}")
    subtract_from_totals(connection, f"({_only_here('device_polls')})")
    subtract_upload_totals(connection, f"({_only_here('push_batches')})")
    connection.execute("UPDATE store_settings SET value = ? WHERE name = 'last_seq'", [str(used)])
    connection.execute(
        "UPDATE api_tokens SET revoked_at = ? "
        "WHERE revoked_at IS NULL AND id NOT IN (SELECT id FROM replaced.main.api_tokens)",
        [now],
    )
    taken_days = _take_days(connection)
    _carry_corrections(connection, now)
    _delete_cleared(connection)
    _rebuild(connection)
    stale = _make_stale(connection)
    for table in ("own_punches", "own_manual", "moved_devices", "taken_days"):
        connection.execute(f"DROP TABLE {table}")
    return Carried(*taken_days, stale, *devices, *tokens, undone)


def _only_here(table: str) -> str:
    """Rows of the backup whose key the replaced store does not have."""
    return f"SELECT * FROM {table} ANTI JOIN replaced.main.{table} USING ({', '.join(CARRIED[table])})"  # noqa: S608


def _differing(table: str, key: tuple[str, ...]) -> str:
    """Query of the keys of the replaced store whose rows differ from the backup."""
    names = ", ".join(key)
    return f"""
        SELECT DISTINCT {names} FROM (
            (SELECT {names}, hash(one) FROM replaced.main.{table} AS one
             EXCEPT ALL SELECT {names}, hash(one) FROM {table} AS one)
            UNION ALL
            (SELECT {names}, hash(one) FROM {table} AS one
             EXCEPT ALL SELECT {names}, hash(one) FROM replaced.main.{table} AS one)
        ) SEMI JOIN replaced.main.{table} USING ({names})
    """  # noqa: S608 (constant names)


def _take(connection: Connection, table: str, key: tuple[str, ...], keys: str) -> None:
    """Replace the rows of `keys` by those of the replaced store."""
    names = ", ".join(key)
    count = connection.execute(f"CREATE TEMP TABLE taken AS {keys}").fetchall()[0][0]
    if count:
        same = " AND ".join(f"{table}.{one} = taken.{one}" for one in key)
        connection.execute(f"DELETE FROM {table} USING taken WHERE {same}")  # noqa: S608 (constant names)
        connection.execute(f"INSERT INTO {table} BY NAME FROM replaced.main.{table} SEMI JOIN taken USING ({names})")
    connection.execute("DROP TABLE taken")


def _take_days(connection: Connection) -> tuple[int, date | None, date | None]:
    """Take over each user and date revised or delivered since, with its revisions: count, first and last date."""
    compared = " UNION ".join(_differing(table, _PERSON) for table in ("daily_attendance_revisions", "crm_deliveries"))
    connection.execute(f"CREATE TEMP TABLE taken_days AS {compared}")
    for table in PER_PERSON:
        _take(connection, table, _PERSON, "SELECT * FROM taken_days")
    return connection.execute("SELECT count(*), min(work_date), max(work_date) FROM taken_days").fetchall()[0]


def _carry_corrections(connection: Connection, now: datetime) -> None:
    """Keep later corrections as revoked, so that their ids are not reused."""
    connection.execute(
        """
        INSERT INTO clock_corrections BY NAME
        SELECT * REPLACE (coalesce(revoked_at, $now) AS revoked_at) FROM replaced.main.clock_corrections
        WHERE id NOT IN (SELECT id FROM clock_corrections)
        """,
        {"now": now},
    )


def _delete_cleared(connection: Connection) -> None:
    """Delete the backup's punches on work dates that retention has purged since."""
    if not connection.execute("SELECT EXISTS (FROM work_dates WHERE raw_purged_at IS NOT NULL)").fetchall()[0][0]:
        return
    placing = assign_work_dates(connection)
    connection.execute(
        f"""
        CREATE TEMP TABLE cleared AS
        SELECT punch.seq FROM {placing.punches} AS punch {placing.join}
        WHERE punch.seq IN (SELECT seq FROM own_punches UNION ALL SELECT seq FROM own_manual)
          AND {placing.work_date} IN (SELECT work_date FROM work_dates WHERE raw_purged_at IS NOT NULL)
        """  # noqa: S608 (constant SQL)
    )
    for table in ("raw_punches", "manual_punches"):
        connection.execute(f"DELETE FROM {table} WHERE seq IN (FROM cleared)")  # noqa: S608 (constant names)
    connection.execute("DROP TABLE cleared")


def _rebuild(connection: Connection) -> None:
    for (name,) in connection.execute("SELECT name FROM moved_devices ORDER BY 1").fetchall():
        zone = connection.execute("SELECT timezone FROM devices WHERE name = ?", [name]).fetchall()[0][0]
        apply_timezone(connection, name, zone)
    follow_devices(connection)
    connection.execute("DELETE FROM corrected_punches")
    for (name,) in connection.execute(
        "SELECT DISTINCT device FROM clock_corrections WHERE revoked_at IS NULL ORDER BY 1"
    ).fetchall():
        correct(connection, name)
    connection.execute("DELETE FROM device_log_positions")


def _make_stale(connection: Connection) -> list[date]:
    """Mark work dates as stale whose input differs from the replaced store, that were taken over, or are blocked."""
    sites = connection.execute("SELECT DISTINCT site FROM devices UNION SELECT DISTINCT device FROM raw_punches")
    named = [row[0] for row in sites.fetchall()]
    (current,) = connection.execute("SELECT current_database()").fetchall()[0]
    connection.execute("USE replaced")
    try:
        fingerprint(connection, "rows_before", named)
    finally:
        connection.execute(f'USE "{current}"')
    fingerprint(connection, "rows_after", named)
    connection.execute(
        """
        CREATE TEMP TABLE touched_dates AS
        SELECT DISTINCT work_date, $seq::BIGINT AS seq FROM (
            SELECT work_date FROM rows_before FULL JOIN rows_after USING (site, user_id, work_date)
            WHERE rows_before.made_from IS DISTINCT FROM rows_after.made_from
            UNION ALL SELECT work_date FROM taken_days
            UNION ALL SELECT work_date FROM blocked_dates
        )
        WHERE work_date NOT IN (SELECT work_date FROM work_dates WHERE raw_purged_at IS NOT NULL)
        """,
        {"seq": next_seq(connection)},
    )
    mark_stale(connection, "touched_dates")
    dates = connection.execute(
        "SELECT work_date FROM work_dates WHERE latest_punch_seq > processed_seq ORDER BY 1"
    ).fetchall()
    for table in ("rows_before", "rows_after", "touched_dates"):
        connection.execute(f"DROP TABLE {table}")
    return [row[0] for row in dates]


def _names(connection: Connection, sql: str) -> list[str]:
    return [row[0] for row in connection.execute(sql).fetchall()]


def _device_changes(connection: Connection) -> tuple[list[str], list[str], list[str]]:
    """Devices that the replaced store has registered, changed and removed since the backup."""
    registered = "(FROM {} WHERE removed_at IS NULL)"
    here, there = registered.format("devices"), registered.format("replaced.main.devices")
    differs = " OR ".join(f"here.{one} IS DISTINCT FROM there.{one}" for one in EDITABLE)
    return (
        _names(connection, f"SELECT name FROM {there} ANTI JOIN {here} USING (name) ORDER BY 1"),  # noqa: S608
        _names(connection, f"SELECT name FROM {here} AS here JOIN {there} AS there USING (name) WHERE {differs} ORDER BY 1"),  # noqa: S608, E501
        _names(connection, f"SELECT name FROM {here} SEMI JOIN (FROM replaced.main.devices WHERE removed_at IS NOT NULL) USING (name) ORDER BY 1"),  # noqa: S608, E501
    )  # fmt: skip


def _token_changes(connection: Connection) -> tuple[list[str], list[str]]:
    """Tokens created and revoked since the backup; tokens unknown to the replaced store are revoked."""
    good = "(FROM replaced.main.api_tokens WHERE revoked_at IS NULL)"
    return (
        _names(connection, f"SELECT name FROM {good} ANTI JOIN api_tokens USING (id) ORDER BY 1"),  # noqa: S608
        _names(
            connection,
            f"SELECT name FROM (FROM api_tokens WHERE revoked_at IS NULL) ANTI JOIN {good} USING (id) ORDER BY 1",  # noqa: S608
        ),
    )


def _undone(connection: Connection) -> dict[str, tuple[int, int]]:
    found = {}
    for table in BACK:
        gone, back = (
            connection.execute(f"SELECT count(*) FROM (FROM {one} EXCEPT ALL FROM {other})").fetchall()[0][0]  # noqa: S608
            for one, other in ((f"replaced.main.{table}", table), (table, f"replaced.main.{table}"))
        )
        if gone or back:
            found[table] = (gone, back)
    return found
