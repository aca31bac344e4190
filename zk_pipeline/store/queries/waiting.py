"""Numbers of what waits for an operator, for the navigation of the web admin: one read of bounded cost."""

from __future__ import annotations

from dataclasses import dataclass

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.queries.reviews import REVIEWED

MAX_COUNTED = 100


@dataclass(frozen=True)
class Waiting:
    """Numbers of what waits, each counted up to MAX_COUNTED.

    `outliers` without a review, `dead_letters`, `pending_terminals` and undecided `punch_requests`.
    """

    outliers: int = 0
    dead_letters: int = 0
    pending_terminals: int = 0
    punch_requests: int = 0


def waiting(database: Database) -> Waiting:
    """The numbers now."""
    with database.read("count what waits") as connection:
        row = connection.execute(_COUNTS).fetchone()
    assert row is not None
    return Waiting(*row)


# A limit ends each scan early; without it the newest rows of a flag or a state are all that is read of the table.
_COUNTS = f"""
SELECT
    (SELECT count(*) FROM (
        SELECT 1 FROM daily_attendance
        WHERE is_outlier AND (site, user_id, work_date, revision) NOT IN ({REVIEWED}) LIMIT {MAX_COUNTED}
    )),
    (SELECT count(*) FROM (SELECT 1 FROM crm_deliveries WHERE state = 'failed' LIMIT {MAX_COUNTED})),
    (SELECT count(*) FROM (SELECT 1 FROM push_terminals WHERE device IS NULL LIMIT {MAX_COUNTED})),
    (SELECT count(*) FROM (
        SELECT 1 FROM manual_punches WHERE decision IS NULL LIMIT {MAX_COUNTED}
    ))
"""  # noqa: S608 (constant SQL)
