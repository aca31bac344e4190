"""Failure of a run in which some partitions failed and the others were materialized."""

from __future__ import annotations

import dagster as dg

from zk_pipeline.defs.metadata import table

MISCONFIGURED_CRM = "misconfigured"  # metadata of a sync run that fails until the CRM settings are corrected


def partial_failure(what: str, failures: dict[str, str], asked: int) -> dg.Failure:
    """Failure to raise after the materializations of the successful partitions are logged.

    `what`: singular noun of a partition; `failures`: error message per failed partition; `asked`: number of partitions.
    """
    return dg.Failure(
        description=f"{len(failures)} of {asked} {what}s failed: " + "; ".join(sorted(failures.values())[:3]),
        metadata={"failed": table([what, "error"], sorted(failures.items())), "failed_count": len(failures)},
        allow_retries=False,
    )
