"""Asset checks of `crm_sync`, evaluated by the asset: a separate step would be skipped if a delivery fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import dagster as dg

from zk_pipeline.defs.metadata import cell
from zk_pipeline.store.deliveries.deliveries import Backlog, DeliveryStore

LATE_AFTER = timedelta(hours=24)

_DEAD_LETTERS = "no_dead_letters"
_LATE = "no_overdue_deliveries"


def crm_check_specs(key: dg.AssetKey) -> Sequence[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            _DEAD_LETTERS,
            asset=key,
            description="No delivery is a dead letter. Remedy: correct the cause in the CRM's error message, then "
            "`zk-pipeline sync --retry-failed`.",
        ),
        dg.AssetCheckSpec(
            _LATE,
            asset=key,
            description=f"No delivery has been due for {LATE_AFTER.total_seconds() / 3600:.0f} h or more. The table "
            "`crm_attempts` has all attempts.",
        ),
    ]


def crm_check_results(key: dg.AssetKey, deliveries: DeliveryStore, now: datetime) -> Iterator[dg.AssetCheckResult]:
    """One result per check over all work dates, with the oldest failing deliveries."""
    yield _result(key, _DEAD_LETTERS, deliveries.dead_letters(), now, dg.AssetCheckSeverity.ERROR)
    yield _result(key, _LATE, deliveries.late(due_before=now - LATE_AFTER), now, dg.AssetCheckSeverity.WARN)


def _result(
    key: dg.AssetKey, name: str, backlog: Backlog, now: datetime, severity: dg.AssetCheckSeverity
) -> dg.AssetCheckResult:
    lines = [
        f"- **{one.work_date} {cell(one.user_id)}** ({cell(one.site)}, {one.state}, {one.attempts} attempts): "
        f"{cell(one.last_error or 'not attempted yet')}"
        for one in backlog.examples
    ]
    hours = 0.0 if backlog.oldest is None else (now - backlog.oldest).total_seconds() / 3600
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=backlog.count == 0,
        severity=severity,
        metadata={
            "count": backlog.count,
            "oldest_age_hours": round(hours, 1),
            "oldest": dg.MetadataValue.md("\n".join(lines) or "*none*"),
        },
    )
