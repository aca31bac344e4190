"""Concurrency pools of a pipeline: one run at a time, in any Dagster instance."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from sqlalchemy.exc import IntegrityError


def limit_pools(instance: dg.DagsterInstance, pools: Sequence[str]) -> None:
    """Limit the pools to one run at a time, unless an operator has set another limit of a pool.

    Dagster's run queue registers a pool with its first runs, does not limit those, and takes the limit from
    `concurrency.pools.default_limit` of the instance, which may be missing or meant for other pools.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    limits = {limit.name: limit for limit in storage.get_pool_limits()}
    for pool in pools:
        limit = limits.get(pool)
        if limit is None or (limit.from_default and limit.limit != 1):
            try:
                storage.set_concurrency_slots(pool, 1)
            except IntegrityError:  # another process has added the pool at the same moment
                storage.set_concurrency_slots(pool, 1)
    if not pools_limit_runs(instance):
        _free_slots_of_ended_runs(instance, pools)


def pools_limit_runs(instance: dg.DagsterInstance) -> bool:
    """Granularity of the instance: whether the run queue counts runs, or each step claims a slot."""
    granularity = instance.get_concurrency_config().pool_config.pool_granularity
    return granularity is not None and granularity.value == "run"


def _free_slots_of_ended_runs(instance: dg.DagsterInstance, pools: Sequence[str]) -> None:
    """Free the slots of killed processes, which would block their pools permanently. Dagster frees them only with
    `run_monitoring.free_slots_after_run_end_seconds`.
    """
    storage = instance.event_log_storage
    for info in map(storage.get_concurrency_info, pools):
        claimed = {(slot.run_id, slot.step_key) for slot in info.claimed_slots}
        waiting = {(step.run_id, step.step_key) for step in info.pending_steps}
        for run_id, step_key in claimed | waiting:
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                storage.free_concurrency_slot_for_step(run_id, step_key)
