"""Checks of `crm_sync`, evaluated by the asset itself: as a step of their own they would be skipped whenever a delivery
fails, which is when they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import dagster as dg

from zk_pipeline.defs.metadata import cell
from zk_pipeline.store.deliveries.deliveries import Backlog, DeliveryStore

LATE_AFTER = timedelta(hours=24)

_DEAD_LETTERS = "no_dead_letters"
_LATE = "no_overdue_deliveries"


def crm_check_specs() -> Sequence[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            _DEAD_LETTERS,
            asset="crm_sync",
            description="The CRM has refused no day for good. Cure: put right what its words say, then "
            "`zk-pipeline sync --retry-failed`.",
        ),
        dg.AssetCheckSpec(
            _LATE,
            asset="crm_sync",
            description=f"No day has been due for {LATE_AFTER.total_seconds() / 3600:.0f} h or more. The table "
            "`crm_attempts` has every attempt at each.",
        ),
    ]


def crm_check_results(deliveries: DeliveryStore, now: datetime) -> Iterator[dg.AssetCheckResult]:
    """One result per check, of all work dates, with the oldest few that fail it."""
    yield _result(_DEAD_LETTERS, deliveries.dead_letters(), now, dg.AssetCheckSeverity.ERROR)
    yield _result(_LATE, deliveries.late(due_before=now - LATE_AFTER), now, dg.AssetCheckSeverity.WARN)


def _result(name: str, found: Backlog, now: datetime, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    lines = [
        f"- **{one.work_date} {cell(one.user_id)}** ({cell(one.site)}, {one.state}, {one.attempts} attempts): "
        f"{cell(one.last_error or 'not attempted yet')}"
        for one in found.examples
    ]
    hours = 0.0 if found.oldest is None else (now - found.oldest).total_seconds() / 3600
    return dg.AssetCheckResult(
        asset_key="crm_sync",
        check_name=name,
        passed=found.count == 0,
        severity=severity,
        metadata={
            "count": found.count,
            "oldest_age_hours": round(hours, 1),
            "oldest": dg.MetadataValue.md("\n".join(lines) or "*none*"),
        },
    )
