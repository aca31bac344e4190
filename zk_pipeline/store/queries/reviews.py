"""Reviews of outliers: append-only rows of `day_reviews`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.store.engine.database import Database


@dataclass(frozen=True)
class Review:
    """Review of one revision of a day; `is_reviewed` False: to be reviewed again."""

    revision: int
    is_reviewed: bool
    reviewed_at: datetime
    reviewed_by: str
    note: str


# Latest review of each revision; it counts while the day has that revision.
REVIEWED = """
SELECT (site, user_id, work_date, revision) FROM day_reviews
GROUP BY site, user_id, work_date, revision HAVING arg_max(is_reviewed, reviewed_at)
"""

_ASKED = """
FROM daily_attendance
JOIN (SELECT unnest($ids::BIGINT[]) AS id, unnest($revisions::BIGINT[]) AS revision) AS asked USING (id, revision)
WHERE is_outlier
"""


@dataclass(frozen=True)
class ReviewStore:
    database: Database
    clock: Callable[[], datetime]

    def mark(self, days: Mapping[int, int], *, by: str, note: str = "", is_reviewed: bool = True) -> dict[int, Review]:
        """Mark days (id: reviewed revision) as reviewed, or as to be reviewed again.

        Returns the marked ones, without days that have another revision, are no outliers, or do not exist.
        """
        now = self.clock()
        asked = {"ids": list(days), "revisions": list(days.values())}
        said = {"is_reviewed": is_reviewed, "now": now, "by": by, "note": note}
        with self.database.write("mark days as reviewed") as connection:
            found = connection.execute(f"SELECT id, revision {_ASKED}", asked).fetchall()
            connection.execute(
                "INSERT INTO day_reviews SELECT site, user_id, work_date, revision, $is_reviewed, $now, $by, $note "
                + _ASKED,
                asked | said,
            )
        return {id_: Review(revision, is_reviewed, now, by, note) for id_, revision in found}

    def latest(self, ids: Iterable[int]) -> dict[int, Review]:
        """Latest review of the current revision of each of these days, if any."""
        with self.database.read("reviews of days") as connection:
            rows = connection.execute(
                """
                SELECT day.id, revision, is_reviewed, reviewed_at, reviewed_by, note
                FROM day_reviews JOIN daily_attendance AS day USING (site, user_id, work_date, revision)
                WHERE list_contains($ids::BIGINT[], day.id)
                ORDER BY reviewed_at
                """,
                {"ids": list(ids)},
            ).fetchall()
        return {row[0]: Review(*row[1:]) for row in rows}

    def of_day(self, site: str, user_id: str, work_date: date) -> list[Review]:
        """All reviews of a day over all its revisions, in order."""
        with self.database.read("reviews of a day") as connection:
            rows = connection.execute(
                """
                SELECT revision, is_reviewed, reviewed_at, reviewed_by, note FROM day_reviews
                WHERE site = ? AND user_id = ? AND work_date = ? ORDER BY reviewed_at
                """,
                [site, user_id, work_date],
            ).fetchall()
        return [Review(*row) for row in rows]
