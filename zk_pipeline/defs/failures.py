"""Failure of a run in which some partitions failed and the others were materialized."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from zk_pipeline.defs.metadata import table

MISCONFIGURED_CRM = "misconfigured"  # metadata of a sync run that fails until the CRM settings are corrected
MAX_OBSERVED = 20  # failed partitions per run: an outage of the CRM fails all of them


def observe_failures(context: dg.AssetExecutionContext, failures: Mapping[str, str]) -> None:
    """Show the error of the newest failed partitions on their pages, where Dagster only links to the run.

    `failures`: error message per failed partition. An observation changes no data version, and no freshness.
    """
    for key, why in sorted(failures.items(), reverse=True)[:MAX_OBSERVED]:
        metadata = {"error": dg.MetadataValue.text(why)}
        context.log_event(dg.AssetObservation(context.asset_key, partition=key, metadata=metadata))


def partial_failure(what: str, failures: dict[str, str], asked: int) -> dg.Failure:
    """Failure to raise after the materializations of the successful partitions are logged.

    `what`: singular noun of a partition; `failures`: error message per failed partition; `asked`: number of partitions.
    """
    errors = [why if key in why else f"{why} ({key})" for key, why in sorted(failures.items())]
    return dg.Failure(
        description=f"{len(failures)} of {asked} {what}s failed: " + "; ".join(errors[:3]),
        metadata={"failed": table([what, "error"], sorted(failures.items())), "failed_count": len(failures)},
        allow_retries=False,
    )
