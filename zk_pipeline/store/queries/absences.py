"""Absences: expected attendance days without punches, from the view `absences`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from zk_pipeline.store.engine.database import Database


@dataclass(frozen=True)
class AbsenceRow:
    """A work date on which the assigned shift works and the user has no punch."""

    site: str
    user_id: str
    date: date
    shift: str
    leave: str | None


@dataclass(frozen=True)
class AbsenceStore:
    database: Database

    def page(
        self,
        *,
        user_id: str | None = None,
        site: str | None = None,
        first: date | None = None,
        last: date | None = None,
        limit: int,
        offset: int = 0,
    ) -> tuple[int, list[AbsenceRow]]:
        """Count and one page of absences of a user, a site, and from `first` to `last` (None: all), by date."""
        values = {"user_id": user_id, "site": site, "first": first, "last": last}
        with self.database.read("list absences") as connection:
            rows = connection.execute(
                f"{_ABSENCES} ORDER BY work_date, site, user_id LIMIT $limit OFFSET $offset",
                values | {"limit": limit, "offset": offset},
            ).fetchall()
            # A second query of the view only if the page does not give the count.
            if offset == 0 and len(rows) < limit:
                count = len(rows)
            else:
                count = connection.execute(f"SELECT count(*) FROM ({_ABSENCES})", values).fetchall()[0][0]  # noqa: S608
        return count, [AbsenceRow(*row) for row in rows]


_ABSENCES = """
SELECT site, user_id, work_date, shift, leave FROM absences
WHERE ($user_id IS NULL OR user_id = $user_id) AND ($site IS NULL OR site = $site)
  AND ($first::DATE IS NULL OR work_date >= $first) AND ($last::DATE IS NULL OR work_date <= $last)
"""
