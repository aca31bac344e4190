"""Registration of concurrency pools. Their limit, one run at a time, is the default in `dagster.yaml`."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg


def register_pools(instance: dg.DagsterInstance, pools: Sequence[str]) -> None:
    """Register the pools before the first run.

    Dagster's run queue registers a pool with its first runs and does not limit those: on a new instance, two polls or
    two syncs would run at the same time.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits or not instance.global_op_concurrency_default_limit:
        return
    registered = {limit.name for limit in storage.get_pool_limits()}
    for pool in pools:
        if pool not in registered:
            storage.initialize_concurrency_limit_to_default(pool)
