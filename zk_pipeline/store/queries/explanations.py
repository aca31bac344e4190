"""Explanation of an attendance day: its punches, revisions and deliveries, also as of an earlier instant."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.shifts.leaves import Leave, read_leaves
from zk_pipeline.store.work_dates.assignment import assign_work_dates, stored_debounce, valid_punches
from zk_pipeline.store.work_dates.manual_punches import ManualPunch, read_withdrawn, work_dates_of
from zk_pipeline.store.work_dates.punch_directions import DEVICE_DIRECTION, DIRECTION, IS_TRUSTED, SOURCE
from zk_pipeline.store.work_dates.roster import ASSIGNMENT_LEVEL
from zk_pipeline.time_text import wall_clock

MAX_LEFT_OUT = 50
SOURCES = {"poll": "polled", "live": "live capture", "push": "pushed", "file": "file"}
PUNCH_STATES = {0: "in", 1: "out", 2: "break out", 3: "break in", 4: "overtime in", 5: "overtime out"}


@dataclass(frozen=True)
class ExplainedPunch:
    """A punch of the work date; `read_local`: the time as recorded, if it was corrected.

    A manual punch has an id, a reason and its operators instead of a poll; it is stored when it is approved.
    """

    site: str
    device: str
    punched_at_local: datetime
    punched_at: datetime
    punch_state: int
    work_code: int | None
    source: str | None  # poll, live, push or file; None for a manual punch
    punch_direction: str  # in or out
    direction_source: str  # device, punch_state or alternation
    poll_id: int | None
    stored_at: datetime
    read_local: datetime | None
    manual_punch_id: int | None
    reason: str | None
    requested_by: str | None
    decided_by: str | None

    @property
    def origin(self) -> str:
        """Where the punch comes from: its source and poll, or the request with its reason and operators."""
        if self.source is not None:
            return f"{SOURCES[self.source]} (poll {self.poll_id})" if self.source == "poll" else SOURCES[self.source]
        operators = f"requested by {self.requested_by}, approved by {self.decided_by}"
        return f"manual punch {self.manual_punch_id}: {self.reason} ({operators})"


@dataclass(frozen=True)
class Revision:
    """One revision of the day, valid from `made_at` until the next, with its hours and delivery."""

    site: str
    revision: int
    made_at: datetime
    run_id: str | None
    is_retracted: bool
    device: str
    clock_in_local: datetime | None
    clock_out_local: datetime | None
    punch_count: int
    worked_minutes: int | None
    worked_minutes_source: str | None
    shift: str | None  # None: the hours of the settings
    shift_start: time | None
    shift_end: time | None
    day_off: str | None
    outlier_codes: list[str]
    outlier_reason: str
    late_minutes: int | None  # None, as the next three: not known to the version that stored the revision
    early_leave_minutes: int | None
    attendance_status: str | None
    judged_by: str | None
    break_minutes: int | None  # None, as the next four: without a clock-out
    break_source: str | None
    overtime_minutes: int | None
    overtime_class: str | None
    night_minutes: int | None
    delivery: str | None  # current state; for a date at several sites, that of its merged record; None without
    delivered_at: datetime | None
    idempotency_key: str | None
    season: str | None  # why `shift` applies in place of the assigned one, by the current seasons


@dataclass(frozen=True)
class LeftOut:
    """A record of the user and date that counts on no day: a punch by a clock known to be wrong, or a pushed or
    imported line in quarantine, whose text names both.
    """

    site: str
    device: str
    recorded_local: datetime | None  # None for a line in quarantine
    raw_text: str | None
    reason: str
    stored_at: datetime

    @property
    def sentence(self) -> str:
        """The record and why it does not count, in one line."""
        if self.recorded_local is None:
            return f"line in quarantine of {self.device}: {self.raw_text!r} ({self.reason})"
        return f"punch at {wall_clock(self.recorded_local)}, {self.device} ({self.reason})"


@dataclass(frozen=True)
class Explanation:
    """`revisions` in order; the last of each site is valid at `as_of`, or (None) now.

    `punches` are assigned by the current shifts; with `as_of`, only those stored by then. `leaves` were active then,
    and manual punches `withdrawn` by then. `left_out`: records of the date on the wall clock.
    """

    user_id: str
    work_date: date
    as_of: datetime | None
    punches: list[ExplainedPunch]
    revisions: list[Revision]
    leaves: list[Leave]
    withdrawn: list[ManualPunch]
    left_out: list[LeftOut]

    @property
    def sites(self) -> list[str]:
        """Sites with punches, also withdrawn or left out ones, or revisions, sorted."""
        shown: list[ExplainedPunch | Revision | ManualPunch | LeftOut]
        shown = [*self.punches, *self.revisions, *self.withdrawn, *self.left_out]
        return sorted({one.site for one in shown})

    @property
    def is_empty(self) -> bool:
        return not (self.punches or self.revisions or self.leaves or self.withdrawn or self.left_out)

    def at(self, site: str | None) -> Explanation:
        """The part of one site; None: all."""
        if site is None:
            return self
        return replace(
            self,
            punches=[one for one in self.punches if one.site == site],
            revisions=[one for one in self.revisions if one.site == site],
            leaves=self.leaves_at(site),
            withdrawn=[one for one in self.withdrawn if one.site == site],
            left_out=[one for one in self.left_out if one.site == site],
        )

    def leaves_at(self, site: str) -> list[Leave]:
        return [one for one in self.leaves if one.site in (None, site)]


@dataclass(frozen=True)
class Explanations:
    database: Database

    def explain(self, user_id: str, work_date: date, *, as_of: datetime | None = None) -> Explanation:
        """Explain the day of a user at every site, in one read."""
        with self.database.read("explain a day") as connection:
            punches = _punches(connection, user_id, work_date, as_of)
            values: dict[str, object] = {"user": user_id, "date": work_date, "as_of": as_of}
            rows = connection.execute(_REVISIONS, values).fetchall()
            leaves = read_leaves(connection, _LEAVES, values)
            withdrawn = _withdrawn(connection, values)
            left_out = _left_out(connection, values)
        return Explanation(
            user_id, work_date, as_of, punches, [Revision(*row) for row in rows], leaves, withdrawn, left_out
        )


def _punches(connection: Connection, user_id: str, day: date, as_of: datetime | None) -> list[ExplainedPunch]:
    valid = valid_punches(connection)
    pairs = f"""
        SELECT DISTINCT device, user_id FROM {valid} WHERE user_id = $user
        UNION SELECT device, user_id FROM manual_punches WHERE user_id = $user
    """  # noqa: S608 (constant SQL)
    placing = assign_work_dates(connection, punches=valid, pairs=pairs, values={"user": user_id})
    punches = f"(FROM {valid} UNION ALL {_WITHDRAWN_LATER})"
    rows = connection.execute(
        f"""
        WITH placed AS (
            SELECT coalesce(device.site, punch.device) AS site, punch.device, punch.punched_at_local, punch.punched_at,
                   punch.punch_state, stored.work_code, stored.source, punch.first_poll_id,
                   coalesce(stored.created_at, manual.decided_at) AS stored_at,
                   CASE WHEN stored.punched_at_local <> punch.punched_at_local THEN stored.punched_at_local
                        END AS read_local,
                   manual.id, manual.reason, manual.requested_by, manual.decided_by,
                   {DEVICE_DIRECTION} AS device_direction, {IS_TRUSTED} AS is_trusted
            FROM {punches} AS punch {placing.join}
            LEFT JOIN raw_punches AS stored ON stored.seq = punch.seq
            LEFT JOIN manual_punches AS manual ON manual.seq = punch.seq
            LEFT JOIN devices AS device ON device.name = punch.device
            WHERE punch.user_id = $user AND punch.punched_at_local >= $first AND punch.punched_at_local < $last
              AND {placing.work_date} = $first::DATE AND ($as_of IS NULL OR stored_at <= $as_of)
        ),
        spaced AS (
            SELECT *, epoch_us(punched_at) - lag(epoch_us(punched_at)) OVER (
                PARTITION BY site ORDER BY punched_at, device, punched_at_local
            ) AS pause
            FROM placed
        ),
        numbered AS (
            SELECT *, count(*) FILTER (WHERE pause IS NULL OR pause >= $debounce) OVER (
                PARTITION BY site ORDER BY punched_at, device, punched_at_local
            ) AS number
            FROM spaced
        )
        SELECT site, device, punched_at_local, punched_at, punch_state, work_code, source, {DIRECTION}, {SOURCE},
               first_poll_id, stored_at, read_local, id, reason, requested_by, decided_by
        FROM numbered ORDER BY site, punched_at, device, punched_at_local
        """,  # noqa: S608 (constant SQL)
        {
            "user": user_id,
            "first": day,
            "last": day + timedelta(days=2),
            "as_of": as_of,
            "debounce": stored_debounce(connection) * 1_000_000,
        },
    ).fetchall()
    return [ExplainedPunch(*row) for row in rows]


def _withdrawn(connection: Connection, values: dict[str, object]) -> list[ManualPunch]:
    """The withdrawn manual punches of the work date."""
    near = "user_id = $user AND punched_at_local::DATE - $date BETWEEN -1 AND 1"
    found = read_withdrawn(connection, f"{near} AND ($as_of IS NULL OR withdrawn_at <= $as_of)", values)
    dates = work_dates_of(connection, [one.id for one in found]) if found else {}
    return [one for one in found if dates[one.id] == values["date"]]


def _left_out(connection: Connection, values: dict[str, object]) -> list[LeftOut]:
    """Punches by wrong clocks and quarantined lines of the user and date, punches first."""
    found = [LeftOut(*row) for row in connection.execute(_SUSPECTS, values).fetchall()]
    dated = {name: values[name] for name in ("date", "as_of")}
    for site, device, raw, reason, stored_at in connection.execute(_QUARANTINED, dated).fetchall():
        text = raw.decode(errors="backslashreplace")
        if values["user"] in _BETWEEN_VALUES.split(text):
            found.append(LeftOut(site, device, None, text, reason, stored_at))
    return found[:MAX_LEFT_OUT]


_BETWEEN_VALUES = re.compile(r"[\t\r\n =,;]+")
_SUSPECTS = """
SELECT coalesce(device.site, punch.device), punch.device, punch.punched_at_local, NULL,
       'the clock of the terminal was wrong', punch.created_at
