"""Job definitions. Partitions and run config select their work.

Each run is one process: a second process for its only step doubles the CPU time.
"""

# No postponed annotations: Dagster inspects them.

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.assets.work_dates import report_missing_partitions
from zk_pipeline.defs.instance.check_retention import delete_old_checks
from zk_pipeline.defs.instance.run_retention import OldRuns, delete_runs, find_old_runs
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.resources import StoreResource, with_resource_keys
from zk_pipeline.store.store import utc_now

RUNS_PER_CLEANUP = 2000  # about 20 s; the next clean-up continues


def sync_config(names: Names, config: Mapping[str, Any]) -> dict[str, Any]:
    """Run config of the sync jobs; `config` as `crm_sync.SyncConfig`."""
    return {"ops": {names.step("crm_sync"): {"config": dict(config)}}}


# A run whose process was lost is started once more, if the instance has run retries; one that failed by its own work is
# not, whatever the instance does with other jobs: the next tick requests it again.
RETRY_TAGS = {"dagster/max_retries": "1", "dagster/retry_on_asset_or_op_failure": "false"}


class CleanupConfig(dg.Config):
    """With `dry_run` the run counts what it would delete, and deletes nothing."""

    dry_run: bool = False


def jobs(settings: Settings) -> Sequence[Any]:
    names = Names(settings.key_prefix)

    def asset_job(name: str, description: str, *assets: str, config: Mapping[str, Any] | None = None) -> Any:
        return dg.define_asset_job(
            name,
            # The step of all checks would be skipped if the asset fails: `run_evaluations`.
            selection=dg.AssetSelection.assets(*map(names.asset, assets)).without_checks(),
            config=config,
            description=description,
            executor_def=dg.in_process_executor,
            run_tags=RETRY_TAGS | names.run_tags,
        )

    return [
        asset_job(
            names.poll, "Poll all enabled devices in one run, except those that only push.", "devices", "raw_punches"
        ),
        asset_job(names.process, "Compute the attendance days of a range of work dates.", "daily_attendance"),
        asset_job(names.sync, "Send the due deliveries of a range of work dates.", "crm_sync"),
        asset_job(
            names.retry,
            "Retry round for deliveries in state `retry`.",
            "crm_sync",
            config=sync_config(names, {"retry": True}),
        ),
        _cleanup_job(settings, names),
    ]


def _cleanup_job(settings: Settings, names: Names) -> dg.JobDefinition:
    @dg.op(
        name=names.unique("clean_up"),
        description="Delete data older than RAW_RETENTION_DAYS, QUARANTINE_RETENTION_DAYS and RUN_RETENTION_DAYS, and "
        "reclaim disk space.",
        out=dg.Out(dg.Nothing),
    )
    @with_resource_keys(names)
    def clean_up(context: dg.OpExecutionContext, config: CleanupConfig, store: StoreResource) -> None:
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
            old_runs = find_old_runs(context.instance, names, before=before, limit=RUNS_PER_CLEANUP)
            checks = delete_old_checks(context.instance, names, before=before, dry_run=config.dry_run)
        counts |= {"runs": len(old_runs.removable), "runs_kept_as_newest": old_runs.kept, "check_evaluations": checks}
        context.log.info("%s; %d old runs: %s", cleaned, len(old_runs.removable), " ".join(old_runs.removable))
        if not config.dry_run:
            delete_runs(context.instance, old_runs.removable)
            report_missing_partitions(context.instance, names, store.open().days.processed_dates())
        context.log_event(dg.AssetObservation(names.asset("raw_punches"), metadata=counts))

    @dg.job(
        name=names.cleanup,
        description="Retention of punches, quarantined records, runs and check evaluations; reclaims disk space. "
        "Attendance days are never deleted.",
        executor_def=dg.in_process_executor,
        run_tags=RETRY_TAGS | names.run_tags,
    )
    def daily_cleanup() -> None:
        clean_up()

    return daily_cleanup
