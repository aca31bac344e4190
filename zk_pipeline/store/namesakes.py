"""Ids that are enrolled under clearly different names at two sites: two people, whom the CRM is told of per site."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from zk_pipeline.attendance.names import clearly_differ
from zk_pipeline.store.database import Connection

Names = list[tuple[str, list[str]]]  # user id, and its names at the sites, each as `site: name`


def candidates(connection: Connection) -> list[tuple[str, list[str], list[str]]]:
    """Ids with more than one spelling of their name at registered devices of several sites: id, sites and names.

    What they amount to is `namesakes`, which takes longer than a hold of the store should.
    """
    return connection.execute(_CANDIDATES).fetchall()


def namesakes(found: Iterable[tuple[str, list[str], list[str]]]) -> Names:
    """Those of `candidates` who are different people."""
    return [
        (user_id, [f"{site}: {name}" for site, name in zip(sites, names, strict=True)])
        for user_id, sites, names in found
        if any(clearly_differ(one, other, user_id) for one, other in combinations(dict.fromkeys(names), 2))
    ]


_CANDIDATES = """
WITH named AS (
    SELECT device.site, user_id, arg_max(trim(enrolled.name), (enrolled.updated_at, enrolled.device)) AS name
    FROM device_users AS enrolled JOIN devices AS device ON device.name = enrolled.device
    WHERE device.removed_at IS NULL AND trim(enrolled.name) <> ''
      AND (SELECT count(DISTINCT site) > 1 FROM devices WHERE removed_at IS NULL)
    GROUP BY ALL
)
SELECT user_id, list(site ORDER BY site), list(name ORDER BY site)
FROM named GROUP BY user_id HAVING count(DISTINCT lower(name)) > 1 ORDER BY user_id
"""
