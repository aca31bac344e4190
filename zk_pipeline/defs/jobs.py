"""The jobs of the contract. What they work on is decided by partitions and config."""

# No postponed annotations here: Dagster reads them when it decorates.

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from zk_pipeline.defs.resources import StoreResource
from zk_pipeline.operations.quality import CHECKS
from zk_pipeline.settings import load_settings

POLL = "poll_devices"
PROCESS = "process_attendance"
SYNC = "sync_to_crm"
RETRY = "retry_failed_syncs"
CLEANUP = "daily_cleanup"

RETRY_CONFIG = {"ops": {"crm_sync": {"config": {"retry": True}}}}


class CleanupConfig(dg.Config):
    """`dry_run` says what would go and deletes nothing."""

    dry_run: bool = False


@dg.op(description="Delete raw punches past RAW_RETENTION_DAYS, give space back.", out=dg.Out(dg.Nothing))
def clean_up(context: dg.OpExecutionContext, config: CleanupConfig, store: StoreResource) -> None:
    cleaned = store.open().upkeep.clean(retention_days=load_settings().raw_retention_days, dry_run=config.dry_run)
    counts = {name: value for name, value in asdict(cleaned).items() if isinstance(value, int)}
    context.log_event(dg.AssetObservation("raw_punches", metadata=counts))
    context.log.info("%s", cleaned)


@dg.job(name=CLEANUP, description="Retention of raw punches and space reclaim. Days and their history always stay.")
def daily_cleanup() -> None:
    clean_up()


def jobs() -> Sequence[Any]:
    return [
        dg.define_asset_job(
            POLL, selection=_only("devices", "raw_punches"), description="Read all enabled terminals, in one run."
        ),
        dg.define_asset_job(
            PROCESS, selection=_only("daily_attendance"), description="Make the days of a range of work dates."
        ),
        dg.define_asset_job(
            SYNC, selection=_only("crm_sync"), description="Deliver what is due of a range of work dates."
        ),
        dg.define_asset_job(
            RETRY,
            selection=_only("crm_sync"),
            config=RETRY_CONFIG,
            description="A new round for deliveries that ended in `retry`.",
        ),
        daily_cleanup,
    ]


def _only(*assets: str) -> dg.AssetSelection:
    """The assets with the checks that they evaluate themselves; the others have a sensor of their own."""
    apart = [dg.AssetCheckKey(dg.AssetKey(check.asset), check.name) for check in CHECKS if check.asset in assets]
    return dg.AssetSelection.assets(*assets) - dg.AssetSelection.checks(*apart)
