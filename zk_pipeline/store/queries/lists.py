"""Filtered and ordered pages of punches and attendance days, for the API and the web admin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Generic, TypeVar, cast

from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.queries.delivery_counts import DeliveryCounts
from zk_pipeline.store.queries.keyset_pagination import (
    BucketCache,
    Key,
    Kind,
    Known,
    ListQuery,
    PageRequest,
    read_extent,
    read_page,
)
from zk_pipeline.store.queries.reviews import REVIEWED


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Filter of rows; None takes all. Dates are wall-clock dates for punches, work dates for days; both inclusive."""

    user_id: str | None = None
    device: int | None = None  # devices.id; of days: the device of the clock-in
    site: str | None = None
    first: date | None = None
    last: date | None = None
    is_outlier: bool | None = None
    synced_to_crm: bool | None = None
    sync_state: str | None = None
    outlier_code: str | None = None
    is_reviewed: bool | None = None  # of the current revision


@dataclass(frozen=True)
class PunchRow:
    """A row of `raw_punches` with the field names of the API; `id` is its seq, which increases with every punch."""

    id: int
    device: int | None  # None: not in the registry
    device_name: str
    user_id: str
    timestamp: datetime
    status: int
    punch_state: int
    verify_type: int
    work_code: int | None  # None: the record has none
    source: str
    created_at: datetime


@dataclass(frozen=True)
class PunchListItem:
    """A row of `raw_punches` for display: wall-clock time and site of the terminal."""

    id: int
    device_name: str
    site: str
    user_id: str
    timestamp_local: datetime
    timestamp: datetime
    timezone: str
    punch_state: int
    verify_type: int
    work_code: int | None
    source: str
    is_clock_suspect: bool
    created_at: datetime


@dataclass(frozen=True)
class DayRow:
    """A row of `processed_attendance`."""

    id: int
    device: int | None  # None: not in the registry
    device_name: str
    site: str
    user_id: str
    date: date
    clock_in: datetime
    clock_out: datetime | None
    clock_in_local: datetime
    clock_out_local: datetime | None
    punch_count: int
    worked_minutes: int | None
    is_incomplete: bool
    is_outlier: bool
    outlier_codes: list[str]
    outlier_reason: str
    late_minutes: int | None  # None, as the five below: not processed since the store has these columns
    early_leave_minutes: int | None  # None, as is_early_departure: without a clock-out
    attendance_status: str | None
    break_minutes: int | None  # None, as the next four: without a clock-out
    break_source: str | None
    overtime_minutes: int | None
    overtime_class: str | None
    night_minutes: int | None
    is_late_arrival: bool | None
    is_early_departure: bool | None
    hours_worked: float | None  # None: without a clock-out
    revision: int
    synced_to_crm: bool
    sync_state: str | None
    sync_attempts: int
    last_sync_attempt: datetime | None
    sync_error: str | None
    created_at: datetime
    updated_at: datetime


Row = TypeVar("Row")


@dataclass(frozen=True)
class Rows(Generic[Row]):
    """As `keyset_pagination.Page`, with rows by name."""

    count: int
    rows: list[Row]
    until: int
    last: tuple[Any, ...] | None
    has_more: bool


# Sort keys of each list: name, column and kind.
PUNCH_ORDER: Mapping[str, tuple[str, Kind]] = {
    "id": ("id", "number"),
    "timestamp": ("timestamp", "instant"),
    "user_id": ("user_id", "text"),
    "device": ("device_name", "text"),
    "device_name": ("device_name", "text"),
    "created_at": ("created_at", "instant"),
}
DAY_ORDER: Mapping[str, tuple[str, Kind]] = {
    "id": ("id", "number"),
    "date": ("date", "date"),
    "user_id": ("user_id", "text"),
    "device": ("device_name", "text"),
    "device_name": ("device_name", "text"),
    "site": ("site", "text"),
    "clock_in": ("clock_in", "instant"),
    "is_outlier": ("is_outlier", "flag"),
    "created_at": ("created_at", "instant"),
    "updated_at": ("updated_at", "instant"),
}


