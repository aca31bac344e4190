"""Export of raw punches, days and absences as Arrow tables of bounded size, each from one short read.

`operations.files.table_writers` writes them to files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Literal

from zk_pipeline.data_libraries import pa
from zk_pipeline.errors import UsageError, unknown_name
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.enrolled_users import NAMES

What = Literal["raw", "attendance", "absences"]


@dataclass(frozen=True)
class ExportScope:
    """Filter of rows; None takes all. Dates are wall-clock dates for `raw`, otherwise work dates; both inclusive."""

    first: date | None = None
    last: date | None = None
    user_id: str | None = None
    site: str | None = None
    device: str | None = None  # of `attendance`: the device of the clock-in; `absences` have none


@dataclass(frozen=True)
class ExportStore:
    database: Database

    def rows_by_date(self, what: What, scope: ExportScope) -> dict[date, int]:
        """Rows of `scope` per date, ascending. Raises UsageError for an unknown device or site, and for a device in
        an export of absences.
        """
        if what == "absences" and scope.device is not None:
            raise UsageError("an absence is at a site, not at a device: choose by site")
        with self.database.read("count rows for an export", what) as connection:
            known = connection.execute("SELECT name, site FROM devices ORDER BY name").fetchall()
            _check("device", scope.device, [name for name, _ in known])
            _check("site", scope.site, sorted({site for _, site in known}))
            rows = connection.execute(
                f"SELECT date, count(*) FROM ({_ROWS[what]}) GROUP BY date ORDER BY date",  # noqa: S608 (constant SQL)
                _values(scope),
            ).fetchall()
        return dict(rows)

    def read(self, what: What, scope: ExportScope, first: date, last: date) -> pa.Table:
        """The rows of `scope` from `first` to `last`, ordered by time; instants are UTC, `*_local` naive."""
        with self.database.read("export rows", what) as connection:
            return connection.execute(
                f"WITH names AS ({NAMES}), kept AS ({_ROWS[what]}) {_SHOWN[what]}",
                _values(scope) | {"first": first, "last": last},
            ).to_arrow_table()


def _check(what: str, wanted: str | None, known: list[str]) -> None:
    if wanted is not None and wanted not in known:
        raise UsageError(unknown_name(what, wanted, known))


def _values(scope: ExportScope) -> dict[str, object]:
    given: dict[str, object] = {field.name: getattr(scope, field.name) for field in fields(scope)}
    return given | {"first": scope.first or date.min, "last": scope.last or date.max}


# Ranges of the stored column itself, so that DuckDB can skip row groups outside them.
_ROWS: Mapping[What, str] = {
    "raw": """
        SELECT punch.*, punched_at_local::DATE AS date, coalesce(device.site, punch.device) AS site,
               coalesce(device.timezone, 'UTC') AS timezone
        FROM raw_punches AS punch LEFT JOIN devices AS device ON device.name = punch.device
        WHERE punch.voided_at IS NULL AND punched_at_local >= $first AND punched_at_local < $last::DATE + 1
          AND ($user_id IS NULL OR punch.user_id = $user_id)
          AND ($device IS NULL OR punch.device = $device)
          AND ($site IS NULL OR coalesce(device.site, punch.device) = $site)
    """,
    "attendance": """
        SELECT *, work_date AS date FROM daily_attendance
        WHERE work_date BETWEEN $first AND $last
          AND ($user_id IS NULL OR user_id = $user_id)
          AND ($device IS NULL OR device = $device)
          AND ($site IS NULL OR site = $site)
    """,
    "absences": """
        SELECT *, work_date AS date FROM absences
        WHERE work_date BETWEEN $first AND $last
          AND ($user_id IS NULL OR user_id = $user_id)
          AND $device IS NULL
          AND ($site IS NULL OR site = $site)
    """,
}

_SHOWN: Mapping[What, str] = {
    "raw": """
        SELECT device, site, user_id, coalesce(name, '') AS name, punched_at, punched_at_local, timezone, status,
               punch_state, verify_type, is_clock_suspect, work_code, source
        FROM kept LEFT JOIN names USING (site, user_id)
        ORDER BY punched_at_local, device, user_id
    """,
    "attendance": """
        SELECT work_date, site, user_id, coalesce(name, '') AS name, device, clock_in, clock_out, clock_in_local,
               clock_out_local, timezone, punch_count, worked_minutes, worked_minutes_source, shift, shift_start,
               shift_end, day_off, is_incomplete, is_outlier, outlier_codes, outlier_reason, revision,
               late_minutes, early_leave_minutes, attendance_status, judged_by, break_minutes, break_source,
               overtime_minutes, overtime_class, night_minutes
        FROM kept LEFT JOIN names USING (site, user_id)
        ORDER BY work_date, site, user_id
    """,
    "absences": """
        SELECT work_date, site, user_id, coalesce(name, '') AS name, shift, leave
        FROM kept LEFT JOIN names USING (site, user_id)
        ORDER BY work_date, site, user_id
    """,
}