FROM raw_punches AS punch LEFT JOIN devices AS device ON device.name = punch.device
WHERE punch.user_id = $user AND punch.punched_at_local >= $date AND punch.punched_at_local < $date + INTERVAL 1 DAY
  AND punch.is_clock_suspect AND punch.voided_at IS NULL
  AND punch.seq NOT IN (SELECT seq FROM corrected_punches) AND ($as_of IS NULL OR punch.created_at <= $as_of)
ORDER BY punch.punched_at_local, punch.device
"""
_QUARANTINED = """
SELECT coalesce(device.site, line.device), line.device, line.raw, line.reason, line.created_at
FROM quarantined_records AS line LEFT JOIN devices AS device ON device.name = line.device
WHERE line.record_format IS NOT NULL AND contains(line.raw::VARCHAR, strftime($date::DATE, '%Y-%m-%d'))
  AND CASE WHEN $as_of IS NULL THEN line.released_at IS NULL
      ELSE line.created_at <= $as_of AND (line.released_at IS NULL OR line.released_at > $as_of) END
ORDER BY line.created_at, line.device, line.raw
"""
_WITHDRAWN_LATER = """
    SELECT device, user_id, punched_at, punched_at_local, punch_state, seq, NULL::BIGINT AS first_poll_id
    FROM manual_punches WHERE decision = 'withdrawn' AND withdrawn_at > $as_of
