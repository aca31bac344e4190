"""Integrity rules of the doctor, as SQL: each counts its violations and gives an example.

The rules that block a date from CRM delivery are in `integrity`; the doctor includes them.
"""
# ruff: noqa: S608 (constant SQL)

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zk_pipeline.attendance.clock_errors import MAX_CLOCK_ERROR_SECONDS
from zk_pipeline.store.push.uploads import RESENT
from zk_pipeline.store.quality.integrity import PUNCH_KEY
from zk_pipeline.store.queries.terminal_health import IS_MISSING

Severity = Literal["error", "warning", "note"]


# New since the poll before, dated outside the time between the two polls, but inside it after subtracting the drift.
_CLOCK_LIMIT = f"INTERVAL {MAX_CLOCK_ERROR_SECONDS:.0f} SECOND"
UNMARKED_CLOCKS = f"""
WITH polls AS (
    SELECT id, finished_at, clock_drift_seconds AS drift,
        lag(finished_at) OVER (PARTITION BY device ORDER BY id) AS before
    FROM device_polls WHERE status = 'success' AND mode IN ('full', 'incremental', 'unchanged')
)
SELECT count(*), min(punch.device || ' ' || punch.user_id || ' ' || punch.punched_at_local)
FROM raw_punches AS punch JOIN polls ON polls.id = punch.first_poll_id
WHERE abs(polls.drift) > {MAX_CLOCK_ERROR_SECONDS:.0f} AND NOT punch.is_clock_suspect AND punch.voided_at IS NULL
  AND punch.punched_at NOT BETWEEN polls.before - {_CLOCK_LIMIT} AND polls.finished_at + {_CLOCK_LIMIT}
  AND punch.punched_at - to_microseconds((polls.drift * 1e6)::BIGINT)
      BETWEEN polls.before - {_CLOCK_LIMIT} AND polls.finished_at + {_CLOCK_LIMIT}
  AND punch.seq NOT IN (SELECT seq FROM corrected_punches)
"""

# The same record stored for a second user by a later reading, because its slot had a new holder.
WRONG_PERSON = """
SELECT later.seq, later.device, later.user_id, later.punched_at_local
FROM raw_punches AS later JOIN raw_punches AS earlier
    ON earlier.device = later.device AND earlier.punched_at_local = later.punched_at_local
    AND earlier.user_id <> later.user_id AND earlier.status = later.status AND earlier.punch_state = later.punch_state
    AND earlier.first_poll_id < later.first_poll_id
    AND coalesce(earlier.uid, later.uid, 0) = coalesce(later.uid, earlier.uid, 0)
WHERE later.punched_at_local >= $begin AND later.punched_at_local < $end
  AND earlier.punched_at_local >= $begin AND earlier.punched_at_local < $end
  AND earlier.voided_at IS NULL AND later.voided_at IS NULL
  AND later.device IN (SELECT device FROM device_polls WHERE layout = 8)
"""
REPAIR = "`zk-pipeline repair --dry-run` shows them; `zk-pipeline repair` corrects them and their days"


@dataclass(frozen=True)
class Rule:
    """`what` follows the count in the finding; `sql` returns the count and an example."""

    name: str
    severity: Severity
    what: str
    advice: str
    sql: str


REPORT = "report it with a copy (`zk-pipeline backup`); restoring an older backup undoes it"
_REMAKE = "`zk-pipeline process` for these dates processes them again"


def _twice(what: str, key: str, relation: str) -> str:
    """Query of duplicate keys of `relation`; `what` is the example."""
    return (
        f"SELECT count(*), min({what})::VARCHAR FROM (SELECT {key} FROM {relation} GROUP BY {key} HAVING count(*) > 1)"
    )


