"""People: users enrolled on a terminal or with attendance days, one row per site; profile of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.enrolled_users import NAMES, folded_sql
from zk_pipeline.store.work_dates.roster import ASSIGNMENT_LEVEL


@dataclass(frozen=True)
class PersonRow:
    """A user at a site; `last_date`: the latest attendance day there. `sort_key`: position in the list."""

    sort_key: str
    site: str
    user_id: str
    name: str  # as enrolled last at the site; "" without one
    last_date: date | None

    @property
    def place(self) -> tuple[str, str, str]:
        """Keys of the row, for the page that begins after it."""
        return self.sort_key, self.user_id, self.site


@dataclass(frozen=True)
class PeoplePage:
    """One page of users. `count`: all users of the search."""

    count: int
    rows: list[PersonRow]
    has_more: bool


@dataclass(frozen=True)
class PersonSite:
    """A site of a user: its name for the user, its zone, and the attendance days there."""

    site: str
    name: str
    timezone: str | None
    first_date: date | None
    last_date: date | None
    days: int


@dataclass(frozen=True)
class PersonShift:
    """A shift that applies to a user, with its validity (None: open). `assigned_to`: user, device or site.

    `level`: precedence, the lowest first. `assigned_shift` is another one than `shift` in a season.
    """

    shift: str
    assigned_shift: str
    start_time: time
    end_time: time
    weekdays: str
    assigned_to: str
    level: int
    valid_from: date | None
    valid_to: date | None

    @property
    def hours(self) -> str:
        """Hours as `09:00–18:00`, or `off` for a shift without working weekdays."""
        return f"{self.start_time:%H:%M}–{self.end_time:%H:%M}" if self.weekdays else "off"

    def applies_on(self, day: date) -> bool:
        return (self.valid_from or day) <= day <= (self.valid_to or day)


@dataclass(frozen=True)
class PersonProfile:
    """Sites and shifts of a user; `last_device` is the device of the latest attendance day at the site."""

    user_id: str
    sites: list[PersonSite]
    shifts: list[PersonShift]

    def shift_on(self, day: date) -> PersonShift | None:
        """The shift that applies on a date, by precedence."""
        return min((one for one in self.shifts if one.applies_on(day)), key=lambda one: one.level, default=None)


@dataclass(frozen=True)
class PeopleStore:
    database: Database

    def page(
        self, *, text: str = "", site: str | None = None, after: tuple[str, str, str] | None = None, limit: int
    ) -> PeoplePage:
        """One page by name (by user id without one), of users whose name or id contains `text`, without accents.

        `after`: the page begins after the row with this `PersonRow.place`.
        """
        values = {"text": text, "site": site, "limit": limit + 1}
        sort_key, user_id, place = after or (None, None, None)
        with self.database.read("list people") as connection:
            rows = connection.execute(
                _PEOPLE, values | {"sort_key": sort_key, "user_id": user_id, "after_site": place}
            ).fetchall()
        return PeoplePage(
            count=rows[0][0] if rows else 0,
            rows=[PersonRow(*row[1:]) for row in rows[:limit] if row[2] is not None],
            has_more=len(rows) > limit,
        )

    def profile(self, site: str, user_id: str) -> PersonProfile:
        """Sites of a user, and the shifts that apply at `site`; without sites if the user is unknown."""
        values = {"user_id": user_id, "site": site}
        with self.database.read("profile of a user") as connection:
            sites = connection.execute(_SITES, {"user_id": user_id}).fetchall()
            shifts = connection.execute(_SHIFTS, values).fetchall()
        return PersonProfile(user_id, [PersonSite(*row) for row in sites], [PersonShift(*row) for row in shifts])


# The count is that of all users of the search, so that one query reads the page and its number.
_PEOPLE = f"""
WITH own AS (
    SELECT site, user_id, max(work_date) AS last_date FROM daily_attendance
    WHERE $site IS NULL OR site = $site GROUP BY ALL
),
enrolled AS (
    SELECT DISTINCT coalesce(device.site, one.device) AS site, one.user_id
    FROM device_users AS one LEFT JOIN devices AS device ON device.name = one.device
),
people AS MATERIALIZED (
    SELECT lower(coalesce(named.name, user_id)) AS sort_key, site, user_id, coalesce(named.name, '') AS name, last_date
    FROM enrolled FULL JOIN own USING (site, user_id) LEFT JOIN ({NAMES}) AS named USING (site, user_id)
    WHERE ($site IS NULL OR site = $site)
      AND (contains({folded_sql("coalesce(named.name, '')")}, {folded_sql("$text")})
           OR contains({folded_sql("user_id")}, {folded_sql("$text")}))
)
SELECT total.people, page.* FROM (SELECT count(*) AS people FROM people) AS total
LEFT JOIN (
    SELECT * FROM people
    WHERE $sort_key::VARCHAR IS NULL
       OR (sort_key, user_id, site) > ($sort_key::VARCHAR, $user_id::VARCHAR, $after_site::VARCHAR)
    ORDER BY sort_key, user_id, site LIMIT $limit
) AS page ON true
ORDER BY page.sort_key, page.user_id, page.site
"""  # noqa: S608 (constant SQL)
_SITES = f"""
WITH enrolled AS (
    SELECT DISTINCT coalesce(device.site, one.device) AS site
    FROM device_users AS one LEFT JOIN devices AS device ON device.name = one.device WHERE one.user_id = $user_id
),
own AS (
    SELECT site, min(work_date) AS first, max(work_date) AS last, count(*) AS days
    FROM daily_attendance WHERE user_id = $user_id GROUP BY site
)
SELECT site, coalesce(named.name, ''), zone.timezone, own.first, own.last, coalesce(own.days, 0)
FROM enrolled FULL JOIN own USING (site)
LEFT JOIN ({NAMES}) AS named ON named.site = site AND named.user_id = $user_id
LEFT JOIN (SELECT site, min(timezone) AS timezone FROM devices GROUP BY site) AS zone USING (site)
ORDER BY site
"""  # noqa: S608 (constant SQL)
_SHIFTS = f"""
SELECT
    held.shift, held.assigned_shift, shift.start_time, shift.end_time, shift.weekdays,
    CASE WHEN held.user_id IS NOT NULL THEN 'this user' || coalesce(' at ' || held.site, '')
         WHEN held.device IS NOT NULL THEN 'device ' || held.device ELSE 'site ' || held.site END,
    {ASSIGNMENT_LEVEL} AS level, held.valid_from, held.valid_to
FROM effective_assignments AS held JOIN shifts AS shift ON shift.name = held.shift
WHERE coalesce(held.user_id, $user_id) = $user_id AND coalesce(held.site, $site) = $site
  AND (held.device IS NULL OR held.device = (
      SELECT arg_max(device, work_date) FROM daily_attendance WHERE user_id = $user_id AND site = $site
  ))
ORDER BY level, held.valid_from DESC NULLS LAST, held.shift
LIMIT 100
"""  # noqa: S608 (constant SQL)
