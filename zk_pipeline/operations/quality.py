"""What the facts of the data amount to: a verdict per check, with what it found and what to do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt

from zk_pipeline.store.quality import Facts, Freshness

ERROR, WARN = "ERROR", "WARN"

# What is late, and since how long. A device's is longer where polls are rarer.
DEVICE_SILENT = timedelta(minutes=45)
DATE_WAITS = timedelta(hours=2)
DELIVERY_WAITS = timedelta(hours=2)


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check of an asset: what must hold, how bad it is when it does not, and what to do then."""

    name: str
    asset: str
    severity: str
    holds: str
    cure: str
    blocking: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a check found: it passed where there are no `problems`, one line each. `measured`: numbers over time."""

    check: Check
    problems: Sequence[str]
    measured: dict[str, float | int]

    @property
    def passed(self) -> bool:
        return not self.problems


READ_IN_TIME = Check(
    name="terminals_read_in_time",
    asset="raw_punches",
    severity=ERROR,
    holds="Every enabled terminal was read within 45 minutes (three polls, where they are rarer).",
    cure="`zk-pipeline test-device NAME` says what is in the way; `device disable` takes one out for a while.",
)
PROCESSED_IN_TIME = Check(
    name="dates_processed_in_time",
    asset="daily_attendance",
    severity=ERROR,
    holds="No work date has waited for 2 hours after new punches.",
    cure="Look at the newest run of process_attendance; `zk-pipeline process` makes all that wait.",
)
DELIVERED_IN_TIME = Check(
    name="days_delivered_in_time",
    asset="crm_sync",
    severity=ERROR,
    holds="No delivery has been due for more than 2 hours.",
    cure="`zk-pipeline test-crm` says what is in the way; `zk-pipeline sync` delivers what is due.",
)
TABLES_SOUND = Check(
    name="tables_are_sound",
    asset="devices",
    severity=ERROR,
    holds="Tables and columns are those of the migrations; names of devices, people and dates are there once.",
    cure="Nothing reaches the CRM while columns are wrong: restore a backup, or put right what was changed by hand.",
    blocking=True,
)
PUNCHES_UNIQUE = Check(
    name="punches_are_there_once",
    asset="raw_punches",
    severity=ERROR,
    holds="Each punch (device, user_id, punched_at_local) stored in the last day is there once.",
    cure="Somebody wrote to the store by other means. Days are still right: a double punch counts once.",
    blocking=True,
)
DAYS_SOUND = Check(
    name="days_are_sound",
    asset="daily_attendance",
    severity=ERROR,
    holds="A person has one day per date and site, as its history and its delivery say.",
    cure="The dates named are kept from the CRM. `zk-pipeline process --date D` makes them anew and lets them go.",
    blocking=True,
)
QUARANTINE_STILL = Check(
    name="quarantine_is_not_growing",
    asset="raw_punches",
    severity=WARN,
    holds="No record was put into quarantine in the last day.",
    cure="Look at quarantined_records: impossible dates mean a clock that was wrong; anything else, report with `raw`.",
)
IDS_SHARED = Check(
    name="an_id_is_one_person",
    asset="raw_punches",
    severity=WARN,
    holds="A user id has one name on all terminals of a site.",
    cure="Two people under one id get one day between them. Enrol one of them anew, or put the terminals in two sites.",
)
PEOPLE_KNOWN = Check(
    name="punches_are_of_people_enrolled",
    asset="raw_punches",
    severity=WARN,
    holds="Whoever punched in the last week is enrolled on a terminal of the site.",
    cure="Somebody was deleted on the terminal, or a terminal was moved: compare with `zk-pipeline device users NAME`.",
)
NO_EMPTY_DAYS = Check(
    name="work_days_have_punches",
    asset="daily_attendance",
    severity=WARN,
    holds="No site was empty on a weekday of the last week on which it usually is not.",
    cure="A holiday, or a terminal that lost its log or its network: `zk-pipeline status`, `poll NAME --full`.",
)
USUAL_SHARES = Check(
    name="outliers_are_as_usual",
    asset="daily_attendance",
    severity=WARN,
    holds="The share of outliers and incomplete days is within that of the 30 days before.",
    cure="A clock that is off, a terminal out of service, or other working hours: look at outlier_codes of the date.",
)
CALM = Check(
    name="revisions_are_calm",
    asset="daily_attendance",
    severity=WARN,
    holds="No person's day got more than 12 revisions within a day.",
    cure="Look at daily_attendance_history of that day: what changes to and fro, and which runs did it.",
)

CHECKS = (READ_IN_TIME, PROCESSED_IN_TIME, DELIVERED_IN_TIME, TABLES_SOUND, PUNCHES_UNIQUE, DAYS_SOUND,
          QUARANTINE_STILL, IDS_SHARED, PEOPLE_KNOWN, NO_EMPTY_DAYS, USUAL_SHARES, CALM)  # fmt: skip


def silence_allowed(polling_interval_minutes: int) -> timedelta:
    """For how long a terminal may not have been read."""
    return max(DEVICE_SILENT, timedelta(minutes=3 * polling_interval_minutes))


def judge_freshness(found: Freshness, now: datetime, *, silence: timedelta) -> list[Verdict]:
    """The checks of what is late at `now`."""
    quiet = {one.device: now - one.silent_since for one in found.devices}
    silent = [f"{name}: not read for {age(for_)}" for name, for_ in quiet.items() if for_ > silence]
    waiting = {day: now - since for day, since in found.waiting_since.items()}
    late = [f"{day}: has waited for {age(for_)}" for day, for_ in waiting.items() if for_ > DATE_WAITS]
    due = found.undelivered
    oldest = timedelta(0) if due.oldest_due is None else now - due.oldest_due
    undelivered = [f"{due.due} deliveries are due, the oldest for {age(oldest)}"] if oldest > DELIVERY_WAITS else []
    return [
        Verdict(READ_IN_TIME, silent, {"terminals": len(quiet), "minutes": _minutes(quiet.values())}),
        Verdict(PROCESSED_IN_TIME, late, {"waiting": len(waiting), "minutes": _minutes(waiting.values())}),
        Verdict(DELIVERED_IN_TIME, undelivered, {"due": due.due, "minutes": _minutes([oldest])}),
    ]


def judge_facts(facts: Facts) -> list[Verdict]:
    """The checks of the data itself."""
    doubled = [f"{table}: {count} keys are there more than once" for table, count in facts.doubled_keys.items()]
    punches = [f"{facts.doubled_punches} punches are there more than once"] if facts.doubled_punches else []
    shares, odd = [], {}
    for day, one in facts.shares.items():
        odd[day] = one.odd / one.rows
        usual = one.odd_before / max(1, one.rows_before)
        if _unusual(odd[day], usual, one.rows) and one.rows_before >= 20:
            shares.append(f"{day}: {odd[day]:.0%} of {one.rows} rows are unusual, before it {usual:.0%}")
    quarantined = [f"{device}: {count} records" for device, count in facts.quarantined.items()]
    newest = max(odd, default=None)
    return [
        Verdict(TABLES_SOUND, [*facts.schema_faults, *doubled], {}),
        Verdict(PUNCHES_UNIQUE, punches, {"doubled": facts.doubled_punches}),
        Verdict(DAYS_SOUND, [f"{day}: {why}" for day, why in facts.unsound.items()], {"held": len(facts.unsound)}),
        Verdict(
            QUARANTINE_STILL,
            quarantined,
            {"last_day": sum(facts.quarantined.values()), "before": facts.quarantined_before},
        ),
        _listed(IDS_SHARED, facts.shared_ids, lambda one: f"{one[0]}: {one[1]} is {one[2]}"),
        _listed(PEOPLE_KNOWN, facts.unknown_people, lambda one: f"{one[0]}: {one[1]}, {one[2]} punches"),
        _listed(NO_EMPTY_DAYS, facts.empty_days, lambda one: f"{one[0]}: nobody on {one[1]:%A}, {one[1]}"),
        Verdict(USUAL_SHARES, shares, {"unusual_percent": round(100 * odd[newest], 1)} if newest else {}),
        _listed(CALM, facts.churning, lambda one: f"{one[0]}: {one[2]} at {one[1]}, {one[3]} revisions"),
    ]


def age(delta: timedelta) -> str:
    """A span in the two largest units that matter."""
    minutes = int(delta.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def _unusual(share: float, usual: float, rows: int) -> bool:
    """More than a tenth above, and more than chance explains."""
    return share - usual > max(0.1, 3 * sqrt(usual * (1 - usual) / rows))


def _listed(check: Check, found: Sequence[tuple], say: Callable[[tuple], str]) -> Verdict:  # type: ignore[type-arg]
    return Verdict(check, [say(one) for one in found], {"found": len(found)})


def _minutes(spans: object) -> int:
    longest = max(spans, default=timedelta(0))  # type: ignore[call-overload]
    return int(longest.total_seconds() // 60)
