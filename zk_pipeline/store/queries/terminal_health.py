"""Terminal health: completeness, clock drift, log fill level. From the latest successful poll, or for a terminal that
only pushes from its contacts, its uploads and the comparisons of its counts with the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.queries.metrics import IS_POLL

# Of a row of `push_checks`: the terminal was asked for punches that the store does not have, and did not send as many
# lines as it counts; see `store.push.check_plan.PushCheck.is_missing`.
IS_MISSING = "stored_punches < terminal_punches AND resent_punches < terminal_punches"


@dataclass(frozen=True)
class TerminalHealth:
    """One enabled device after its latest successful poll; fields are None without one. `fill` is 0 to 1.

    `error`: error of the latest poll; None if that succeeded. With `only_pushes`, `read_at` is the last contact,
    `reported` the counter that the terminal sent last, `clock_drift_seconds` None if no upload has shown it.
    """

    device: str
    read_at: datetime | None
    reported: int | None  # records the terminal counted before its log was read
    records_accounted_for: int | None  # stored or in quarantine; all records if the poll has warnings
    clock_drift_seconds: float | None
    fill: float | None
    error: str | None
    only_pushes: bool = False

    @property
    def missing(self) -> int:
        """Records in the terminal's log that were not stored."""
        return max(0, (self.reported or 0) - (self.records_accounted_for or 0))


def terminal_health(database: Database) -> list[TerminalHealth]:
    """Health of every enabled device, by name."""
    with database.read("health of terminals") as connection:
        rows = connection.execute(
            f"""
            WITH ids AS (
                SELECT max(id) AS last_id, max(id) FILTER (status = 'success') AS good_id
                FROM device_polls WHERE {IS_POLL} GROUP BY device
            ),
            newest AS (SELECT poll.* FROM device_polls AS poll JOIN ids ON ids.good_id = poll.id),
            of_all AS (SELECT poll.* FROM device_polls AS poll JOIN ids ON ids.last_id = poll.id),
            polled AS (
                SELECT
                    device.name, newest.finished_at, newest.reported,
                    CASE WHEN newest.warnings IS NULL THEN newest.records_accounted_for
                         ELSE greatest(newest.records_accounted_for, newest.reported) END,
                    newest.clock_drift_seconds,
                    newest.record_count_after / nullif(device.record_capacity, 0),
                    of_all.error, false
                FROM devices AS device
                LEFT JOIN newest ON newest.device = device.name
                LEFT JOIN of_all ON of_all.device = device.name
                WHERE device.enabled AND device.polled AND device.removed_at IS NULL
            ),
            missing AS (
                SELECT serial_number, sum(terminal_punches - stored_punches)::BIGINT AS punches
                FROM push_checks WHERE {IS_MISSING} GROUP BY serial_number
            ),
            pushing AS (
                SELECT
                    device.name, terminal.last_seen_at,
                    greatest(terminal.record_count, missing.punches) AS reported,
                    greatest(terminal.record_count, missing.punches) - coalesce(missing.punches, 0),
                    device.clock_drift_seconds, terminal.record_count / nullif(device.record_capacity, 0),
                    NULL, true
                FROM devices AS device
                JOIN push_terminals AS terminal ON terminal.device = device.name
                LEFT JOIN missing ON missing.serial_number = terminal.serial_number
                WHERE device.enabled AND NOT device.polled AND device.removed_at IS NULL
            )
            FROM polled UNION ALL FROM pushing ORDER BY 1
            """  # noqa: S608 (constant SQL)
        ).fetchall()
    return [TerminalHealth(*row) for row in rows]
