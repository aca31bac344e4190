"""Terminal health from each device's latest successful poll: completeness, clock drift, log fill level."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.queries.metrics import IS_POLL


@dataclass(frozen=True)
class TerminalHealth:
    """One enabled device after its latest successful poll; fields are None without one. `fill` is 0 to 1.

    `error`: error of the latest poll; None if that succeeded.
    """

    device: str
    read_at: datetime | None
    reported: int | None  # records the terminal counted before its log was read
    records_accounted_for: int | None  # stored or in quarantine; all records if the poll has warnings
    clock_drift_seconds: float | None
    fill: float | None
    error: str | None

    @property
    def missing(self) -> int:
        """Records in the terminal's log that were not stored."""
        return max(0, (self.reported or 0) - (self.records_accounted_for or 0))


def terminal_health(database: Database) -> list[TerminalHealth]:
    """Health of every enabled device, by name."""
    with database.read("health of terminals") as connection:
        rows = connection.execute(
            f"""
            WITH newest AS (
                SELECT
                    device,
                    max(struct_pack(
                        id, finished_at, reported, record_count_after, records_accounted_for, clock_drift_seconds,
                        warnings
                    )) AS poll
                FROM device_polls
                WHERE status = 'success' AND {IS_POLL}
                GROUP BY device
            ),
            of_all AS (
                SELECT device, max(struct_pack(id, error)) AS poll
                FROM device_polls WHERE {IS_POLL}
                GROUP BY device
            )
            SELECT
                device.name, newest.poll.finished_at, newest.poll.reported,
                CASE WHEN newest.poll.warnings IS NULL THEN newest.poll.records_accounted_for
                     ELSE greatest(newest.poll.records_accounted_for, newest.poll.reported) END,
                newest.poll.clock_drift_seconds, newest.poll.record_count_after / nullif(device.record_capacity, 0),
                of_all.poll.error
            FROM devices AS device
            LEFT JOIN newest ON newest.device = device.name
            LEFT JOIN of_all ON of_all.device = device.name
            WHERE device.enabled AND device.removed_at IS NULL
            ORDER BY device.name
            """  # noqa: S608 (constant SQL)
        ).fetchall()
    return [TerminalHealth(*row) for row in rows]
