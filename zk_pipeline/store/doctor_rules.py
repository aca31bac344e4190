"""The rules between tables that `doctor` asks about, as SQL: each counts what breaks it and gives an example."""
# ruff: noqa: S608 (SQL of ours)

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Rule:
    """`what` begins after the count; `sql` gives the count and an example."""

    name: str
    severity: Severity
    what: str
    advice: str
    sql: str


_REPORT = "report it with a copy (`zk-pipeline backup`); restoring an older backup undoes it"
_REMAKE = "`zk-pipeline process` for these dates makes them anew"


def _twice(what: str, key: str, relation: str) -> str:
    """More than one row of `relation` for a key; `what` shows one."""
    return (
        f"SELECT count(*), min({what})::VARCHAR FROM (SELECT {key} FROM {relation} GROUP BY {key} HAVING count(*) > 1)"
    )


WHOLE = [
    Rule("device-names", "error", "device names stand for more than one device", _REPORT,
         _twice("name", "name", "devices")),
    Rule("work-dates-unique", "error", "work dates are listed more than once", _REPORT,
         _twice("work_date", "work_date", "work_dates")),
    Rule("polls-numbered", "error", "polls share a number", _REPORT, _twice("id", "id", "device_polls")),
    Rule("delivery-keys-unique", "error", "open deliveries share an idempotency key", _REPORT,
         _twice("idempotency_key", "idempotency_key",
                "crm_deliveries WHERE state NOT IN ('delivered', 'superseded')")),
    Rule("numbers", "error", "punches have numbers above the last one given", _REPORT,
         "SELECT count(*), min(seq)::VARCHAR FROM raw_punches "
         "WHERE seq > (SELECT max(value::BIGINT) FROM store_settings WHERE name = 'last_seq')"),
    Rule("dead-letters", "warning", "deliveries have failed for good",
         "correct the cause, then `zk-pipeline sync --retry-failed`",
         "SELECT count(*), min(work_date || ' ' || user_id) FROM crm_deliveries WHERE state = 'failed'"),
    Rule("quarantine", "warning", "records of terminals could not be punches", "look at quarantined_records.reason",
         "SELECT count(*), min(device || ': ' || reason) FROM quarantined_records"),
    Rule("clocks", "warning", "punches bear a time that cannot be believed and are part of no day",
         "correct the clock: `zk-pipeline device set-clock NAME`",
         "SELECT count(*), min(device) FROM raw_punches WHERE is_clock_suspect"),
]  # fmt: skip

_DAYS = "WHERE work_date BETWEEN $first AND $last"
_PUNCHES = "raw_punches WHERE punched_at_local >= $begin AND punched_at_local < $end"
_KEY = "site, user_id, work_date"
_WHO = "work_date || ' ' || user_id"

# Each is asked for the work dates from $first to $last, and punches from $begin until $end on the wall clock.
PER_SPAN = [
    Rule("punches-unique", "error", "punches are stored more than once", _REPORT,
         _twice("device || ' ' || user_id || ' ' || punched_at_local", "device, user_id, punched_at_local", _PUNCHES)),
    Rule("punches-poll", "error", "punches came by a poll that is not on record", _REPORT,
         f"SELECT count(*), min(first_poll_id)::VARCHAR FROM {_PUNCHES} "
         "AND first_poll_id NOT IN (SELECT id FROM device_polls)"),
    Rule("punches-device", "error", "punches are of a device that is not on record",
         "`zk-pipeline device add` it under that name",
         f"SELECT count(*), min(device) FROM {_PUNCHES} AND device NOT IN (SELECT name FROM devices)"),
    Rule("punches-counted", "error", "work dates have punches that they do not know of, so nobody makes their rows",
         _REMAKE,
         "SELECT count(*), min(held.day)::VARCHAR FROM ("
         "SELECT day, max(seq) AS seq FROM placed "
         "WHERE punched_at_local >= $begin AND punched_at_local < $end GROUP BY 1"
         ") AS held LEFT JOIN work_dates AS known ON known.work_date = held.day "
         "WHERE known.punched_seq IS NULL OR known.punched_seq < held.seq"),
    Rule("days-unique", "error", "days have more than one row", _REPORT,
         _twice(_WHO, _KEY, f"daily_attendance {_DAYS}")),
    Rule("revisions-unique", "error", "revisions of days are there more than once", _REPORT,
         _twice(_WHO, f"{_KEY}, revision", f"daily_attendance_history {_DAYS}")),
    Rule("deliveries-unique", "error", "revisions have more than one delivery", _REPORT,
         _twice(_WHO, f"{_KEY}, revision", f"crm_deliveries {_DAYS}")),
    Rule("one-open-delivery", "error", "days have more than one delivery that waits to be sent", _REPORT,
         _twice(_WHO, _KEY, f"crm_deliveries {_DAYS} AND state IN ('pending', 'retry', 'failed')")),
    Rule("days-history", "error", "days differ from their newest revision in the history", _REPORT,
         f"SELECT count(*), min(coalesce(day.work_date, past.work_date) || ' ' || coalesce(day.user_id, past.user_id)) "
         f"FROM (FROM daily_attendance {_DAYS}) AS day FULL JOIN ("
         f"SELECT {_KEY}, max(struct_pack(revision, payload_hash, is_retracted)) AS newest "
         f"FROM daily_attendance_history {_DAYS} GROUP BY {_KEY}"
         f") AS past USING ({_KEY}) "
         "WHERE CASE WHEN day.id IS NULL THEN NOT past.newest.is_retracted "
         "ELSE day.revision IS DISTINCT FROM past.newest.revision "
         "OR day.payload_hash IS DISTINCT FROM past.newest.payload_hash END"),
    Rule("deliveries-history", "error", "deliveries are of a revision that is not in the history, and cannot be sent",
         _REPORT,
         f"SELECT count(*), min({_WHO}) FROM (FROM crm_deliveries {_DAYS}) "
         f"ANTI JOIN (FROM daily_attendance_history {_DAYS}) USING ({_KEY}, revision)"),
    Rule("history-deliveries", "error", "revisions have no delivery, so the CRM never hears of them", _REPORT,
         f"SELECT count(*), min({_WHO}) FROM (FROM daily_attendance_history {_DAYS}) "
         f"ANTI JOIN (FROM crm_deliveries {_DAYS}) USING ({_KEY}, revision)"),
    Rule("days-dates", "error", "days are of a work date that is not listed", _REMAKE,
         f"SELECT count(*), min(work_date)::VARCHAR FROM daily_attendance {_DAYS} "
         "AND work_date NOT IN (SELECT work_date FROM work_dates)"),
]  # fmt: skip
