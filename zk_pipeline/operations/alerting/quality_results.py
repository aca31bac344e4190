"""Results of the asset checks, evaluated from facts about the data. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import sqrt

from zk_pipeline.counted import counted
from zk_pipeline.operations.alerting.quality_checks import (
    ATTENDANCE_ROWS_CONSISTENT,
    CLOCK_DRIFT_WITHIN_LIMIT,
    DELIVERED_IN_TIME,
    EVERY_RECORD_ACCOUNTED_FOR,
    FEW_REVISIONS,
    LOG_CAPACITY_AVAILABLE,
    NO_DEAD_LETTERS,
    NO_OVERDUE_DELIVERIES,
    ONE_SITE_PER_USER_AND_DATE,
    OUTLIERS_AS_USUAL,
    PROCESSED_IN_TIME,
    PUNCHES_FROM_ENROLLED_USERS,
    PUNCHES_UNIQUE,
    QUARANTINE_NOT_GROWING,
    SCHEMA_MATCHES_MIGRATIONS,
    TERMINALS_READ_RECENTLY,
    USER_ID_UNIQUE_ACROSS_SITES,
    USER_ID_UNIQUE_PER_SITE,
    WORK_DATES_HAVE_PARTITIONS,
    WORK_DAYS_HAVE_PUNCHES,
    Check,
)
from zk_pipeline.store.deliveries.deliveries import Backlog
from zk_pipeline.store.quality.quality import Facts, Freshness, Shares
from zk_pipeline.store.queries.terminal_health import TerminalHealth
from zk_pipeline.time_text import instant

# Delays from which a device, a work date or a delivery is late. A device's is longer if polls are less frequent.
DEVICE_SILENT = timedelta(minutes=45)
DATE_WAITS = timedelta(hours=2)
DELIVERY_WAITS = timedelta(hours=2)
DELIVERY_OVERDUE = timedelta(hours=24)
MAX_DRIFT_SECONDS = 60.0
MAX_FILL = 0.8


@dataclass(frozen=True)
class CheckResult:
    """Result of a check: passed without `problems`, one line each. `measured`: numbers to plot over time, also instead
    of the number of problems (`failing`).
    """

    check: Check
    problems: Sequence[str]
    measured: Mapping[str, float | int]

    @property
    def passed(self) -> bool:
        return not self.problems


def max_silence(polling_interval_minutes: int) -> timedelta:
    """Maximum time since the last successful poll of a terminal, or the last contact of one that pushes."""
    return max(DEVICE_SILENT, timedelta(minutes=3 * polling_interval_minutes))


def evaluate_freshness(found: Freshness, now: datetime, *, silence: timedelta) -> list[CheckResult]:
    """Results of the checks for late polls, work dates and deliveries at `now`."""
    quiet = {one.device: now - one.silent_since for one in found.devices}
    errors = {one.device: f": [{one.error_code}] {one.error}" for one in found.devices if one.error is not None}
    silent = [
        f"{name}: not read for {format_age(for_)}{errors.get(name, '')}"
        for name, for_ in quiet.items()
        if for_ > silence
    ]
    no_contact = {one.device: now - one.silent_since for one in found.pushing}
    silent += [
        f"{name}: no contact with the receiver for {format_age(for_)}"
        for name, for_ in no_contact.items()
        if for_ > silence
    ]
    terminals = {"terminals": len(quiet | no_contact), "minutes": _minutes([*quiet.values(), *no_contact.values()])}
    waiting = {day: now - since for day, since in found.waiting_since.items()}
    late = [f"{day}: has waited for {format_age(for_)}" for day, for_ in waiting.items() if for_ > DATE_WAITS]
    due = found.undelivered
    oldest = timedelta(0) if due.oldest_due is None else now - due.oldest_due
    overdue = f"{counted(due.due, 'delivery is', 'deliveries are')} due, the oldest for {format_age(oldest)}"
    undelivered = [overdue] if oldest > DELIVERY_WAITS else []
    return [
        CheckResult(TERMINALS_READ_RECENTLY, silent, terminals),
        CheckResult(PROCESSED_IN_TIME, late, {"waiting": len(waiting), "minutes": _minutes(waiting.values())}),
        CheckResult(DELIVERED_IN_TIME, undelivered, {"due": due.due, "minutes": _minutes([oldest])}),
    ]


def evaluate_facts(facts: Facts) -> list[CheckResult]:
    """Results of the checks of the data."""
    results = []
    for check, (find, measure) in _FACT_CHECKS.items():
        problems = list(find(facts))
        measured = {} if measure is None else measure(facts)
        results.append(CheckResult(check, problems, measured))
    return results


def evaluate_terminals(health: Sequence[TerminalHealth]) -> list[CheckResult]:
    """Results of the checks of what the latest polls and uploads found, with the worst figure of any terminal."""
    drifts = [abs(one.clock_drift_seconds) for one in health if one.clock_drift_seconds is not None]
    fills = [one.fill for one in health if one.fill is not None]

    def result(check: Check, problem_of: Callable[[TerminalHealth], str | None], **worst: float) -> CheckResult:
        problems = [f"{one.device}: {problem}" for one in health if (problem := problem_of(one)) is not None]
        return CheckResult(check, problems, {"terminals": len(health), **worst})

    return [
        result(EVERY_RECORD_ACCOUNTED_FOR, _incomplete, missing_records=sum(one.missing for one in health)),
        result(CLOCK_DRIFT_WITHIN_LIMIT, clock_problem, max_drift_seconds=round(max(drifts, default=0.0), 1)),
        result(LOG_CAPACITY_AVAILABLE, capacity_problem, max_fill_percent=round(100 * max(fills, default=0.0), 1)),
    ]


def _incomplete(one: TerminalHealth) -> str | None:
    if one.read_at is None:
        return f"never polled successfully: {one.error}" if one.error else "never polled"
    if one.missing:
        return f"{one.missing} of {one.reported} records are not in the store"
    return f"no successful poll since {instant(one.read_at, 'UTC', 'minutes')}: {one.error}" if one.error else None


def clock_problem(one: TerminalHealth) -> str | None:
    """The problem of a wrong clock, None if it is right or was not measured."""
    drift = one.clock_drift_seconds
    if (
        one.read_at is None
        or (drift is None and one.only_pushes)
        or (drift is not None and abs(drift) < MAX_DRIFT_SECONDS)
    ):
        return None
    return "its clock shows no valid date" if drift is None else f"off by {drift:.0f} s"


def capacity_problem(one: TerminalHealth) -> str | None:
    """The problem of a nearly full log, None if there is none."""
    return f"filled to {one.fill:.0%}" if one.fill is not None and one.fill >= MAX_FILL else None


def evaluate_coverage(outside: Sequence[date]) -> list[CheckResult]:
    """Result of the check for work dates with punches and without a partition: `outside`, ascending."""
    problems = [f"{day}: punches, but no partition" for day in outside]
    return [CheckResult(WORK_DATES_HAVE_PARTITIONS, problems, {"work_dates": len(outside)})]


def evaluate_backlog(dead_letters: Backlog, overdue: Backlog, now: datetime) -> list[CheckResult]:
    """Results of the checks for open deliveries over all work dates; their problems are the oldest few."""
    return [
        CheckResult(
            check,
            [
                f"{one.work_date} {one.user_id} ({one.site}, {one.state}, {counted(one.attempts, 'attempt')}): "
                f"{one.last_error or 'not attempted yet'}"
                for one in backlog.examples
            ],
            {
                "failing": backlog.count,
                "oldest_age_hours": round((now - (backlog.oldest or now)).total_seconds() / 3600, 1),
            },
        )
        for check, backlog in ((NO_DEAD_LETTERS, dead_letters), (NO_OVERDUE_DELIVERIES, overdue))
    ]


def format_age(delta: timedelta) -> str:
    """A duration: minutes, hours and minutes, or days."""
    minutes = int(delta.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def _share(one: Shares) -> float:
    return one.outliers / one.rows


def _usual(one: Shares) -> float:
    return one.outliers_before / max(1, one.rows_before)


def _has_many_outliers(one: Shares) -> bool:
    """Whether the share is more than 0.1 and three standard deviations above that of the 30 days before."""
    usual = _usual(one)
    spread = sqrt(usual * (1 - usual) / one.rows)
    return one.rows_before >= 20 and _share(one) - usual > max(0.1, 3 * spread)


def _newest_share(facts: Facts) -> dict[str, float | int]:
    newest = max(facts.shares, default=None)
    return {} if newest is None else {"outlier_percent": round(100 * _share(facts.shares[newest]), 1)}


def _minutes(spans: Iterable[timedelta]) -> int:
    return int(max(spans, default=timedelta(0)).total_seconds() // 60)


_Find = Callable[[Facts], Iterable[str]]
_Measure = Callable[[Facts], Mapping[str, float | int]]

# For each check: its problems, one line each, and its numbers to plot with the number of problems.
_FACT_CHECKS: Mapping[Check, tuple[_Find, _Measure | None]] = {
    SCHEMA_MATCHES_MIGRATIONS: (lambda facts: [*facts.schema_faults, *facts.duplicate_keys], None),
    PUNCHES_UNIQUE: (
        lambda facts: (
            [f"{counted(facts.duplicate_punches, 'punch', 'punches')} stored more than once"]
            if facts.duplicate_punches
            else []
        ),
        lambda facts: {"doubled": facts.duplicate_punches},
    ),
    ATTENDANCE_ROWS_CONSISTENT: (
        lambda facts: [f"{day}: {why}" for day, why in facts.inconsistent_dates.items()],
        None,
    ),
    QUARANTINE_NOT_GROWING: (
        lambda facts: [f"{device}: {counted(count, 'record')}" for device, count in facts.quarantined.items()],
        lambda facts: {"last_day": sum(facts.quarantined.values()), "before": facts.quarantined_before},
    ),
    USER_ID_UNIQUE_PER_SITE: (
        lambda facts: [f"{site}: {user} is {names}" for site, user, names in facts.shared_ids],
        None,
    ),
    USER_ID_UNIQUE_ACROSS_SITES: (
        lambda facts: [f"{user} is {' / '.join(names)}" for user, names in facts.namesakes],
        None,
    ),
    ONE_SITE_PER_USER_AND_DATE: (
        lambda facts: [
            f"{user}: {counted(dates, 'date')}, such as at {sites}" for user, dates, sites in facts.several_sites
        ],
        None,
    ),
    PUNCHES_FROM_ENROLLED_USERS: (
        lambda facts: [
            f"{device}: {user}, {counted(count, 'punch', 'punches')}" for device, user, count in facts.unknown_users
        ],
        None,
    ),
    WORK_DAYS_HAVE_PUNCHES: (
        lambda facts: [f"{site}: no punches on {day:%A}, {day}" for site, day in facts.empty_days],
        None,
    ),
    OUTLIERS_AS_USUAL: (
        lambda facts: [
            f"{day}: {_share(one):.0%} of {one.rows} rows are outliers or incomplete, {_usual(one):.0%} before"
            for day, one in facts.shares.items()
            if _has_many_outliers(one)
        ],
        _newest_share,
    ),
    FEW_REVISIONS: (
        lambda facts: [
            f"{day}: {user} at {site}, {counted(count, 'revision')}" for day, site, user, count in facts.churning
        ],
        None,
    ),
}
