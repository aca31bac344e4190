"""Order of the runs of a backfill over terminals and work dates.

To Dagster no work date depends on a terminal: otherwise each poll would make every date stale, and one terminal that
cannot be polled would keep a backfill from all dates. So Dagster starts the run over work dates first.
"""

from __future__ import annotations

import time

import dagster as dg

from zk_pipeline.defs.dagster_internals import BACKFILL_ID_TAG

MAX_WAIT_SECONDS, _INTERVAL_SECONDS = 600.0, 2.0


def wait_in_backfill(instance: dg.DagsterInstance, run: dg.DagsterRun, asset: dg.AssetKey) -> None:
    """Wait for the runs of `asset` that belong to the backfill of `run`, whether they succeed or fail; at most
    MAX_WAIT_SECONDS.
    """
    backfill_id = run.tags.get(BACKFILL_ID_TAG)
    backfill = instance.get_backfill(backfill_id) if backfill_id else None
    if backfill is None or asset not in (backfill.asset_selection or ()):
        return
    ends_at = time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < ends_at:
        runs = instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: str(backfill_id)}))
        others = [one for one in runs if one.run_id != run.run_id]
        awaited = [one for one in others if asset in (one.asset_selection or ())]
        if awaited and all(one.is_finished and not one.is_complete_and_waiting_to_retry for one in awaited):
            return
        if not awaited and any(one.is_failure_or_canceled for one in others):
            return  # Dagster requests no run of an asset after one that it depends on has failed
        time.sleep(_INTERVAL_SECONDS)
