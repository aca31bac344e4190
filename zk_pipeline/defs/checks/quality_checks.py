"""Asset checks: their results from the store, their evaluations in Dagster's event log.

`quality_check_sensor` evaluates all of them without a run, so that they also fail if no run happens; an asset evaluates
those that its run changes; the UI evaluates them on demand. The rules are in `operations.alerting.quality_results`.
"""

# No postponed annotations: Dagster inspects them.

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.dagster_internals import AssetCheckExecutionRecord, AssetCheckExecutionRecordStatus
from zk_pipeline.defs.instance.check_retention import WHOLE_ASSET
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.resources import StoreResource, with_resource_keys
from zk_pipeline.operations.alerting.quality_checks import CHECKS, LATENESS, Check
from zk_pipeline.operations.alerting.quality_results import (
    DELIVERY_OVERDUE,
    CheckResult,
    evaluate_backlog,
    evaluate_coverage,
    evaluate_facts,
    evaluate_freshness,
    evaluate_terminals,
    max_silence,
)
from zk_pipeline.operations.work_dates import last_work_date
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.queries.terminal_health import terminal_health
from zk_pipeline.store.store import Store

FULL_INTERVAL, REPEAT_INTERVAL = timedelta(hours=1), timedelta(hours=6)
SENSOR_INTERVAL_FACTOR = 4  # interval of this sensor as a multiple of that of the other sensors
MAX_PROBLEMS_SHOWN = 50  # in the description of one evaluation
_RUNNING = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


def check_spec(check: Check, settings: Settings) -> dg.AssetCheckSpec:
    names = Names(settings.key_prefix)
    runbook = f" [Runbook]({settings.docs_url}/operating.md#checks)" if settings.docs_url else ""
    return dg.AssetCheckSpec(
        check.name,
        asset=names.asset(check.asset),
        description=f"{check.expectation} Remedy: {check.remedy}{runbook}",
        blocking=check.blocking,
    )


def freshness_results(store: Store, settings: Settings) -> list[CheckResult]:
    """Results of the freshness checks."""
    now = store.clock()
    freshness = store.quality.freshness(first=settings.history_start, last=last_work_date(settings, now))
    return evaluate_freshness(freshness, now, silence=max_silence(settings.polling_interval_minutes))


def data_results(store: Store, settings: Settings) -> list[CheckResult]:
    """Results of the data checks. Blocks inconsistent work dates from the CRM and unblocks consistent ones."""
    store.quality.block_relevant_dates()
    # The latest work date may still be in progress at sites west of the default time zone.
    return evaluate_facts(store.quality.facts(today=last_work_date(settings, store.clock()) - timedelta(days=1)))


def terminal_results(store: Store) -> list[CheckResult]:
    """Results of the checks that a poll changes."""
    return evaluate_terminals(terminal_health(store.database))


def coverage_results(store: Store, settings: Settings) -> list[CheckResult]:
    """Result of the check that processing changes."""
    last = last_work_date(settings, store.clock())
    return evaluate_coverage(store.days.dates_outside(first=settings.history_start, last=last))


def backlog_results(store: Store) -> list[CheckResult]:
    """Results of the checks that a sync changes."""
    now, deliveries = store.clock(), store.deliveries
    return evaluate_backlog(deliveries.dead_letters(), deliveries.late(due_before=now - DELIVERY_OVERDUE), now)


def all_results(store: Store, settings: Settings) -> list[CheckResult]:
    """Results of all checks."""
    return [
        *freshness_results(store, settings),
        *data_results(store, settings),
        *terminal_results(store),
        *coverage_results(store, settings),
        *backlog_results(store),
    ]


def evaluation(result: CheckResult, names: Names, *, at: datetime | None = None) -> dg.AssetCheckEvaluation:
    """Evaluation for the event log; `at`: time of an evaluation without a run, which makes it unique."""
    return dg.AssetCheckEvaluation(
        asset_key=names.asset(result.check.asset),
        check_name=result.check.name,
        passed=result.passed,
        description=problem_list(result),
        metadata=result_metadata(result),
        severity=dg.AssetCheckSeverity[result.check.severity],
        blocking=result.check.blocking,
        partition=WHOLE_ASSET if at is None else f"{WHOLE_ASSET} {at.isoformat()}",
    )


def problem_list(result: CheckResult) -> str | None:
    """Problems and remedy as Markdown, which the UI shows inline, unlike metadata; None if the check passed."""
    if result.passed:
        return None
    lines = [f"- {_one_line(problem)}" for problem in result.problems[:MAX_PROBLEMS_SHOWN]]
    more = len(result.problems) - len(lines)
    return "\n".join([*lines, *([f"- and {more} more"] if more else []), "", f"Remedy: {result.check.remedy}"])


def _one_line(problem: str) -> str:
    """Text of a Markdown list item: names and messages from terminals and the CRM may contain line breaks."""
    return " ".join(problem.replace("\\", "\\\\").split())


def result_metadata(result: CheckResult) -> dict[str, dg.MetadataValue]:
    """Numbers, which the UI plots over time."""
    return {
        name: dg.MetadataValue.float(value) if isinstance(value, float) else dg.MetadataValue.int(value)
        for name, value in {"failing": len(result.problems), **result.measured}.items()
    }


