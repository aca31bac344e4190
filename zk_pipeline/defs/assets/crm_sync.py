"""The asset of what the CRM has been told: daily partitions by work date."""

# No postponed annotations here: Dagster reads them when it decorates.

from collections.abc import Iterator, Sequence
from datetime import date

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.crm.delivery import deliver
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.payload import crm_record
from zk_pipeline.crm.summary import DeliverySummary
from zk_pipeline.defs.assets.admin_links import AdminLinks
from zk_pipeline.defs.assets.asset_attributes import asset_attributes
from zk_pipeline.defs.checks.crm_checks import crm_check_results, crm_check_specs
from zk_pipeline.defs.dagster_internals import AssetMaterializationPlannedData
from zk_pipeline.defs.failures import MISCONFIGURED_CRM, partial_failure
from zk_pipeline.defs.partitions import as_dates, work_date_partitions
from zk_pipeline.defs.pools import CRM
from zk_pipeline.defs.resources import CrmResource, StoreResource
from zk_pipeline.operations.sync import sync
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.locks.sync_lock import SyncAlreadyRunning, SyncLockLost
from zk_pipeline.store.store import Store

OPEN_STATES = ("pending", "sending", "retry", "failed")


class SyncConfig(dg.Config):
    """Deliveries to send besides those that are due anyway, and their work dates: those of the run's
    partitions, or with `all_due` all from `first` to `last`, both included, on which something is due.

    Dagster has a run be about one range of partitions, and every date in it that is not materialized by a run that
    fails turns red. So a run for all that is due has the tags of the newest range that is, and plans the other
    partitions itself.
    """

    all_due: bool = False
    first: str | None = None  # ISO dates
    last: str | None = None
    retry: bool = False  # also those that ended in `retry`: a new round
    failed: bool = False  # also dead letters
    force: bool = False  # also what the CRM already has, under the same keys, and in spite of a pause it asked for
    user_id: str | None = None
    limit: int | None = None


def crm_assets(settings: Settings) -> Sequence[dg.AssetsDefinition]:
    links = AdminLinks(settings.admin_url)

    @dg.asset(
        name="crm_sync",
        group_name="crm",
        kinds={"python", "duckdb"},
        description="What the CRM has been told: each day's latest revision, delivered once under a stable key.",
        partitions_def=work_date_partitions(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=["daily_attendance"],
        output_required=False,
        pool=CRM,
        check_specs=crm_check_specs(),
        **asset_attributes("crm_sync", settings, sync, deliver, crm_record),
    )
    def crm_sync(
        context: dg.AssetExecutionContext, config: SyncConfig, store: StoreResource, crm: CrmResource
    ) -> Iterator[dg.AssetCheckResult]:
        opened = store.open()
        dates = as_dates(context.partition_keys)
        scope = sync_scope(config, *_span(config, dates, settings))
        if config.all_due:
            dates = _plan(context, opened, scope, dates)
        is_misconfigured = False
        counted = DeliverySummary()

        def count(sofar: DeliverySummary) -> None:
            nonlocal counted
            counted = sofar

        try:
            summary = sync(
                opened,
                crm.settings(),
                scope,
                run_id=context.run.run_id,
                limit=config.limit,
                force=config.force,
                progress=lambda sofar: context.log.info("%s so far", sofar.words()),
                settled=count,
            )
        except CrmMisconfigured as error:
            yield from crm_check_results(opened.deliveries, opened.clock())
            if error.summary is None:
                raise dg.Failure(str(error), metadata={MISCONFIGURED_CRM: True}, allow_retries=False) from error
            is_misconfigured = True
            summary = error.summary  # what went out before the CRM turned us away counts all the same
        except SyncAlreadyRunning as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        except SyncLockLost as error:
            _materialize(context, opened, dates, links)
            raise dg.Failure(str(error), allow_retries=False) from error
        except BaseException:  # a run that is cancelled has delivered something, too
            context.log_event(dg.AssetObservation(context.asset_key, metadata=_counts(counted)))
            _materialize(context, opened, dates, links)
            raise
        else:
            yield from crm_check_results(opened.deliveries, opened.clock())
        context.log.info("%s", summary.words())
        context.log_event(dg.AssetObservation(context.asset_key, metadata=_counts(summary)))
        _materialize(context, opened, dates, links)
        if _not(summary) or summary.stopped:
            raise _failure(summary, is_misconfigured)
        held = {day.isoformat(): why for day, why in opened.quality.held().items() if day in dates}
        if held:
            raise partial_failure("work date", held, len(dates))

    return [crm_sync]


def _span(config: SyncConfig, dates: Sequence[date], settings: Settings) -> tuple[date, date | None]:
    if not config.all_due:
        return min(dates), max(dates)
    first, last = (None if day is None else date.fromisoformat(day) for day in (config.first, config.last))
    # What was due when the history began earlier has no partition any more.
    return max(first or settings.history_start, settings.history_start), last


def _plan(context: dg.AssetExecutionContext, store: Store, scope: SyncScope, planned: Sequence[date]) -> list[date]:
    """Plan a partition for every other work date on which something is due, by the event that Dagster writes for the
    run's range; all dates that the run is about.
    """
    others = sorted(store.deliveries.due_dates(scope).keys() - set(planned))
    for day in others:
        data = AssetMaterializationPlannedData(context.asset_key, partition=day.isoformat())
        event = dg.DagsterEvent.build_asset_materialization_planned_event(
            context.job_name, context.op_execution_context.op.name, data
        )
        context.instance.report_dagster_event(event, context.run.run_id)
    return [*planned, *others]


def _materialize(context: dg.AssetExecutionContext, store: Store, dates: Sequence[date], links: AdminLinks) -> None:
    """Each work date on which nothing is left to deliver; one on which nobody was there has nothing, and is done."""
    dates = sorted({*dates, *store.deliveries.dates_of(context.run.run_id)})  # some became due during the run
    by_date = store.deliveries.states_by_date(dates)
    for day in dates:
        states = by_date.get(day, {})
        if not any(state in states for state in OPEN_STATES):
            told = {"delivered": dg.MetadataValue.int(states.get("delivered", 0)), **links.delivered(day)}
            context.log_event(dg.AssetMaterialization(context.asset_key, partition=day.isoformat(), metadata=told))


def sync_scope(config: SyncConfig, first: date, last: date | None) -> SyncScope:
    """What a run with `config` sends besides `pending` deliveries and those a dead run left behind."""
    wanted = {"retry": config.retry, "failed": config.failed, "delivered": config.force}
    states = tuple(state for state, is_wanted in wanted.items() if is_wanted)
    return SyncScope(user_id=config.user_id, states=states, first=first, last=last)


def _counts(summary: DeliverySummary) -> dict[str, int]:
    names = ("delivered", "retry", "failed", "unsent")
    return {name: getattr(summary, name) for name in names}


def _not(summary: DeliverySummary) -> int:
    return summary.retry + summary.failed + summary.unsent


def _failure(summary: DeliverySummary, is_misconfigured: bool) -> dg.Failure:
    lines = [f"- {error.work_date} {error.user_id}: {error.message}" for error in summary.errors]
    stopped = f"; stopped: {summary.stopped}" if summary.stopped else ""
    return dg.Failure(
        description=f"{summary.words()}{stopped}",
        metadata={"errors": dg.MetadataValue.md("\n".join(lines) or "*none*")}
        | ({MISCONFIGURED_CRM: dg.MetadataValue.bool(True)} if is_misconfigured else {}),
        allow_retries=False,
    )
