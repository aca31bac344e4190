"""Asset check of `daily_attendance`, evaluated by the asset: punches on work dates without a partition."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import dagster as dg

_COVERED = "every_work_date_has_a_partition"


def check_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        _COVERED,
        asset=key,
        description="No punches before the first partition or after the last one. Remedy: set an earlier "
        "ZK_PIPELINE_HISTORY_START, or run `zk-pipeline device correct-clock`.",
    )


def check_result(key: dg.AssetKey, outside: Sequence[date]) -> dg.AssetCheckResult:
    """Check result; `outside`: work dates with punches and without a partition, ascending."""
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=_COVERED,
        passed=not outside,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "work_dates": len(outside),
            "first": outside[0].isoformat() if outside else "none",
            "last": outside[-1].isoformat() if outside else "none",
        },
    )
