"""Problems of terminals, for alerts, the home page and the pages of terminals and sites."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zk_pipeline.config.settings import Settings
from zk_pipeline.operations.alerting.problems import Links, device_problems, lock_problems, push_problems
from zk_pipeline.operations.alerting.quality_checks import CLOCK_DRIFT_WITHIN_LIMIT, LOG_CAPACITY_AVAILABLE, Check
from zk_pipeline.operations.alerting.quality_results import capacity_problem, clock_problem, max_silence
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline.store.quality.quality import Freshness
from zk_pipeline.store.queries.terminal_health import TerminalHealth

_HEALTH: dict[Check, tuple[str, Callable[[TerminalHealth], str | None]]] = {
    CLOCK_DRIFT_WITHIN_LIMIT: ("the clock of {} is wrong", clock_problem),
    LOG_CAPACITY_AVAILABLE: ("the log of {} is nearly full", capacity_problem),
}
HEALTH_CHECKS = {check.name for check in _HEALTH}


@dataclass(frozen=True)
class HealthProblem:
    """A wrong clock or a nearly full log of one device: title, measured value, and the check with the remedy."""

    device: str
    title: str
    text: str
    check: Check


def terminal_problems(found: Freshness, settings: Settings, now: datetime, links: Links | None) -> list[Problem]:
    """Terminals that are not read, silent, locked, or with punches that are not in the store. `links`: None for texts
    without the run.
    """
    silence = max_silence(settings.polling_interval_minutes)
    return [
        *lock_problems(found, now, timedelta(seconds=settings.poll_deadline)),
        *device_problems(found, now, silence, links),
        *push_problems(found, now, silence),
    ]


def health_problems(health: Sequence[TerminalHealth]) -> Iterator[HealthProblem]:
    """Wrong clocks and nearly full logs, as their checks find them."""
    for check, (title, problem_of) in _HEALTH.items():
        for one in health:
            if (text := problem_of(one)) is not None:
                yield HealthProblem(one.device, title.format(one.device), text, check)


def as_problem(found: HealthProblem) -> Problem:
    """The problem with its remedy, with commands for this device."""
    name = shlex.quote(found.device)
    remedy = re.sub(r"\bNAME\b", lambda _: name, found.check.remedy)
    return Problem(
        key=f"{found.check.name}:{found.device}",
        kind="health",
        severity="warning",
        owner="terminals",
        title=found.title,
        body=f"{found.text[:1].upper()}{found.text[1:]}. {remedy}",
    )
