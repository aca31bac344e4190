"""Asset `crm_sync`: deliveries to the CRM, with daily partitions by work date."""

# No postponed annotations: Dagster inspects them.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.counted import counted
from zk_pipeline.crm.delivery import deliver
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.models import DeliverySummary
from zk_pipeline.crm.payload import crm_record
from zk_pipeline.defs.assets.admin_links import AdminLinks
from zk_pipeline.defs.assets.asset_attributes import asset_attributes
from zk_pipeline.defs.assets.data_versions import UpstreamEvent, version_tags
from zk_pipeline.defs.assets.step_output import NOTHING, failures_before, is_backfill, plan_partitions, step_output
from zk_pipeline.defs.checks.quality_checks import backlog_results, run_evaluations
from zk_pipeline.defs.failures import MISCONFIGURED_CRM, observe_failures, partial_failure
from zk_pipeline.defs.metadata import table
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import as_dates, work_date_partitions
from zk_pipeline.defs.resources import CrmResource, StoreResource, with_resource_keys
from zk_pipeline.operations.sync import sync
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.locks.sync_lock import SyncAlreadyRunning, SyncLockLost
from zk_pipeline.store.store import Store

OPEN_STATES = ("pending", "sending", "retry", "failed")


class SyncConfig(dg.Config):
    """Deliveries to send in addition to due ones, and their work dates: those of the run's partitions, or
    with `all_due` every work date from `first` to `last` (both included) with due deliveries.

    A Dagster run covers one range of partitions, and a failed run marks every partition of its range as failed that it
    did not materialize. So a run for all due deliveries has the tags of their latest contiguous range, and plans the
    other partitions itself.
    """

    all_due: bool = False
    first: str | None = None  # ISO dates
    last: str | None = None
    retry: bool = False  # also deliveries in state `retry`: a new retry round
    failed: bool = False  # also dead letters
    force: bool = False  # also delivered ones, under the same idempotency keys, and despite a Retry-After pause
    user_id: str | None = None
    limit: int | None = None


