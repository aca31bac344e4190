"""Who is enrolled where, under which name: what lists of punches and days put beside a number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zk_pipeline.store.engine.database import Database


@dataclass(frozen=True)
class EnrolledUser:
    """A person at a site, with the name as enrolled there last."""

    site: str
    user_id: str
    name: str


@dataclass(frozen=True)
class ListContext:
    """What a list of people's punches or days is drawn with: names by site and user id, every site that a device has or
    that days were made at, and the registered devices' numbers and names.
    """

    names: dict[tuple[str, str], str]
    sites: list[str]
    devices: list[tuple[int, str]]


@dataclass(frozen=True)
class EnrolledUserStore:
    database: Database

    def around(self, user_ids: Iterable[str]) -> ListContext:
        """Of these people, in one read; who was never enrolled with a name has none."""
        with self.database.read("names of people and sites") as connection:
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
        """People whose name or user id contains `text`, whatever its case."""
        with self.database.read("find people") as connection:
            rows = connection.execute(
                f"""
                SELECT site, user_id, name FROM ({NAMES})
                WHERE contains(lower(name), lower($text)) OR contains(lower(user_id), lower($text))
                ORDER BY name, user_id, site LIMIT {int(limit)}
                """,  # noqa: S608 (SQL of ours, a number)
                {"text": text},
            ).fetchall()
        return [EnrolledUser(*row) for row in rows]


# A person's name at a site: as enrolled last.
NAMES = """
    SELECT coalesce(device.site, enrolled.device) AS site, user_id,
           arg_max(enrolled.name, (enrolled.updated_at, enrolled.device)) AS name
    FROM device_users AS enrolled LEFT JOIN devices AS device ON device.name = enrolled.device
    WHERE enrolled.name <> ''
    GROUP BY ALL
"""
