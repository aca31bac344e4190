"""Reviews of outliers: append-only rows of `day_reviews`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.store.engine.database import Connection, Database


@dataclass(frozen=True)
class Review:
    """Review of one revision of a day; `is_reviewed` False: to be reviewed again."""

    revision: int
    is_reviewed: bool
    reviewed_at: datetime
    reviewed_by: str
    note: str


@dataclass(frozen=True)
class Marked:
    """Result of `mark_if` by id of the day: new reviews, and the latest reviews of the days that stay as they are."""

    marked: dict[int, Review]
    kept: dict[int, Review | None]


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
        return self.mark_if(days, _always, by=by, note=note, is_reviewed=is_reviewed).marked

    def mark_if(
        self,
        days: Mapping[int, int],
        applies: Callable[[Review | None], bool],
        *,
        by: str,
        note: str = "",
        is_reviewed: bool = True,
    ) -> Marked:
        """Mark those of the days as `mark` does to whose latest review `applies`; None is a day without a review."""
        now = self.clock()
        with self.database.write("mark days as reviewed") as connection:
            found = dict(connection.execute(f"SELECT id, revision {_ASKED}", _asked(days)).fetchall())
            latest = _latest(connection, found)
            marked = {id_: revision for id_, revision in found.items() if applies(latest.get(id_))}
            connection.execute(
                "INSERT INTO day_reviews SELECT site, user_id, work_date, revision, $is_reviewed, $now, $by, $note "
                + _ASKED,
                {**_asked(marked), "is_reviewed": is_reviewed, "now": now, "by": by, "note": note},
            )
        reviews = {id_: Review(revision, is_reviewed, now, by, note) for id_, revision in marked.items()}
        return Marked(reviews, {id_: latest.get(id_) for id_ in found.keys() - marked.keys()})

    def latest(self, ids: Iterable[int]) -> dict[int, Review]:
        """Latest review of the current revision of each of these days, if any."""
        with self.database.read("reviews of days") as connection:
            return _latest(connection, ids)

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


def _always(_: Review | None) -> bool:
    return True


def _asked(days: Mapping[int, int]) -> dict[str, list[int]]:
    return {"ids": list(days), "revisions": list(days.values())}


def _latest(connection: Connection, ids: Iterable[int]) -> dict[int, Review]:
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