def run_evaluations(
    context: dg.AssetExecutionContext, names: Names, results: Sequence[CheckResult], *, is_failing: bool
) -> Iterator[dg.AssetCheckEvaluation]:
    """Evaluations of the checks that the run of an asset changes. `is_failing`: whether the step of the asset fails
    afterwards.

    They are no outputs of that step: Dagster would plan them for each partition, and show a check as failed if the step
    ended early. In a run of the UI's Materialize button the step of all checks evaluates them, unless it is skipped
    because the asset fails.
    """
    job = context.op_execution_context.job_def
    if is_failing or not job.has_node_named(names.quality_checks):
        yield from (evaluation(result, names) for result in results)


def quality_checks(settings: Settings) -> Sequence[dg.AssetChecksDefinition]:
    """All checks as one step, for evaluation on demand in the UI."""
    names = Names(settings.key_prefix)
    specs = [check_spec(check, settings) for check in CHECKS]

    @dg.multi_asset_check(specs=specs, name=names.quality_checks, can_subset=True)
    @with_resource_keys(names)
    def evaluate_all(context: dg.AssetCheckExecutionContext, store: StoreResource) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        for result in all_results(store.open(), settings):
            if result.check.name in selected:
                yield dg.AssetCheckResult(
                    asset_key=names.asset(result.check.asset),
                    check_name=result.check.name,
                    passed=result.passed,
                    description=problem_list(result),
                    severity=dg.AssetCheckSeverity[result.check.severity],
                    metadata=result_metadata(result),
                )

    return [evaluate_all]


def quality_sensor(
    settings: Settings, default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING
) -> dg.SensorDefinition:
    names = Names(settings.key_prefix)

    @dg.sensor(
        name=names.unique("quality_check_sensor"),
        minimum_interval_seconds=SENSOR_INTERVAL_FACTOR * settings.sensor_interval_seconds,
        default_status=default_status,
        description="Evaluates the checks of delays every few minutes and all checks hourly, without a run. Logs "
        "changed results, and all results every six hours. A skipped tick names the failing ones.",
    )
    @with_resource_keys(names)
    def quality_check_sensor(
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        opened = store.open()
        now, log = opened.clock(), EvaluationLog(context.instance, names)
        is_full = is_due(context.cursor, now) or any(log.is_hidden(check) for check in CHECKS if check not in LATENESS)
        try:
            results = all_results(opened, settings) if is_full else freshness_results(opened, settings)
        except StoreBusy as error:
            return dg.SkipReason(str(error))
        if is_full:
            context.update_cursor(now.isoformat())
        events = [evaluation(result, names, at=now) for result in results if log.is_news(result, now)]
        if events:
            return dg.SensorResult(asset_events=events)
        failing = [result.check.name for result in results if not result.passed]
        return dg.SkipReason("no check result changed" + (f"; failing: {', '.join(failing)}" if failing else ""))

    return quality_check_sensor


def is_due(cursor: str | None, now: datetime) -> bool:
    """True if all checks are due; `cursor`: time of their last evaluation, in ISO format."""
    if cursor is None or cursor.startswith("{"):  # of an earlier version
        return True
    return now - datetime.fromisoformat(cursor) >= FULL_INTERVAL


class EvaluationLog:
    """The latest evaluation of each check, to log only what the event log does not have yet."""

    def __init__(self, instance: dg.DagsterInstance, names: Names) -> None:
        self._instance = instance
        keys = {check.name: dg.AssetCheckKey(names.asset(check.asset), check.name) for check in CHECKS}
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys.values()))
        self._latest: Mapping[str, AssetCheckExecutionRecord | None] = {name: found.get(keys[name]) for name in keys}

    def is_hidden(self, check: Check) -> bool:
        """True if the UI shows no evaluation of the check, or only until the next materialization of its asset."""
        record = self._latest[check.name]
        if record is not None and record.status is AssetCheckExecutionRecordStatus.PLANNED:
            return not self._is_running(record.run_id)
        return record is None or not (record.partition or "").startswith(WHOLE_ASSET)

    def is_news(self, result: CheckResult, now: datetime) -> bool:
        """True for a result to log: hidden, changed, or logged longer than `REPEAT_INTERVAL` ago."""
        if self.is_hidden(result.check):
            return True
        record = self._latest[result.check.name]
        evaluation = None if record is None else record.evaluation
        if record is None or not isinstance(evaluation, dg.AssetCheckEvaluation):  # a run is about to
            return False
        is_same = _without_ages(evaluation.description) == _without_ages(problem_list(result))
        return not is_same or now - datetime.fromtimestamp(record.create_timestamp, UTC) >= REPEAT_INTERVAL

    def _is_running(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        return run is not None and run.status in _RUNNING


def _without_ages(description: str | None) -> list[str]:
    """Lines of a description without the age in a problem, which grows with every evaluation: that is no change."""
    return [line.partition(" for ")[0] for line in (description or "").splitlines()]
