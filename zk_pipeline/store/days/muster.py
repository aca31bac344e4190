"""Muster: the users who are in now, by site, from the punches read so far. `attendance.presence` has the rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from zk_pipeline.attendance.clock_errors import MAX_CLOCK_ERROR_SECONDS
from zk_pipeline.attendance.presence import presence
from zk_pipeline.data_libraries import pa, pd
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.queries.enrolled_users import NAMES
from zk_pipeline.store.terminals.namesakes import candidates, namesakes
from zk_pipeline.store.work_dates.assignment import WorkDateAssignment, assign_date_range, stored_workday_start
from zk_pipeline.store.work_dates.punch_directions import IS_TRUSTED, STATE

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

    def read(self, now: datetime, *, debounce_seconds: int, site: str | None = None) -> Muster:
        """The presence at `now`, at all sites or one; an unknown site has an empty muster."""
        with self.database.read("list present users") as connection:
            table = _read_punches(connection, now)
            terminals = connection.execute(
                "SELECT site, name, timezone, last_sync FROM devices WHERE enabled AND removed_at IS NULL ORDER BY name"
            ).fetchall()
            enrolled = connection.execute(NAMES).fetchall()
            named = candidates(connection)
        punches = _frame(table)
        sites_of = punches.groupby("user_id")["site"].nunique()
        several = set(sites_of[sites_of > 1].index)
        apart = {user_id for user_id, _ in namesakes(one for one in named if one[0] in several)}
        newest = presence(punches, now, debounce_seconds=debounce_seconds, apart=apart)
        names = {(place, user): name for place, user, name in enrolled}
        people = [
            PersonPresence(
                place, user, names.get((place, user), ""), direction, device, at.to_pydatetime(), local.to_pydatetime()
            )
            for place, user, direction, device, at, local in newest[_SHOWN].itertuples(index=False)
        ]
        people.sort(key=lambda one: ((one.name or one.user_id).casefold(), one.user_id))
        readings = [
            (place, TerminalReading(name, zone, read_at, read_at is None or now - read_at > MAX_READING_AGE))
            for place, name, zone, read_at in terminals
        ]
        sites = sorted({place for place, _ in readings} | {one.site for one in people})
        return Muster(
            now,
            [
                SiteMuster(
                    place,
                    [one for one in people if one.site == place and one.direction == "in"],
                    [one for one in people if one.site == place and one.direction == "out"],
                    [reading for at, reading in readings if at == place],
                )
                for place in sites
                if site in (None, place)
            ],
        )


_SHOWN = ["site", "user_id", "direction", "device", "punched_at", "punched_at_local"]


def _read_punches(connection: Connection, now: datetime) -> pa.Table:
    """Punches of the work dates that are not over, and some of earlier ones."""
    since, until = now - _LONGEST_WORK_DATE, now + _CLOCK_ERROR
    begin, end = (since - timedelta(days=1)).date(), (until + timedelta(days=3)).date()
    placing = assign_date_range(connection, begin, end, workday_starts_at=stored_workday_start(connection))
    values = {"since": since, "until": until, "begin": begin, "end": end}
    return connection.execute(_query(placing), values).to_arrow_table()


def _frame(table: pa.Table) -> pd.DataFrame:
    """The punches in schema `frames.PRESENCE_PUNCHES`."""
    frame = table.to_pandas(timestamp_as_object=False, date_as_object=False)
    local = "datetime64[us]"
    return frame.astype({"work_date": local, "punched_at": "datetime64[us, UTC]", "punched_at_local": local})


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
    WHERE punch.punched_at BETWEEN $since AND $until
      AND punch.punched_at_local >= $begin AND punch.punched_at_local < $end
)
SELECT placed.*, {begins}::INTEGER AS next_begins FROM placed{tomorrow}
"""
_TOMORROW = """
LEFT JOIN roster AS tomorrow ON tomorrow.device = placed.device AND tomorrow.user_id = placed.user_id
    AND placed.work_date + 1 BETWEEN tomorrow.first AND tomorrow.last"""
