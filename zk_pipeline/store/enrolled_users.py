"""Enrolled users with their sites and names, for lists of punches and days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zk_pipeline.attendance.names import LETTERS
from zk_pipeline.store.engine.database import Connection, Database

_MAX_SHOWN = 3  # users in a message


@dataclass(frozen=True)
class EnrolledUser:
    """A user at a site, with the name as enrolled there last."""

    site: str
    user_id: str
    name: str


@dataclass(frozen=True)
class ListContext:
    """Data to display a list of punches or days: names by site and user id, all sites of devices or days, and ids and
    names of registered devices.
    """

    names: dict[tuple[str, str], str]
    sites: list[str]
    devices: list[tuple[int, str]]


@dataclass(frozen=True)
class EnrolledUserStore:
    database: Database

    def around(self, user_ids: Iterable[str]) -> ListContext:
        """The context of these users, in one read; users enrolled without a name are left out."""
        with self.database.read("names of users and sites") as connection:
            names = connection.execute(
                f"SELECT site, user_id, name FROM ({NAMES}) WHERE user_id IN (SELECT unnest($ids))",  # noqa: S608
                {"ids": sorted(set(user_ids))},
            ).fetchall()
            sites = connection.execute(
                "SELECT site FROM devices UNION SELECT DISTINCT site FROM daily_attendance ORDER BY site"
            ).fetchall()
            devices = connection.execute(
                "SELECT id, name FROM devices WHERE removed_at IS NULL ORDER BY name"
            ).fetchall()
        return ListContext({(site, person): name for site, person, name in names}, [site for (site,) in sites], devices)

    def find(self, text: str, *, limit: int = 20) -> list[EnrolledUser]:
        """Users whose name or user id contains `text`, without case and accents."""
        with self.database.read("find users") as connection:
            rows = connection.execute(
                f"""
                SELECT site, user_id, name FROM ({NAMES})
                WHERE contains({folded_sql("name")}, {folded_sql("$text")})
                   OR contains({folded_sql("user_id")}, {folded_sql("$text")})
                ORDER BY name, user_id, site LIMIT {int(limit)}
                """,  # noqa: S608 (constant SQL, a number)
                {"text": text},
            ).fetchall()
        return [EnrolledUser(*row) for row in rows]

    def unknown(self, user_ids: Iterable[str]) -> list[str]:
        """Those of these users who are enrolled on no terminal and have no attendance day and no recorded punch."""
        with self.database.read("find unknown users") as connection:
            return _unknown(connection, user_ids)

    def names_as_ids(self, user_ids: Iterable[str]) -> dict[str, str]:
        """Messages about names in place of user ids, as the function `names_as_ids`."""
        with self.database.read("find users by name") as connection:
            return names_as_ids(connection, user_ids)


def unknown_user_warning(user_ids: Sequence[str]) -> str | None:
    """Warning about the users that `EnrolledUserStore.unknown` returned; None without any."""
    if not user_ids:
        return None
    named = ", ".join(repr(one) for one in user_ids[:10]) + (" and more" if len(user_ids) > 10 else "")
    return f"no terminal and no recorded punch has the user id {named}: check it"


def names_as_ids(connection: Connection, user_ids: Iterable[str]) -> dict[str, str]:
    """Messages with the ids meant, by user id, about the unknown ids that are part of the name of users.

    Names are compared without case and accents. A user id that is only unknown is none: its user may be enrolled later.
    """
    unknown = [one for one in _unknown(connection, user_ids) if any(map(str.isalpha, one))]
    if not unknown:
        return {}
    rows = connection.execute(
        f"""
        SELECT asked.text, named.name, named.user_id
        FROM (SELECT unnest($texts::VARCHAR[]) AS text) AS asked
        JOIN ({NAMES}) AS named ON contains({folded_sql("named.name")}, {folded_sql("asked.text")})
        GROUP BY ALL ORDER BY ALL
        """,  # noqa: S608 (constant SQL)
        {"texts": unknown},
    ).fetchall()
    found: dict[str, list[str]] = defaultdict(list)
    for text, name, user_id in rows:
        found[text].append(f"{name} ({user_id})")
    return {
        text: f"no user has the id {text!r}: enter the id of {' or '.join(users[:_MAX_SHOWN])}"
        for text, users in found.items()
    }


def _unknown(connection: Connection, user_ids: Iterable[str]) -> list[str]:
    rows = connection.execute(
        """
        SELECT asked.user_id FROM (SELECT unnest($ids::VARCHAR[]) AS user_id) AS asked
        ANTI JOIN device_users USING (user_id)
        ANTI JOIN daily_attendance USING (user_id)
        ANTI JOIN raw_punches USING (user_id)
        ORDER BY 1
        """,
        {"ids": sorted(set(user_ids))},
    ).fetchall()
    return [user_id for (user_id,) in rows]


# Name of a user at a site: as enrolled last.
NAMES = """
    SELECT coalesce(device.site, enrolled.device) AS site, user_id,
           arg_max(enrolled.name, (enrolled.updated_at, enrolled.device)) AS name
    FROM device_users AS enrolled LEFT JOIN devices AS device ON device.name = enrolled.device
    WHERE enrolled.name <> ''
    GROUP BY ALL
"""


def folded_sql(text: str) -> str:
    """SQL of the expression `text`, lower case and with the plain letters that `clearly_differ` compares."""
    folded = f"lower({text})"
    for letter, plain in LETTERS.items():
        folded = f"replace({folded}, '{letter}', '{plain}')"
    return f"strip_accents({folded})"
