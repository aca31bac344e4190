"""Search of users and terminals by parts of their names or ids: a bounded number of each, for the web admin."""

from __future__ import annotations

from dataclasses import dataclass

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.enrolled_users import folded_sql

_MAX_TERMS = 5


@dataclass(frozen=True)
class FoundUser:
    """A user at a site; the name is empty if none is enrolled."""

    site: str
    user_id: str
    name: str


@dataclass(frozen=True)
class FoundDevice:
    """A registered device."""

    id: int
    name: str
    site: str


@dataclass(frozen=True)
class Found:
    """Results of a search, the best first."""

    users: list[FoundUser]
    devices: list[FoundDevice]
    sites: list[str]


def search(database: Database, text: str, *, limit: int) -> Found:
    """At most `limit` users, devices and sites whose name or id contains each word of `text`.

    Letter case and accents do not matter. An exact id or name is first, then names that begin with the text.
    """
    words = text.split()[:_MAX_TERMS]
    values = {"text": text, "words": words, "limit": limit}
    if not words:
        return Found([], [], [])
    with database.read("search") as connection:
        return Found(
            [FoundUser(*row) for row in connection.execute(_USERS, values).fetchall()],
            [FoundDevice(*row) for row in connection.execute(_DEVICES, values).fetchall()],
            [site for (site,) in connection.execute(_SITES, values).fetchall()],
        )


# Text as it is compared: each word must be in it.
_PLAIN = folded_sql("{}")
_MATCHES = f"len(list_filter($words::VARCHAR[], word -> NOT contains(plain, {_PLAIN.format('word')}))) = 0"
_RANK = f"plain_id <> {_PLAIN.format('$text')}, NOT starts_with(plain, {_PLAIN.format('$text')})"
# Users of user lists, and one that only has attendance days by the exact id: no search through all days.
_USERS = f"""
SELECT site, user_id, shown FROM (
    SELECT site, user_id, shown, {_PLAIN.format("concat(shown, ' ', user_id)")} AS plain,
           {_PLAIN.format("user_id")} AS plain_id
    FROM (
        SELECT coalesce(device.site, enrolled.device) AS site, user_id,
               coalesce(
                   arg_max(enrolled.name, (enrolled.updated_at, enrolled.device)) FILTER (enrolled.name <> ''), ''
               ) AS shown
        FROM device_users AS enrolled LEFT JOIN devices AS device ON device.name = enrolled.device
        GROUP BY ALL
        UNION ALL
        SELECT DISTINCT site, user_id, '' FROM daily_attendance
        WHERE user_id = $text AND NOT EXISTS (SELECT 1 FROM device_users WHERE user_id = $text)
    )
)
WHERE {_MATCHES} ORDER BY {_RANK}, shown, user_id, site LIMIT $limit
"""  # noqa: S608 (constant SQL)
_DEVICES = f"""
SELECT id, name, site FROM (
    SELECT id, name, site, {_PLAIN.format("concat(name, ' ', site, ' ', coalesce(serial_number, ''))")} AS plain,
           {_PLAIN.format("name")} AS plain_id
    FROM devices WHERE removed_at IS NULL
)
WHERE {_MATCHES} ORDER BY {_RANK}, name LIMIT $limit
"""  # noqa: S608 (constant SQL)
_SITES = f"""
SELECT site FROM (
    SELECT DISTINCT site, {_PLAIN.format("site")} AS plain, {_PLAIN.format("site")} AS plain_id
    FROM devices WHERE removed_at IS NULL
)
WHERE {_MATCHES} ORDER BY {_RANK}, site LIMIT $limit
"""  # noqa: S608 (constant SQL)