WHOLE = [
    Rule("delivery-keys-unique", "error", "open deliveries of different dates share an idempotency key", REPORT,
         "SELECT count(*), min(idempotency_key) FROM (SELECT idempotency_key FROM crm_deliveries "
         "WHERE state NOT IN ('delivered', 'superseded') GROUP BY 1 HAVING count(DISTINCT work_date) > 1)"),
    Rule("numbers", "error", "punches have numbers above the last one given", REPORT,
         "SELECT count(*), min(seq)::VARCHAR "
         "FROM (SELECT seq FROM raw_punches UNION ALL SELECT seq FROM manual_punches) "
         "WHERE seq > (SELECT max(value::BIGINT) FROM store_settings WHERE name = 'last_seq')"),
    Rule("manual-punches", "error", "manual punches are at a site that is not that of their device", REPORT,
         "SELECT count(*), min(manual.id)::VARCHAR FROM manual_punches AS manual "
         "LEFT JOIN devices AS device ON device.name = manual.device WHERE device.site IS DISTINCT FROM manual.site"),
    Rule("punch-requests", "note", "manual punches wait for a decision, and are part of no day",
         "`zk-pipeline punch list --open` shows them; `punch approve ID` or `punch reject ID --reason TEXT` decides",
         "SELECT count(*), min(site || ' ' || user_id || ' ' || punched_at_local) FROM manual_punches "
         "WHERE decision IS NULL"),
    Rule("payroll-days", "error", "paid days are stored twice, or belong to no closed payroll period", REPORT,
         "SELECT count(*), min(period || ' ' || user_id || ' ' || work_date) FROM ("
         "SELECT period, site, user_id, work_date FROM payroll_days "
         "GROUP BY ALL HAVING count(*) > 1 "
         "OR period NOT IN (SELECT period FROM payroll_periods WHERE state = 'closed'))"),
    Rule("dead-letters", "warning", "deliveries have failed permanently",
         "correct the cause, then `zk-pipeline sync --retry-failed`",
         "SELECT count(*), min(work_date || ' ' || user_id) FROM crm_deliveries WHERE state = 'failed'"),
    Rule("left-locked", "warning", "terminals are locked, so that employees may not be able to punch",
         "`zk-pipeline test-device NAME` unlocks it, unless a reading with --lock-while-reading is in progress",
         "SELECT count(*), min(name) FROM devices WHERE keypad_locked_at IS NOT NULL AND removed_at IS NULL"),
    Rule("quarantine", "warning", "records of terminals could not be punches",
         "`zk-pipeline quarantine list` says why; `quarantine release` reads them again",
         "SELECT count(*), min(device || ': ' || reason) FROM quarantined_records WHERE released_at IS NULL"),
    Rule("registered-twice", "error", "terminals are registered under two names, of which only the older is polled",
         "`zk-pipeline device remove NAME` for the other name; its punches stay",
         "SELECT count(*), min(names) FROM ("
         "SELECT string_agg(DISTINCT name, ' and ' ORDER BY name) AS names FROM devices "
         "WHERE removed_at IS NULL AND serial_number <> '' GROUP BY serial_number HAVING count(DISTINCT name) > 1 "
         "UNION ALL SELECT device.name FROM devices AS device JOIN ("
         "SELECT device, arg_max(error_code, id) AS code FROM device_polls GROUP BY device"
         ") AS poll ON poll.device = device.name WHERE device.removed_at IS NULL AND poll.code = 'registered_twice')"),
    Rule("push-terminals", "error", "terminals that push are adopted for a device that is not registered, "
         "that has another terminal, or that has another serial number",
         "`zk-pipeline device pending` shows terminals to adopt; "
         "`zk-pipeline device update NAME --accept-new-serial` makes a wrong one pending again",
         "SELECT count(*), min(terminal.serial_number) FROM push_terminals AS terminal "
         "LEFT JOIN devices AS device ON device.name = terminal.device AND device.removed_at IS NULL "
         "WHERE terminal.device IS NOT NULL AND (device.serial_number IS DISTINCT FROM terminal.serial_number "
         "OR terminal.device IN (SELECT device FROM push_terminals GROUP BY 1 HAVING count(*) > 1))"),
    Rule("push-pending", "note", "terminals have connected to the receiver and are not adopted: they keep "
         "their punches",
         "`zk-pipeline device pending` shows them; `zk-pipeline device adopt SERIAL --name NAME` accepts one",
         "SELECT count(*), min(serial_number) FROM push_terminals WHERE device IS NULL"),
    Rule("push-stamps", "error", "saved stamps would make terminals upload their whole log again at each hello", REPORT,
         f"SELECT count(*), min(serial_number) FROM push_stamps WHERE stamp = '{RESENT}'"),
    Rule("push-batches", "error", "uploads have other counts than lines, or belong to a device that is not stored",
         REPORT,
         "SELECT count(*), min(id)::VARCHAR FROM push_batches "
         "WHERE lines <> stored + duplicates + quarantined + other OR device NOT IN (SELECT name FROM devices)"),
    Rule("push-checks", "error", "comparisons with terminals wait for a command that is not stored", REPORT,
         "SELECT count(*), min(serial_number || ' ' || first_date) FROM push_checks "
         "WHERE state IN ('asked', 'queried') AND command_id NOT IN (SELECT id FROM push_commands)"),
    Rule("push-missing", "warning", "spans of dates have punches on terminals that push and not in the store",
         "see that the terminal is in contact: it is asked for them each day",
         "SELECT count(*), min(terminal.device || ' ' || checked.first_date) FROM push_checks AS checked "
         f"JOIN push_terminals AS terminal USING (serial_number) WHERE terminal.device IS NOT NULL AND {IS_MISSING}"),
    Rule("states-corrected", "warning",
         "work dates were processed from in and out states that an upgrade has corrected since", _REMAKE,
         "SELECT count(*), min(day.work_date)::VARCHAR FROM (SELECT DISTINCT work_date, device FROM daily_attendance) "
         "AS day JOIN work_dates USING (work_date) JOIN devices AS device ON device.name = day.device "
         "WHERE device.trust_punch_states AND device.direction IS NULL AND device.log_layout IN ('16', '8-MA300') "
         "AND work_dates.processed_at < (SELECT min(applied_at) FROM schema_migrations WHERE version = 13)"),
    Rule("clocks", "warning", "punches came from a clock that was wrong and are part of no day",
         "`zk-pipeline device set-clock NAME`, then `device correct-clock` for what it recorded before",
         "SELECT count(*), min(device) FROM raw_punches "
         "WHERE is_clock_suspect AND voided_at IS NULL AND seq NOT IN (SELECT seq FROM corrected_punches)"),
    Rule("clocks-unmarked", "warning",
         f"punches of polls with a clock drift of over {MAX_CLOCK_ERROR_SECONDS / 60:.0f} minutes were stored as valid "
         "although their time lies outside of the interval between two polls",
         "see that the device's time zone is right (`zk-pipeline device show NAME`); if its clock was wrong, "
         "`zk-pipeline device correct-clock` corrects a span of readings",
         UNMARKED_CLOCKS),
]  # fmt: skip

