"""Outputs of asset steps that log their own materializations, and the failures that they leave to a later step.

Dagster starts a step only after the outputs of the steps before it, and skips all later steps of a run once a step has
failed. A step in which some partitions failed therefore yields its output if a later step of the run can raise the
failure: that step works on the other partitions first. Dagster marks the failed partitions of both assets, because the
run fails without their materializations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import dagster as dg

from zk_pipeline.defs.dagster_internals import (
    BACKFILL_ID_TAG,
    SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION,
    AssetMaterializationPlannedData,
)

NOTHING: Any = dg.Nothing  # the type of these outputs: no IO manager stores them. Type checkers see a class here.
_FAILED = "failed_partitions"


def step_output(failures: Mapping[str, str] | None = None) -> dg.Output[None]:
    """Output that starts the later steps of the run and materializes nothing.

    `failures`: error message per failed partition; a later step must raise them, see `failures_before`.
    """
    metadata: dict[str, Any] = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
    if failures:
        metadata[_FAILED] = dg.MetadataValue.json(dict(failures))
    return dg.Output(None, metadata=metadata)


def failures_before(context: dg.AssetExecutionContext, asset: dg.AssetKey) -> dict[str, str]:
    """Error message per partition that the step of `asset` in the same run left to this step."""
    for entry in context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT):
        metadata = entry.get_dagster_event().step_output_data.metadata
        if entry.step_key == asset.to_python_identifier() and _FAILED in metadata:
            return dict(metadata[_FAILED].value)
    return {}


def is_followed_by(context: dg.AssetExecutionContext, asset: dg.AssetKey) -> bool:
    """True if the run also executes the step of `asset`."""
    steps = context.run.step_keys_to_execute
    return asset in context.job_def.asset_layer.executable_asset_keys and (
        steps is None or asset.to_python_identifier() in steps
    )


def is_backfill(context: dg.AssetExecutionContext) -> bool:
    """True for a run of a backfill, which ends as failed if a partition is missing: then its run must fail as well."""
    return BACKFILL_ID_TAG in context.run.tags


def plan_partitions(context: dg.AssetExecutionContext, dates: Iterable[date]) -> None:
    """Plan partitions of the step's asset outside the run's range, with the event that Dagster logs for the range: they
    are in progress until they are materialized, and failed if the run fails before.
    """
    for day in dates:
        data = AssetMaterializationPlannedData(context.asset_key, partition=day.isoformat())
        event = dg.DagsterEvent.build_asset_materialization_planned_event(
            context.job_name, context.op_execution_context.op.name, data
        )
        context.instance.report_dagster_event(event, context.run.run_id)
