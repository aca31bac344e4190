"""Asset `daily_attendance`: daily partitions by work date, one run per range, one materialization per work date."""

# No postponed annotations: Dagster inspects them.

from collections.abc import Iterator, Sequence

import dagster as dg

from zk_pipeline.attendance.evaluate import evaluate_days
from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.assets.admin_links import AdminLinks
from zk_pipeline.defs.assets.asset_attributes import asset_attributes
from zk_pipeline.defs.assets.day_metadata import date_metadata
from zk_pipeline.defs.assets.snapshot import publish_snapshot
from zk_pipeline.defs.checks.day_checks import check_result, check_spec
from zk_pipeline.defs.failures import partial_failure
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import as_dates, last_work_date, work_date_partitions
from zk_pipeline.defs.resources import StoreResource, with_resource_keys
from zk_pipeline.operations.process import process_dates, work_rules
from zk_pipeline.store.days.days import DateWritten
from zk_pipeline.store.days.punch_summaries import summarize
from zk_pipeline.store.store import utc_now


def attendance_assets(settings: Settings) -> Sequence[dg.AssetsDefinition]:
    names, rules, links = Names(settings.key_prefix), work_rules(settings), AdminLinks(settings.admin_url)

    @dg.asset(
        key=names.asset("daily_attendance"),
        group_name="attendance",
        kinds={"pandas", "duckdb"},
        description="One row per site, user and work date: clock-in, clock-out and outliers.",
        partitions_def=work_date_partitions(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        # For lineage only: stale work dates come from the store.
        deps=[dg.AssetDep(names.asset("raw_punches"), partition_mapping=dg.AllPartitionMapping())],
        output_required=False,
        pool=names.attendance_pool,
        **asset_attributes("daily_attendance", settings, process_dates, evaluate_days, summarize),
        check_specs=[check_spec(names.asset("daily_attendance"))],
    )
    @with_resource_keys(names)
    def daily_attendance(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        opened = store.open()
        opened.punches.apply_settings(rules)
        dates = as_dates(context.partition_keys)

        def log_materializations(batch: Sequence[DateWritten]) -> None:
            first, last = batch[0].work_date, batch[-1].work_date
            figures = opened.days.statistics(first, last, workday_starts_at=rules.workday_starts_at)
            for written in batch:
                day = written.work_date
                metadata = date_metadata(written, figures) | links.days(day)
                event = dg.AssetMaterialization(context.asset_key, partition=day.isoformat(), metadata=metadata)
                context.log_event(event)

        per_site = settings.crm_record_per == "site"
        result = process_dates(
            opened, dates, rules, run_id=context.run.run_id, per_site=per_site, on_committed=log_materializations
        )
        publish_snapshot(opened, settings.snapshot_path, context.log.info)
        for day in result.overtaken:
            context.log.info("%s: skipped, since another run has processed newer punches", day)
        last = last_work_date(settings, utc_now())
        yield check_result(context.asset_key, opened.days.dates_outside(first=settings.history_start, last=last))
        if result.failed:
            failed = {day.isoformat(): why for day, why in result.failed.items()}
            raise partial_failure("work date", failed, len(dates))

    return [daily_attendance]
