"""Pools: who may not run beside whom. Their limit, one run at a time, is the default of `dagster.yaml`."""

from __future__ import annotations

import dagster as dg

TERMINALS, ATTENDANCE, CRM = "terminals", "attendance", "crm"


def register_pools(instance: dg.DagsterInstance) -> None:
    """Dagster's queue learns of a pool by its first runs and does not hold those back: two polls or two senders at
    once, on a new instance. So the pools are known before there are runs.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits or not instance.global_op_concurrency_default_limit:
        return
    known = {limit.name for limit in storage.get_pool_limits()}
    for pool in (TERMINALS, ATTENDANCE, CRM):
        if pool not in known:
            storage.initialize_concurrency_limit_to_default(pool)