def crm_assets(settings: Settings) -> Sequence[dg.AssetsDefinition]:
    names, links = Names(settings.key_prefix), AdminLinks(settings.admin_url)

    @dg.asset(
        key=names.asset("crm_sync"),
        group_name="crm",
        description="Deliveries to the CRM: the latest revision of each attendance day, with a stable idempotency key."
        " A work date is green when nothing of it is left to deliver; the page of a red one has the error."
        " *Materialize* sends what is due; `zk-pipeline sync --retry-failed` also sends what the CRM has "
        "rejected.",
        partitions_def=work_date_partitions(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[names.asset("daily_attendance")],
        output_required=False,
        dagster_type=NOTHING,
        pool=names.crm_pool,
        **asset_attributes("crm_sync", settings, sync, deliver, crm_record),
    )
    @with_resource_keys(names)
    def crm_sync(
        context: dg.AssetExecutionContext, config: SyncConfig, store: StoreResource, crm: CrmResource
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        opened = store.open()
        planned = as_dates(context.partition_keys)
        unprocessed = failures_before(context, names.asset("daily_attendance"))
        dates = [day for day in planned if day.isoformat() not in unprocessed]
        scope = sync_scope(config, *_date_range(config, planned, settings))
        scope = replace(scope, without=tuple(as_dates(list(unprocessed))))
        if config.all_due:
            dates = _plan_partitions(context, opened, scope, dates)
        is_misconfigured = False
        settled = DeliverySummary()

        def keep_summary(summary: DeliverySummary) -> None:
            nonlocal settled
            settled = summary

        try:
            summary = sync(
                opened,
                crm.settings(),
                scope,
                run_id=context.run.run_id,
                limit=config.limit,
                force=config.force,
                progress=lambda sofar: context.log.info("%s so far", sofar.message()),
                settled=keep_summary,
            )
        except CrmMisconfigured as error:
            if error.summary is None:
                yield from run_evaluations(context, names, backlog_results(opened), is_failing=True)
                raise dg.Failure(str(error), metadata={MISCONFIGURED_CRM: True}, allow_retries=False) from error
            is_misconfigured = True
            summary = error.summary  # of the requests before the CRM rejected the configuration
        except SyncAlreadyRunning as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        except SyncLockLost as error:
            _materialize(context, opened, dates, links)
            raise dg.Failure(str(error), allow_retries=False) from error
        except BaseException:  # a canceled run, too, has results to log
            context.log_event(dg.AssetObservation(context.asset_key, metadata=_delivery_counts(settled)))
            _materialize(context, opened, dates, links)
            raise
        context.log.info("%s", summary.message())
        context.log_event(dg.AssetObservation(context.asset_key, metadata=_delivery_counts(summary)))
        undelivered = _materialize(context, opened, dates, links)
        is_incomplete = bool(_undelivered_count(summary) or summary.stopped)
        blocked = {day.isoformat(): why for day, why in opened.quality.blocked_dates().items() if day in dates}
        failed = {**unprocessed, **(undelivered if is_backfill(context) else {}), **blocked}
        yield from run_evaluations(context, names, backlog_results(opened), is_failing=is_incomplete or bool(failed))
        if is_incomplete or failed:
            observe_failures(context, {**undelivered, **unprocessed, **blocked})
        if is_incomplete:
            raise _failure(summary, unprocessed, is_misconfigured)
        if failed:
            raise partial_failure("work date", failed, len(planned))
        yield step_output()

    return [crm_sync]


def _date_range(config: SyncConfig, dates: Sequence[date], settings: Settings) -> tuple[date, date | None]:
    if not config.all_due:
        return min(dates), max(dates)
    first, last = (None if day is None else date.fromisoformat(day) for day in (config.first, config.last))
    # Due deliveries before ZK_PIPELINE_HISTORY_START have no partition.
    return max(first or settings.history_start, settings.history_start), last


def _plan_partitions(
    context: dg.AssetExecutionContext, store: Store, scope: SyncScope, planned: Sequence[date]
) -> list[date]:
    """Plan the partitions of all other work dates with due deliveries. Returns all work dates of the run."""
    others = sorted(store.deliveries.due_dates(scope).keys() - set(planned))
    plan_partitions(context, others)
    return [*planned, *others]


def _materialize(
    context: dg.AssetExecutionContext, store: Store, dates: Sequence[date], links: AdminLinks
) -> dict[str, str]:
    """Materialize each work date without undelivered deliveries, including dates without attendance days. Returns a
    message for each of the other dates.
    """
    (attendance,) = context.assets_def.dependency_keys
    upstream = UpstreamEvent.materialized(context.instance, attendance)
    dates = sorted({*dates, *store.deliveries.dates_of(context.run.run_id)})  # some became due during the run
    by_date, errors = store.deliveries.states_by_date(dates), store.deliveries.errors_by_date(dates)
    undelivered: dict[str, str] = {}
    for day in dates:
        states = by_date.get(day, {})
        delivered = states.get("delivered", 0)
        if waiting := [f"{states[state]} in state {state}" for state in OPEN_STATES if state in states]:
            example = f" ({errors[day]})" if day in errors else ""
            undelivered[day.isoformat()] = f"deliveries are left: {', '.join(waiting)}{example}"
            continue
        event = dg.AssetMaterialization(
            context.asset_key,
            partition=day.isoformat(),
            metadata={"dagster/partition_row_count": dg.MetadataValue.int(delivered), **links.delivered(day)},
            tags=version_tags(context, delivered, upstream),
        )
        context.log_event(event)
    return undelivered


def sync_scope(config: SyncConfig, first: date, last: date | None) -> SyncScope:
    """Deliveries to send in addition to `pending` ones and those that an orphaned run left in state `sending`."""
    wanted = {"retry": config.retry, "failed": config.failed, "delivered": config.force}
    states = tuple(state for state, is_wanted in wanted.items() if is_wanted)
    return SyncScope(user_id=config.user_id, states=states, first=first, last=last)


def _delivery_counts(summary: DeliverySummary) -> dict[str, int]:
    names = ("delivered", "retry", "failed", "unsent")
    return {name: getattr(summary, name) for name in names}


def _undelivered_count(summary: DeliverySummary) -> int:
    return summary.retry + summary.failed + summary.unsent


def _failure(summary: DeliverySummary, unprocessed: Mapping[str, str], is_misconfigured: bool) -> dg.Failure:
    errors: list[tuple[object, ...]] = [(one.work_date, one.user_id, one.message) for one in summary.errors]
    errors += [(day, "", why) for day, why in unprocessed.items()]
    examples = [f"{one.work_date} {one.user_id}: {one.message}" for one in summary.errors[:3]]
    stopped = f"; stopped: {summary.stopped}" if summary.stopped else ""
    skipped = f"; {counted(len(unprocessed), 'work date')} not processed" if unprocessed else ""
    return dg.Failure(
        description="; ".join([f"{summary.message()}{stopped}{skipped}", *examples]),
        metadata={"errors": table(["work date", "user_id", "error"], errors)}
        | ({MISCONFIGURED_CRM: dg.MetadataValue.bool(True)} if is_misconfigured else {}),
        allow_retries=False,
    )
