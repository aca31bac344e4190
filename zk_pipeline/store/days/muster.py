"""Muster: the users who are in now, by site, from the punches read so far.

SQL finds the newest punch of each user at each site and its direction; `attendance.presence` has the rest of the rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from zk_pipeline.attendance.clock_errors import MAX_CLOCK_ERROR_SECONDS
from zk_pipeline.attendance.presence import NewestPunch, presence
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.enrolled_users import NAMES
from zk_pipeline.store.terminals.namesakes import candidates, namesakes
from zk_pipeline.store.work_dates.assignment import (
    IS_ASKED,
    WorkDateAssignment,
    assign_date_range,
    stored_workday_start,
    valid_punches,
)
from zk_pipeline.store.work_dates.punch_directions import IS_TRUSTED, STATE, STATED_OR_ALTERNATING

MAX_READING_AGE = timedelta(hours=1)  # of a terminal's data; an older reading makes the muster unsafe
_LONGEST_WORK_DATE = timedelta(hours=50)  # between two begins, over a clock change
_CLOCK_ERROR = timedelta(seconds=MAX_CLOCK_ERROR_SECONDS)


@dataclass(frozen=True)
class PersonPresence:
    """A user with a punch on the current work date; `direction` (`in` or `out`) is that of the last punch."""

    site: str
    user_id: str
    name: str  # as enrolled last at the site; "" without one
    direction: str
    device: str
    last_punch_at: datetime
    last_punch_local: datetime


@dataclass(frozen=True)
class TerminalReading:
    """An enabled terminal and its last successful poll; `is_outdated` after MAX_READING_AGE."""

    device: str
    timezone: str
    last_read_at: datetime | None
    is_outdated: bool


@dataclass(frozen=True)
class SiteMuster:
    """One site: users who are in and users who left, each by name, and the readings of its terminals."""

    site: str
    present: list[PersonPresence]
    left: list[PersonPresence]
    terminals: list[TerminalReading]

    @property
    def outdated(self) -> list[TerminalReading]:
        return [one for one in self.terminals if one.is_outdated]

    @property
    def is_safe(self) -> bool:
        """True if every terminal of the site was read within MAX_READING_AGE."""
        return bool(self.terminals) and not self.outdated

    @property
    def totals(self) -> dict[str, object]:
        """The site with the numbers of its users and the readings, for JSON."""
        return {
            "site": self.site,
            "present": len(self.present),
            "left": len(self.left),
            "is_safe": self.is_safe,
            "terminals": self.terminals,
        }


@dataclass(frozen=True)
class Muster:
    """Presence at the instant `as_of`; `sites` by name."""

    as_of: datetime
    sites: list[SiteMuster]

    def people(self) -> Iterator[PersonPresence]:
        """All users, by site: those who are in before those who left."""
        for one in self.sites:
            yield from one.present
            yield from one.left


@dataclass(frozen=True)
class MusterStore:
    database: Database

    def read(
        self, now: datetime, *, debounce_seconds: int, site: str | None = None, user_id: str | None = None
    ) -> Muster:
        """The presence at `now`, at all sites or one, of all users or one; an unknown site has an empty muster."""
        with self.database.read("list present users") as connection:
            users = [user_id] if user_id is not None else None if site is None else _users(connection, now, site)
            inputs = _read_inputs(connection, now, debounce_seconds, users)
            terminals = connection.execute(
                "SELECT site, name, timezone, last_sync FROM devices WHERE enabled AND removed_at IS NULL ORDER BY name"
            ).fetchall()
            enrolled = connection.execute(NAMES).fetchall()
        names = {(place, user): name for place, user, name in enrolled}
        people = [
            PersonPresence(
                one.site,
                one.user_id,
                names.get((one.site, one.user_id), ""),
                one.direction,
                one.device,
                one.punched_at,
                one.punched_at_local,
            )
            for one in _newest(inputs, now)
        ]
        people.sort(key=lambda one: ((one.name or one.user_id).casefold(), one.user_id))
        sites: dict[str, SiteMuster] = _Sites()
        for one in people:
            (sites[one.site].present if one.direction == "in" else sites[one.site].left).append(one)
        for place, name, zone, read_at in terminals:
            is_outdated = read_at is None or now - read_at > MAX_READING_AGE
            sites[place].terminals.append(TerminalReading(name, zone, read_at, is_outdated))
        return Muster(now, [one for place, one in sorted(sites.items()) if site in (None, place)])

    def present(self, now: datetime, *, debounce_seconds: int) -> dict[str, int]:
        """Number of users who are in at `now`, by site; sites without any are omitted."""
        with self.database.read("count present users") as connection:
            inputs = _read_inputs(connection, now, debounce_seconds)
        return Counter(one.site for one in _newest(inputs, now) if one.direction == "in")


class _Sites(dict[str, SiteMuster]):
    def __missing__(self, site: str) -> SiteMuster:
        self[site] = SiteMuster(site, [], [], [])
        return self[site]


@dataclass(frozen=True)
class _Inputs:
    """Newest punches, and candidates for ids of different employees at different sites."""

    punches: list[NewestPunch]
    named: list[tuple[str, list[str], list[str]]]


def _read_inputs(
    connection: Connection, now: datetime, debounce_seconds: int, users: list[str] | None = None
) -> _Inputs:
    return _Inputs(_read_newest(connection, now, debounce_seconds, users), candidates(connection))


def _newest(inputs: _Inputs, now: datetime) -> list[NewestPunch]:
    """The newest punch of each user; see `attendance.presence`."""
    sites = Counter(one.user_id for one in inputs.punches)
    apart = {user_id for user_id, _ in namesakes(one for one in inputs.named if sites[one[0]] > 1)}
    return presence(inputs.punches, now, apart=apart)


def _users(connection: Connection, now: datetime, site: str) -> list[str]:
    """Users with punches at the site in the span of `_read_newest`."""
    rows = connection.execute(
        f"""
        SELECT DISTINCT punch.user_id
        FROM {valid_punches(connection)} AS punch LEFT JOIN devices AS device ON device.name = punch.device
        WHERE punch.punched_at BETWEEN $since AND $until AND coalesce(device.site, punch.device) = $site
        """,  # noqa: S608 (constant SQL)
        {"since": now - _LONGEST_WORK_DATE, "until": now + _CLOCK_ERROR, "site": site},
    ).fetchall()
    return [user_id for (user_id,) in rows]


def _read_newest(
    connection: Connection, now: datetime, debounce_seconds: int, users: list[str] | None
) -> list[NewestPunch]:
    """The newest punch of each user at each site, of work dates that are not over and some earlier ones.

    `users`: only these, or all (None).
    """
    since, until = now - _LONGEST_WORK_DATE, now + _CLOCK_ERROR
    begin, end = (since - timedelta(days=1)).date(), (until + timedelta(days=3)).date()
    starts_at = stored_workday_start(connection)
    placing = assign_date_range(connection, begin, end, workday_starts_at=starts_at, user_ids=users)
    values = {
        "since": since,
        "until": until,
        "begin": begin,
        "end": end,
        "user_ids": users,
        "debounce": debounce_seconds,
    }
    return [NewestPunch(*row) for row in connection.execute(_query(placing), values).fetchall()]


def _query(placing: WorkDateAssignment) -> str:
    begins, join = str(placing.usual), ""
    if placing.by_shifts:
        begins, join = f"coalesce(tomorrow.begins, {placing.usual})", _TOMORROW
    return _PUNCHES.format(
        punches=placing.punches,
        join=placing.join,
        work_date=placing.work_date,
        state=STATE,
        is_trusted=IS_TRUSTED,
        is_asked=IS_ASKED.replace("user_id)", "punch.user_id)"),
        newest=NEWEST,
        begins=begins,
        tomorrow=join,
    )


_PUNCHES = """
WITH placed AS (
    SELECT
        coalesce(device.site, punch.device) AS site,
        punch.user_id,
        {work_date} AS work_date,
        punch.device,
        coalesce(device.timezone, 'UTC') AS timezone,
        punch.punched_at,
        punch.punched_at_local,
        {state} AS punch_state,
        {is_trusted} AS is_trusted
    FROM {punches} AS punch {join}
    LEFT JOIN devices AS device ON device.name = punch.device
    WHERE punch.punched_at BETWEEN $since AND $until AND {is_asked}
      AND punch.punched_at_local >= $begin AND punch.punched_at_local < $end
),
{newest}
SELECT newest.*, {begins}::INTEGER AS next_begins FROM newest{tomorrow}
"""
# The direction of a punch: its state where that is trusted and one of the six known; else the debounced punches of the
# site and work date alternate, the first one in.
NEWEST = f"""
debounced AS (
    SELECT *, lag(punched_at) OVER day AS previous_at FROM placed
    WINDOW day AS (PARTITION BY site, user_id, work_date ORDER BY punched_at, device, punched_at_local)
),
numbered AS (
    SELECT *, count(*) FILTER (previous_at IS NULL OR punched_at - previous_at >= to_seconds($debounce)) OVER (
        PARTITION BY site, user_id, work_date ORDER BY punched_at, device, punched_at_local ROWS UNBOUNDED PRECEDING
    ) AS number
    FROM debounced
),
newest AS (
    SELECT site, user_id, {STATED_OR_ALTERNATING} AS direction, device, punched_at, punched_at_local, work_date,
           timezone
    FROM numbered
    QUALIFY row_number() OVER (
        PARTITION BY site, user_id ORDER BY punched_at DESC, device DESC, punched_at_local DESC
    ) = 1
)"""  # noqa: S608 (constant SQL)
_TOMORROW = """
LEFT JOIN roster AS tomorrow ON tomorrow.device = newest.device AND tomorrow.user_id = newest.user_id
    AND newest.work_date + 1 BETWEEN tomorrow.first AND tomorrow.last"""
