"""Limits of the concurrency pools when several processes add them at the same moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from sqlalchemy.exc import IntegrityError

from zk_pipeline.defs import pools


def test_a_pool_that_another_process_adds_at_the_same_moment_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: dict[str, int] = {}

    def set_slots(pool: str, slots: int) -> None:
        if pool not in limits:
            limits[pool] = 0  # of the other process
            raise IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))
        limits[pool] = slots

    storage = SimpleNamespace(
        supports_global_concurrency_limits=True, get_pool_limits=list, set_concurrency_slots=set_slots
    )
    monkeypatch.setattr(pools, "pools_limit_runs", lambda _: True)
    pools.limit_pools(cast(dg.DagsterInstance, cast(Any, SimpleNamespace(event_log_storage=storage))), ["terminals"])
    assert limits == {"terminals": 1}
