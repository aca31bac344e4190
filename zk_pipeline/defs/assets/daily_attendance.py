"""Asset `daily_attendance`: daily partitions by work date, one run per range, one materialization per work date."""

# No postponed annotations: Dagster inspects them.

from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime

import dagster as dg

from zk_pipeline.attendance.evaluate import evaluate_days
from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.assets.admin_links import AdminLinks
from zk_pipeline.defs.assets.asset_attributes import asset_attributes
from zk_pipeline.defs.assets.data_versions import UpstreamEvent, version_tags
from zk_pipeline.defs.assets.day_metadata import date_metadata
from zk_pipeline.defs.assets.snapshot import publish_snapshot
from zk_pipeline.defs.assets.step_output import NOTHING, is_followed_by, plan_partitions, step_output
from zk_pipeline.defs.assets.work_dates import report_partitions
from zk_pipeline.defs.checks.quality_checks import coverage_results, run_evaluations
from zk_pipeline.defs.failures import observe_failures, partial_failure
from zk_pipeline.defs.instance.backfill_order import wait_in_backfill
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import STALE_SITES_TAGS, as_dates, contiguous, work_date_partitions
from zk_pipeline.defs.resources import StoreResource, with_resource_keys
from zk_pipeline.operations.process import MAX_NEWER, process_dates, stale_dates
from zk_pipeline.operations.work_dates import last_work_date, work_rules
from zk_pipeline.store.days.days import DateWritten
from zk_pipeline.store.days.punch_summaries import summarize
from zk_pipeline.store.store import utc_now
from zk_pipeline.store.work_dates.staleness import StaleDate


def attendance_assets(settings: Settings) -> Sequence[dg.AssetsDefinition]:
    names, rules, links = Names(settings.key_prefix), work_rules(settings), AdminLinks(settings.admin_url)

    @dg.asset(
        key=names.asset("daily_attendance"),
        group_name="attendance",
        description="One row per site, user and work date: clock-in, clock-out and outliers. A work date is red if its"
        " latest processing failed (its page has the error), *unsynced* if its punches or rules are newer "
        "than its rows. *Materialize* processes it again.",
        partitions_def=work_date_partitions(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[
            names.work_dates,
            # For lineage only: `work_dates` has the work dates of the punches, and one terminal that cannot be polled
            # stops no date.
            dg.AssetDep(names.asset("raw_punches"), partition_mapping=dg.SpecificPartitionsPartitionMapping([])),
        ],
        output_required=False,
        dagster_type=NOTHING,
        pool=names.attendance_pool,
        **asset_attributes("daily_attendance", settings, process_dates, evaluate_days, summarize),
    )
    @with_resource_keys(names)
    def daily_attendance(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        wait_in_backfill(context.instance, context.run, names.asset("raw_punches"))
        opened = store.open()
        upstream = UpstreamEvent.observed(context.instance, names.work_dates)
        opened.punches.apply_settings(rules)
        dates = as_dates(context.partition_keys)
        if not STALE_SITES_TAGS.items() <= context.run.tags.items():
            opened.days.request_all_sites(dates)

        def stale() -> list[StaleDate]:
            return stale_dates(opened, settings, last=last_work_date(settings, utc_now()))

        planned = set(dates)
        newest = max((one.latest_punch_seq for one in stale()), default=0)

        def newer(without: Collection[date]) -> list[date]:
            found = [one.work_date for one in stale() if one.latest_punch_seq > newest]
            taken = [day for day in found if day not in without][-MAX_NEWER:]
            plan_partitions(context, [day for day in taken if day not in planned])
            planned.update(taken)
            return taken

        def tags(revised_at: datetime | None) -> dict[str, str]:
            return version_tags(context, revised_at.isoformat() if revised_at else "no rows", upstream)

        def log_materializations(batch: Sequence[DateWritten]) -> None:
            for part in contiguous(item.work_date for item in batch):
                log_range([item for item in batch if part.first <= item.work_date <= part.last])
            report_partitions(context.instance, names, [written.work_date for written in batch if written.is_first])

        def log_range(batch: Sequence[DateWritten]) -> None:
            first, last = batch[0].work_date, batch[-1].work_date
            figures = opened.days.statistics(first, last, workday_starts_at=rules.workday_starts_at)
            for written in batch:
                day = written.work_date
                metadata = date_metadata(written, figures) | links.days(day)
                event = dg.AssetMaterialization(
                    context.asset_key, partition=day.isoformat(), metadata=metadata, tags=tags(written.revised_at)
                )
                context.log_event(event)

        per_site = settings.crm_record_per == "site"
        result = process_dates(
            opened,
            dates,
            rules,
            run_id=context.run.run_id,
            per_site=per_site,
            on_committed=log_materializations,
            newer=newer,
        )
        overtaken = opened.days.revised_at(result.overtaken) if result.overtaken else {}
        for day in result.overtaken:
            event = dg.AssetMaterialization(
                context.asset_key,
                partition=day.isoformat(),
                description="Another run has processed newer punches in the meantime.",
                tags=tags(overtaken.get(day)),
            )
            context.log_event(event)
        failed = {day.isoformat(): why for day, why in result.failed.items()}
        for key, why in failed.items():
            context.log.error("%s: %s", key, why)
        observe_failures(context, failed)
        is_failing = bool(failed) and not (
            len(failed) < len(dates) and is_followed_by(context, names.asset("crm_sync"))
        )
        yield from run_evaluations(context, names, coverage_results(opened, settings), is_failing=is_failing)
        publish_snapshot(opened, settings.snapshot_path, context.log.info)
        if is_failing:
            raise partial_failure("work date", failed, len(dates))
        yield step_output(failed)

    return [daily_attendance]
