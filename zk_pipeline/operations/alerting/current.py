"""Problems seen in the store at this instant, for alerts and for the home page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.config.settings import Settings
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.operations.alerting.problems import DEAD_LETTERS, Links, crm_problems, daemon_problem
from zk_pipeline.operations.alerting.terminal_problems import (
    HEALTH_CHECKS,
    as_problem,
    health_problems,
    terminal_problems,
)
from zk_pipeline.operations.sync import check_crm
from zk_pipeline.store.quality.alerts import KnownAlert, Problem
from zk_pipeline.store.quality.quality import Freshness
from zk_pipeline.store.queries.terminal_health import TerminalHealth


def store_problems(found: Freshness, settings: Settings, now: datetime) -> list[Problem]:
    """Problems of terminals and of the delivery to the CRM."""
    terminals = terminal_problems(found, settings, now, Links(settings.ui_url))
    return [*terminals, *crm_problems(found, _crm_settings_problem(settings))]


def _crm_settings_problem(settings: Settings) -> str | None:
    """Error in the CRM settings that prevents every sync; None if there is none."""
    try:
        check_crm(settings)
    except CrmMisconfigured as error:
        return str(error)
    return None


@dataclass(frozen=True)
class CurrentProblem:
    """A problem of this instant. `since`: when its alert began; None without an alert yet."""

    problem: Problem
    since: datetime | None


def current_problems(
    found: Freshness,
    health: Sequence[TerminalHealth],
    known: Sequence[KnownAlert],
    settings: Settings,
    now: datetime,
    *,
    daemon: str | None,
) -> list[CurrentProblem]:
    """All problems, critical ones first. Those of terminals, deliveries and the daemon are evaluated now, so that none
    of them is listed after its end; those of other checks, runs and ticks are taken from the open alerts. `daemon`:
    reason why the Dagster daemon does not work.
    """
    alerts = {one.problem.key: one for one in known if one.resolved_at is None}
    problems = [*([daemon_problem(daemon)] if daemon else []), *store_problems(found, settings, now)]
    problems += [as_problem(one) for one in health_problems(health)]
    keys = {one.key for one in problems}
    problems += [one.problem for key, one in alerts.items() if key not in keys and not _is_evaluated_now(one.problem)]
    current = [CurrentProblem(one, alerts[one.key].first_seen_at if one.key in alerts else None) for one in problems]
    return sorted(current, key=lambda one: one.problem.severity != "critical")


def _is_evaluated_now(problem: Problem) -> bool:
    """True for problems that `current_problems` evaluates itself.

    Not for a misconfigured CRM: a failed run shows it, too.
    """
    is_kind = problem.kind in ("device", "push", "lock", "daemon")
    return is_kind or problem.key == DEAD_LETTERS or problem.key.rpartition(":")[2] in HEALTH_CHECKS