"""
_LEAVES = """
user_id = $user AND $date BETWEEN first_date AND last_date AND CASE WHEN $as_of IS NULL THEN removed_at IS NULL
    ELSE created_at <= $as_of AND (removed_at IS NULL OR removed_at > $as_of) END
"""

# A record over several sites has the revision of its latest row, and includes the rows of the other sites.
_REVISIONS = f"""
WITH delivered AS (SELECT * FROM crm_deliveries WHERE user_id = $user AND work_date = $date)
SELECT day.site, day.revision, day.created_at, day.run_id, day.is_retracted, day.device, day.clock_in_local,
       day.clock_out_local, day.punch_count, day.worked_minutes, day.worked_minutes_source, day.shift, day.shift_start,
       day.shift_end, day.day_off, day.outlier_codes, day.outlier_reason, day.late_minutes,
       day.early_leave_minutes, day.attendance_status, day.judged_by, day.break_minutes,
       day.break_source, day.overtime_minutes, day.overtime_class, day.night_minutes, sent.state, sent.delivered_at,
       sent.idempotency_key,
       CASE WHEN season.id IS NOT NULL
            THEN format('in place of {{}} from {{}} to {{}}', season.shift, season.valid_from, season.valid_to) END
FROM (
    SELECT day.*, coalesce(
        (SELECT max_by(shared, shared.revision) FROM delivered AS shared
         WHERE shared.merged IS NOT NULL AND shared.revision > day.revision AND standing.revision = day.revision),
        (SELECT any_value(own) FROM delivered AS own WHERE own.site = day.site AND own.revision = day.revision),
        (SELECT max_by(shared, shared.revision) FROM delivered AS shared
         WHERE shared.merged IS NOT NULL AND shared.created_at <= day.created_at)
    ) AS sent, (
        SELECT arg_min(held.assigned_shift, {ASSIGNMENT_LEVEL}) FROM effective_assignments AS held
        WHERE coalesce(held.user_id, $user) = $user AND coalesce(held.site, day.site) = day.site
          AND coalesce(held.device, day.device) = day.device
          AND $date BETWEEN coalesce(held.valid_from, $date) AND coalesce(held.valid_to, $date)
    ) AS assigned_shift
    FROM daily_attendance_revisions AS day
    LEFT JOIN daily_attendance AS standing
        ON standing.site = day.site AND standing.user_id = day.user_id AND standing.work_date = day.work_date
    WHERE day.user_id = $user AND day.work_date = $date
) AS day
LEFT JOIN shift_seasons AS season
    ON season.shift = day.assigned_shift AND season.use_shift = day.shift
    AND $date BETWEEN season.valid_from AND season.valid_to
WHERE $as_of IS NULL OR day.created_at <= $as_of
ORDER BY day.created_at, day.revision, day.site
"""  # noqa: S608 (constant SQL)
