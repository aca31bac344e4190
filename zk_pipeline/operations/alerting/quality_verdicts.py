"""What the facts of the data amount to: a verdict per check. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt

from zk_pipeline.operations.alerting.quality_checks import (
    DAYS_SOUND,
    DELIVERED_IN_TIME,
    FEW_REVISIONS,
    IDS_SHARED,
    IDS_SHARED_BY_SITES,
    NO_EMPTY_DAYS,
    ONE_SITE_A_DAY,
    PEOPLE_KNOWN,
    PROCESSED_IN_TIME,
    PUNCHES_UNIQUE,
    QUARANTINE_STILL,
    TABLES_SOUND,
    TERMINALS_READ_RECENTLY,
    USUAL_SHARES,
    Check,
)
from zk_pipeline.store.quality.quality import Facts, Freshness, Shares

# What is late, and since how long. A device's is longer where polls are rarer.
DEVICE_SILENT = timedelta(minutes=45)
DATE_WAITS = timedelta(hours=2)
DELIVERY_WAITS = timedelta(hours=2)


@dataclass(frozen=True)
class CheckResult:
    """What a check found: it passed where there are no `problems`, one line each. `measured`: numbers over time."""

    check: Check
    problems: Sequence[str]
    measured: Mapping[str, float | int]

    @property
    def passed(self) -> bool:
        return not self.problems


def silence_allowed(polling_interval_minutes: int) -> timedelta:
    """For how long a terminal may not have been read."""
    return max(DEVICE_SILENT, timedelta(minutes=3 * polling_interval_minutes))


def evaluate_freshness(found: Freshness, now: datetime, *, silence: timedelta) -> list[CheckResult]:
    """The checks of what is late at `now`."""
    quiet = {one.device: now - one.silent_since for one in found.devices}
    silent = [f"{name}: not read for {age(for_)}" for name, for_ in quiet.items() if for_ > silence]
    waiting = {day: now - since for day, since in found.waiting_since.items()}
    late = [f"{day}: has waited for {age(for_)}" for day, for_ in waiting.items() if for_ > DATE_WAITS]
    due = found.undelivered
    oldest = timedelta(0) if due.oldest_due is None else now - due.oldest_due
    undelivered = [f"{due.due} deliveries are due, the oldest for {age(oldest)}"] if oldest > DELIVERY_WAITS else []
    return [
        CheckResult(TERMINALS_READ_RECENTLY, silent, {"terminals": len(quiet), "minutes": _minutes(quiet.values())}),
        CheckResult(PROCESSED_IN_TIME, late, {"waiting": len(waiting), "minutes": _minutes(waiting.values())}),
        CheckResult(DELIVERED_IN_TIME, undelivered, {"due": due.due, "minutes": _minutes([oldest])}),
    ]


def evaluate_facts(facts: Facts) -> list[CheckResult]:
    """The checks of the data itself."""
    verdicts = []
    for check, (find, measure) in _OF_FACTS.items():
        problems = list(find(facts))
        measured = {"found": len(problems)} if measure is None else measure(facts)
        verdicts.append(CheckResult(check, problems, measured))
    return verdicts


def age(delta: timedelta) -> str:
    """A span in the two largest units that matter."""
    minutes = int(delta.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def _share(one: Shares) -> float:
    return one.odd / one.rows


def _usual(one: Shares) -> float:
    return one.odd_before / max(1, one.rows_before)


def _is_unusual(one: Shares) -> bool:
    """More than a tenth above, and more than chance explains."""
    usual = _usual(one)
    spread = sqrt(usual * (1 - usual) / one.rows)
    return one.rows_before >= 20 and _share(one) - usual > max(0.1, 3 * spread)


def _newest_share(facts: Facts) -> dict[str, float | int]:
    newest = max(facts.shares, default=None)
    return {} if newest is None else {"unusual_percent": round(100 * _share(facts.shares[newest]), 1)}


def _minutes(spans: Iterable[timedelta]) -> int:
    return int(max(spans, default=timedelta(0)).total_seconds() // 60)


_Find = Callable[[Facts], Iterable[str]]
_Measure = Callable[[Facts], Mapping[str, float | int]]

# What breaks each check, a line each, and its numbers over time: how many lines there are, where nothing else is said.
_OF_FACTS: Mapping[Check, tuple[_Find, _Measure | None]] = {
    TABLES_SOUND: (lambda facts: [*facts.schema_faults, *facts.doubled_keys], None),
    PUNCHES_UNIQUE: (
        lambda facts: [f"{facts.doubled_punches} punches are there more than once"] if facts.doubled_punches else [],
        lambda facts: {"doubled": facts.doubled_punches},
    ),
    DAYS_SOUND: (
        lambda facts: [f"{day}: {why}" for day, why in facts.unsound.items()],
        lambda facts: {"held": len(facts.unsound)},
    ),
    QUARANTINE_STILL: (
        lambda facts: [f"{device}: {count} records" for device, count in facts.quarantined.items()],
        lambda facts: {"last_day": sum(facts.quarantined.values()), "before": facts.quarantined_before},
    ),
    IDS_SHARED: (lambda facts: [f"{site}: {user} is {names}" for site, user, names in facts.shared_ids], None),
    IDS_SHARED_BY_SITES: (lambda facts: [f"{user} is {' / '.join(names)}" for user, names in facts.namesakes], None),
    ONE_SITE_A_DAY: (
        lambda facts: [f"{user}: {dates} dates, such as at {sites}" for user, dates, sites in facts.several_sites],
        None,
    ),
    PEOPLE_KNOWN: (
        lambda facts: [f"{device}: {user}, {count} punches" for device, user, count in facts.unknown_people],
        None,
    ),
    NO_EMPTY_DAYS: (lambda facts: [f"{site}: nobody on {day:%A}, {day}" for site, day in facts.empty_days], None),
    USUAL_SHARES: (
        lambda facts: [
            f"{day}: {_share(one):.0%} of {one.rows} rows are unusual, before it {_usual(one):.0%}"
            for day, one in facts.shares.items()
            if _is_unusual(one)
        ],
        _newest_share,
    ),
    FEW_REVISIONS: (
        lambda facts: [f"{day}: {user} at {site}, {count} revisions" for day, site, user, count in facts.churning],
        None,
    ),
}
