"""User ids with clearly different names at two sites: two employees, with one CRM record per site."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from zk_pipeline.attendance.names import clearly_differ
from zk_pipeline.store.engine.database import Connection

Names = list[tuple[str, list[str]]]  # user id, and its names at the sites, each as `site: name`


def candidates(connection: Connection) -> list[tuple[str, list[str], list[str]]]:
    """Ids with more than one spelling of their name at registered devices of several sites: id, sites and names.

    `namesakes` evaluates them, outside the store lock because it takes long.
    """
    return connection.execute(_CANDIDATES).fetchall()


def namesakes(found: Iterable[tuple[str, list[str], list[str]]]) -> Names:
    """User ids in `candidates` that belong to different employees."""
    return [
        (user_id, [f"{site}: {name}" for site, name in zip(sites, names, strict=True)])
        for user_id, sites, names in found
        if any(clearly_differ(one, other, user_id) for one, other in combinations(dict.fromkeys(names), 2))
    ]


_CANDIDATES = """
WITH enrolled AS (
    SELECT device.site, device.name AS device, person.user_id, trim(person.name) AS name, person.updated_at
    FROM device_users AS person JOIN devices AS device ON device.name = person.device
    WHERE device.removed_at IS NULL
),
several AS (
    SELECT user_id FROM enrolled WHERE name <> ''
    GROUP BY user_id HAVING min(site) <> max(site) AND min(name) <> max(name)
),
named AS (
    SELECT site, user_id, arg_max(name, (updated_at, device)) AS name
    FROM enrolled WHERE name <> '' AND user_id IN (FROM several) GROUP BY ALL
)
SELECT user_id, list(site ORDER BY site), list(name ORDER BY site)
FROM named GROUP BY user_id HAVING count(DISTINCT lower(name)) > 1 ORDER BY user_id
"""