@dataclass(frozen=True)
class ListStore:
    database: Database
    cache: BucketCache
    delivery_counts: DeliveryCounts

    def punches(self, wanted: Filter, order: Sequence[Key], place: PageRequest) -> Rows[PunchRow]:
        """Raises UsageError for an unknown device."""
        return self._punches(PunchRow, wanted, order, place)

    def punch_lines(self, wanted: Filter, order: Sequence[Key], place: PageRequest) -> Rows[PunchListItem]:
        """The same rows for display. Raises UsageError for an unknown device."""
        return self._punches(PunchListItem, wanted, order, place)

    def _punches(self, kind: type[Row], wanted: Filter, order: Sequence[Key], place: PageRequest) -> Rows[Row]:
        return self.database.once(
            (kind, wanted, tuple(order), place), lambda: self._read_punches(kind, wanted, order, place)
        )

    def _read_punches(self, kind: type[Row], wanted: Filter, order: Sequence[Key], place: PageRequest) -> Rows[Row]:
        with self.database.read("list punches") as connection:
            conditions, values = _conditions(connection, wanted, day="timestamp_local")
            listing = ListQuery(_PUNCHES, order, conditions, values, bounds=_ALL_PUNCHES, excluded=_VOIDED)
            page = read_page(
                connection,
                listing,
                ", ".join(field.name for field in fields(cast(Any, kind))),
                place,
                source=_PUNCH_ROWS,
                cache=self.cache,
                known=self._known(connection, wanted, listing),
            )
        return Rows(page.count, [kind(*row) for row in page.rows], page.until, page.last, page.has_more)

    def _known(self, connection: Connection, wanted: Filter, listing: ListQuery) -> Known:
        """Facts that a copy of the store has ready: the extent of a list, and the count of a list of one user, as
        counting the rows of all users takes as long.
        """
        once, relation = self.database.once_per_copy, listing.numbered or listing.relation
        extent = once(("extent", listing.bounds, listing.order[0]), lambda: read_extent(connection, listing))
        if wanted == Filter() or wanted != Filter(user_id=wanted.user_id):
            return Known(extent)
        by_user = once(
            ("users", relation),
            lambda: dict(connection.execute(f"SELECT user_id, count(*) FROM ({relation}) GROUP BY user_id").fetchall()),  # noqa: S608
        )
        return Known(extent, None if by_user is None else by_user.get(wanted.user_id, 0))

    def _known_days(self, connection: Connection, wanted: Filter, listing: ListQuery) -> Known:
        """The same of days, and their number by date for lists by date of the delivered days, or of the others."""
        known = self._known(connection, wanted, listing)
        is_synced = wanted.synced_to_crm
        if is_synced is None or wanted != Filter(synced_to_crm=is_synced) or listing.order[0].column != "date":
            return known
        counts = self.delivery_counts.of(self.database, connection)
        buckets = Counter({day: one.synced if is_synced else one.unsynced for day, one in counts.items()})
        return Known(known.extent, buckets.total(), +buckets)

    def days(self, wanted: Filter, order: Sequence[Key], place: PageRequest) -> Rows[DayRow]:
        """Raises UsageError for an unknown device."""
        return self.database.once((DayRow, wanted, tuple(order), place), lambda: self._read_days(wanted, order, place))

    def _read_days(self, wanted: Filter, order: Sequence[Key], place: PageRequest) -> Rows[DayRow]:
        needs_delivery = wanted.synced_to_crm is not None or wanted.sync_state is not None
        with self.database.read("list days") as connection:
            conditions, values = _conditions(connection, wanted, day="date")
            relation, numbered = (_DELIVERED_DAYS, _DAYS) if needs_delivery else (_DAYS, "")
            listing = ListQuery(relation, order, conditions, values, numbered=numbered, bounds=_DAYS)
            page = read_page(
                connection,
                listing,
                ", ".join(DayRow.__dataclass_fields__),
                place,
                source=_DAY_ROWS,
                known=self._known_days(connection, wanted, listing),
            )
        return Rows(page.count, [DayRow(*row) for row in page.rows], page.until, page.last, page.has_more)

    def outlier_codes(self, wanted: Filter) -> dict[str, int]:
        """Number of days in `wanted` by outlier code. Raises UsageError for an unknown device."""
        with self.database.read("count outliers") as connection:
            conditions, values = _conditions(connection, wanted, day="date")
            rows = connection.execute(
                f"""
                SELECT code, count(*)
                FROM (SELECT unnest(outlier_codes) AS code FROM ({_DAYS}) WHERE {" AND ".join(["true", *conditions])})
                GROUP BY code ORDER BY code
                """,  # noqa: S608 (constant SQL)
                values,
            ).fetchall()
        return dict(rows)

    def day(self, day_id: int) -> DayRow | None:
        """The attendance day with that id."""
        with self.database.read("read a day") as connection:
            row = connection.execute(
                f"SELECT {', '.join(DayRow.__dataclass_fields__)} FROM processed_attendance WHERE id = ?",  # noqa: S608
                [day_id],
            ).fetchone()
        return DayRow(*row) if row else None


