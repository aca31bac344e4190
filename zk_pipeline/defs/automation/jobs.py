"""Job definitions. Partitions and run config select their work."""

# No postponed annotations: Dagster inspects them.

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

RUNS_PER_CLEANUP = 2000  # about 20 s; the next clean-up continues


def sync_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Run config of the sync jobs; `config` as `crm_sync.SyncConfig`."""
    return {"ops": {"crm_sync": {"config": dict(config)}}}


RETRY_CONFIG = sync_config({"retry": True})


class CleanupConfig(dg.Config):
    """With `dry_run` the run counts what it would delete, and deletes nothing."""

    dry_run: bool = False


@dg.op(
    description="Delete data older than RAW_RETENTION_DAYS, QUARANTINE_RETENTION_DAYS and RUN_RETENTION_DAYS, and "
    "reclaim disk space.",
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
    old_runs, checks = OldRuns([], 0), 0
    if settings.run_retention_days:
        before = utc_now() - timedelta(days=settings.run_retention_days)
        old_runs = find_old_runs(context.instance, before=before, limit=RUNS_PER_CLEANUP)
        checks = delete_old_checks(context.instance, before=before, dry_run=config.dry_run)
    counts |= {"runs": len(old_runs.removable), "runs_kept_as_newest": old_runs.kept, "check_evaluations": checks}
    context.log.info("%s; %d old runs: %s", cleaned, len(old_runs.removable), " ".join(old_runs.removable))
    if not config.dry_run:
        delete_runs(context.instance, old_runs.removable)
    context.log_event(dg.AssetObservation("raw_punches", metadata=counts))


@dg.job(
    name=CLEANUP,
    description="Retention of punches, quarantined records, runs and check evaluations; reclaims disk space. "
    "Attendance days are never deleted.",
)
def daily_cleanup() -> None:
    clean_up()


def jobs() -> Sequence[Any]:
    return [
        dg.define_asset_job(
            POLL,
            selection=_without_sensor_checks("devices", "raw_punches"),
            description="Poll all enabled devices in one run.",
        ),
        dg.define_asset_job(
            PROCESS,
            selection=_without_sensor_checks("daily_attendance"),
            description="Compute the attendance days of a range of work dates.",
        ),
        dg.define_asset_job(
            SYNC,
            selection=_without_sensor_checks("crm_sync"),
            description="Send the due deliveries of a range of work dates.",
        ),
        dg.define_asset_job(
            RETRY,
            selection=_without_sensor_checks("crm_sync"),
            config=RETRY_CONFIG,
            description="Retry round for deliveries in state `retry`.",
        ),
        daily_cleanup,
    ]


def _without_sensor_checks(*assets: str) -> dg.AssetSelection:
    """The assets and the checks that they evaluate themselves, without those of `quality_check_sensor`."""
    sensor_checks = [
        dg.AssetCheckKey(dg.AssetKey(check.asset), check.name) for check in CHECKS if check.asset in assets
    ]
    return dg.AssetSelection.assets(*assets) - dg.AssetSelection.checks(*sensor_checks)
