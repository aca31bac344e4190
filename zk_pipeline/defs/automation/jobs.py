"""The jobs of the contract. What they work on is decided by partitions and config."""

# No postponed annotations here: Dagster reads them when it decorates.

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dagster as dg

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.instance.check_retention import delete_old_checks
from zk_pipeline.defs.instance.run_retention import OldRuns, delete_runs, find_old_runs
from zk_pipeline.defs.job_names import CLEANUP, POLL, PROCESS, RETRY, SYNC
from zk_pipeline.defs.resources import StoreResource
from zk_pipeline.operations.alerting.quality_checks import CHECKS
from zk_pipeline.store.store import utc_now

RUNS_PER_CLEANUP = 2000  # some 20 s; the next night goes on


def sync_config(how: Mapping[str, Any]) -> dict[str, Any]:
    """Run config of the sync jobs; `how` as `defs.crm.SyncConfig`."""
    return {"ops": {"crm_sync": {"config": dict(how)}}}


RETRY_CONFIG = sync_config({"retry": True})


class CleanupConfig(dg.Config):
    """`dry_run` says what would go and deletes nothing."""

    dry_run: bool = False


@dg.op(
    description="Delete what is past RAW_RETENTION_DAYS, QUARANTINE_RETENTION_DAYS and RUN_RETENTION_DAYS; space back.",
    out=dg.Out(dg.Nothing),
)
def clean_up(context: dg.OpExecutionContext, config: CleanupConfig, store: StoreResource) -> None:
    settings = load_settings()
    cleaned = store.open().retention.clean(
        retention_days=settings.raw_retention_days,
        quarantine_days=settings.quarantine_retention_days,
        poll_days=settings.run_retention_days,
        dry_run=config.dry_run,
    )
    counts = {name: value for name, value in asdict(cleaned).items() if isinstance(value, (int, str))}
    old, checks = OldRuns([], 0), 0
    if settings.run_retention_days:
        before = utc_now() - timedelta(days=settings.run_retention_days)
        old = find_old_runs(context.instance, before=before, limit=RUNS_PER_CLEANUP)
        checks = delete_old_checks(context.instance, before=before, dry_run=config.dry_run)
    counts |= {"runs": len(old.removable), "runs_kept_as_newest": old.kept, "check_evaluations": checks}
    context.log.info("%s; %d old runs: %s", cleaned, len(old.removable), " ".join(old.removable))
    if not config.dry_run:
        delete_runs(context.instance, old.removable)
    context.log_event(dg.AssetObservation("raw_punches", metadata=counts))


@dg.job(
    name=CLEANUP,
    description="Retention of punches, quarantined records, records of runs and checks; space back. Days always stay.",
)
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
