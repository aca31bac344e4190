"""What the newest successful polls tell of each terminal: is all of its log here, is its clock right, is it full."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.store.engine.database import Database


@dataclass(frozen=True)
class TerminalHealth:
    """One enabled device after its newest successful poll; None where there was none. `fill` is 0 to 1.

    `error`: why the newest poll of all failed; None where that was the successful one.
    """

    device: str
    read_at: datetime | None
    reported: int | None  # records the terminal counted before its log was read
    records_accounted_for: (
        int | None
    )  # records of it that are stored or in quarantine; all where the poll's warnings say it
    clock_drift_seconds: float | None
    fill: float | None
    error: str | None

    @property
    def missing(self) -> int:
        """Records that the terminal held then and the store does not."""
        return max(0, (self.reported or 0) - (self.records_accounted_for or 0))


def terminal_health(database: Database) -> list[TerminalHealth]:
    """Every enabled device, by name."""
    with database.read("health of terminals") as connection:
        rows = connection.execute(
            """
            WITH newest AS (
                SELECT
                    device,
                    max(struct_pack(
                        id, finished_at, reported, record_count_after, records_accounted_for, clock_drift_seconds,
                        warnings
                    )) AS poll
                FROM device_polls
                WHERE status = 'success' AND coalesce(mode, '') NOT IN ('live', 'release')
                GROUP BY device
            ),
            of_all AS (
                SELECT device, max(struct_pack(id, error)) AS poll
                FROM device_polls WHERE coalesce(mode, '') NOT IN ('live', 'release')
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
            """
        ).fetchall()
    return [TerminalHealth(*row) for row in rows]