_ALL_PUNCHES = """
    SELECT seq AS id, device AS device_name, user_id, punched_at AS timestamp, punched_at_local AS timestamp_local,
           status, punch_state, verify_type, work_code, source, is_clock_suspect, created_at, voided_at
    FROM raw_punches
"""
_PUNCHES = f"{_ALL_PUNCHES} WHERE voided_at IS NULL"
_VOIDED = "voided_at > TIMESTAMPTZ '-infinity'"  # excludes files without such rows, other than `IS NOT NULL`
_PUNCH_ROWS = f"""
    SELECT punch.*, device.id AS device, coalesce(device.site, punch.device_name) AS site,
           coalesce(device.timezone, 'UTC') AS timezone
    FROM (SELECT * FROM ({_PUNCHES}) WHERE {{chosen}}) AS punch
    LEFT JOIN devices AS device ON device.name = punch.device_name
"""  # noqa: S608 (constant SQL)
# Without the join that only `synced_to_crm` needs.
_DAYS = """
    SELECT id, device AS device_name, site, user_id, work_date AS date, clock_in, is_outlier, outlier_codes, revision,
           created_at, updated_at
    FROM daily_attendance
"""
_DELIVERED_DAYS = "SELECT * FROM processed_attendance"
# The view for the days of a page: their deliveries are looked up, instead of joined before the days are chosen.
_DAY_COLUMNS = (
    "id, device, site, user_id, work_date, clock_in, clock_out, clock_in_local, clock_out_local, punch_count, "
    "worked_minutes, is_incomplete, is_outlier, outlier_codes, outlier_reason, late_minutes, early_leave_minutes, "
    "attendance_status, break_minutes, break_source, overtime_minutes, overtime_class, night_minutes, revision, "
    "created_at, updated_at"
)
_DAY_ROWS = f"""
    WITH day AS MATERIALIZED (
        SELECT * FROM (SELECT {_DAY_COLUMNS}, work_date AS date, device AS device_name FROM daily_attendance)
        WHERE {{chosen}}
    ),
    delivery AS (
        SELECT day.id, max(struct_pack(
            one.revision, is_own := one.site = day.site AND one.revision = day.revision, state, attempts,
            last_attempt_at, last_error
        )) AS latest
        FROM day JOIN crm_deliveries AS one USING (user_id, work_date)
        WHERE merged IS NOT NULL OR (one.site = day.site AND one.revision = day.revision)
        GROUP BY day.id
    )
    SELECT day.* EXCLUDE (device, work_date), registered.id AS device,
           late_minutes > 0 AS is_late_arrival, early_leave_minutes > 0 AS is_early_departure,
           round(worked_minutes / 60, 2) AS hours_worked, coalesce(latest.state = 'delivered', false) AS synced_to_crm,
           latest.state AS sync_state, coalesce(latest.attempts, 0) AS sync_attempts,
           latest.last_attempt_at AS last_sync_attempt, latest.last_error AS sync_error
    FROM day LEFT JOIN delivery ON delivery.id = day.id LEFT JOIN devices AS registered ON registered.name = day.device
"""  # noqa: S608 (constant SQL)


def _conditions(connection: Connection, wanted: Filter, *, day: str) -> tuple[list[str], dict[str, object]]:
    name = None
    if wanted.device is not None:
        found = connection.execute("SELECT name FROM devices WHERE id = ?", [wanted.device]).fetchone()
        if found is None:
            raise UsageError(f"device: there is none with the id {wanted.device}")
        name = found[0]
    # Ranges of the stored column itself, so that DuckDB can skip row groups outside them.
    possible: dict[str, tuple[str, object]] = {
        "user_id": ("user_id = $user_id", wanted.user_id),
        "device_name": ("device_name = $device_name", name),
        "site": ("site = $site", wanted.site),
        "first": (f"{day} >= $first", wanted.first),
        "last": (f"{day} < $last::DATE + 1", wanted.last),
        "is_outlier": ("is_outlier = $is_outlier", wanted.is_outlier),
        "synced_to_crm": ("synced_to_crm = $synced_to_crm", wanted.synced_to_crm),
        "sync_state": ("sync_state = $sync_state", wanted.sync_state),
        "outlier_code": ("list_contains(outlier_codes, $outlier_code)", wanted.outlier_code),
        "is_reviewed": (
            f"((site, user_id, date, revision) IN ({REVIEWED})) = $is_reviewed",
            wanted.is_reviewed,
        ),
    }
    given = {word: pair for word, pair in possible.items() if pair[1] is not None}
    return [condition for condition, _ in given.values()], {word: value for word, (_, value) in given.items()}