_DAYS = "WHERE work_date BETWEEN $first AND $last"
_PUNCHES = "raw_punches WHERE punched_at_local >= $begin AND punched_at_local < $end"
_KEY = "site, user_id, work_date"
_WHO = "work_date || ' ' || user_id"

# Each is checked for the work dates from $first to $last, and punches from $begin until $end on the wall clock.
PER_SPAN = [
    Rule("punches-unique", "error", "punches are stored more than once", REPORT,
         _twice("device || ' ' || user_id || ' ' || punched_at_local", PUNCH_KEY, _PUNCHES)),
    Rule("punches-poll", "error", "punches refer to a poll that is not stored", REPORT,
         f"SELECT count(*), min(first_poll_id)::VARCHAR FROM {_PUNCHES} "
         "AND first_poll_id NOT IN (SELECT id FROM device_polls)"),
    Rule("punches-source", "error", "punches have a source that is none", REPORT,
         f"SELECT count(*), min(source) FROM {_PUNCHES} AND source NOT IN ('poll', 'live', 'push', 'file')"),
    Rule("punches-device", "error", "punches refer to a device that is not stored",
         "`zk-pipeline device add` it under that name",
         f"SELECT count(*), min(device) FROM {_PUNCHES} AND device NOT IN (SELECT name FROM devices)"),
    Rule("punches-counted", "error", "work dates have punches that they do not count, so they are not processed",
         _REMAKE,
         "SELECT count(*), min(counted.day)::VARCHAR FROM ("
         "SELECT day, max(seq) AS seq FROM placed "
         "WHERE punched_at_local >= $begin AND punched_at_local < $end GROUP BY 1"
         ") AS counted LEFT JOIN work_dates AS known ON known.work_date = counted.day "
         "WHERE known.raw_purged_at IS NULL "
         "AND (known.latest_punch_seq IS NULL OR known.latest_punch_seq < counted.seq)"),
    Rule("punches-person", "error", "records that name only a slot are stored for the user who had it later",
         REPAIR,
         f"SELECT count(*), min(device || ' ' || user_id || ' ' || punched_at_local) FROM ({WRONG_PERSON})"),
    Rule("one-open-delivery", "error", "days have more than one delivery that waits to be sent", REPORT,
         _twice(_WHO, "user_id, work_date, CASE WHEN record_per = 'site' THEN site END",
                f"crm_deliveries {_DAYS} AND state IN ('pending', 'retry', 'failed') "
                "AND sent_body IS NULL")),
    Rule("days-history", "error", "days are missing, or differ from their newest revision", REPORT,
         f"SELECT count(*), min(coalesce(day.work_date, past.work_date) || ' ' || coalesce(day.user_id, past.user_id)) "
         f"FROM (FROM daily_attendance {_DAYS}) AS day FULL JOIN ("
         f"SELECT {_KEY}, max(struct_pack(revision, is_retracted)) AS newest "
         f"FROM daily_attendance_revisions {_DAYS} GROUP BY {_KEY}"
         f") AS past USING ({_KEY}) "
         "WHERE CASE WHEN day.id IS NULL THEN NOT past.newest.is_retracted "
         "ELSE day.revision IS DISTINCT FROM past.newest.revision END"),
    Rule("deliveries-history", "error", "deliveries refer to a revision that is not stored, and cannot be sent",
         REPORT,
         f"SELECT count(*), min({_WHO}) FROM (FROM crm_deliveries {_DAYS}) "
         f"ANTI JOIN (FROM daily_attendance_revisions {_DAYS}) USING ({_KEY}, revision)"),
    Rule("history-deliveries", "error", "revisions have no delivery, so the CRM never gets them", REPORT,
         f"SELECT count(*), min({_WHO}) FROM (FROM daily_attendance_revisions {_DAYS}) AS day "
         f"ANTI JOIN (FROM crm_deliveries {_DAYS}) USING ({_KEY}, revision) LEFT JOIN ("  # one delivery may cover many
         "SELECT user_id, work_date, max(revision) AS revision, bool_or(merged IS NOT NULL) AS is_merged "
         f"FROM crm_deliveries {_DAYS} AND record_per = 'person' GROUP BY ALL"
         ") AS covering USING (user_id, work_date) "
         "WHERE NOT coalesce(is_merged OR covering.revision > day.revision, false)"),
    Rule("several-sites", "warning", "users have rows at several sites on one date",
         "the CRM gets one record of them, from the first punch to the last, unless CRM_RECORD_PER is `site`; "
         "terminals within walking distance can share a site (`zk-pipeline device update NAME --site SITE`)",
         f"SELECT count(*), min({_WHO}) FROM (SELECT user_id, work_date FROM daily_attendance {_DAYS} "
         "GROUP BY ALL HAVING count(DISTINCT site) > 1)"),
    Rule("after-midnight", "warning", "days have no clock-out, and the next one begins with a punch after midnight",
         "if it is the clock-out of the day before, begin their work dates later: `zk-pipeline shift update SHIFT "
         "--workday-starts-at 04:00`, or WORKDAY_STARTS_AT for users without a shift",
         f"SELECT count(*), min(day.work_date || ' ' || day.user_id) FROM ("
         f"FROM daily_attendance {_DAYS} AND is_incomplete) AS day "
         "JOIN daily_attendance AS next ON next.site = day.site AND next.user_id = day.user_id "
         "AND next.work_date = day.work_date + 1 AND next.clock_in_local < next.work_date + INTERVAL 4 HOUR "
         "AND list_contains(next.outlier_codes, 'CLOCK_IN_TOO_EARLY')"),
    Rule("days-dates", "error", "days are of a work date that is not listed", _REMAKE,
         f"SELECT count(*), min(work_date)::VARCHAR FROM daily_attendance {_DAYS} "
         "AND work_date NOT IN (SELECT work_date FROM work_dates)"),
]  # fmt: skip
