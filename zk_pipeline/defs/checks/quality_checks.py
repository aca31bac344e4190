"""Asset checks of freshness and data quality.

A sensor evaluates them without a run, so that they also fail if no run happens; the UI evaluates them on demand. The
rules are in `operations.alerting.quality_results`.
"""

# No postponed annotations: Dagster inspects them.

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.metadata import cell
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import last_work_date
from zk_pipeline.defs.resources import StoreResource, with_resource_keys
from zk_pipeline.operations.alerting.quality_checks import CHECKS, LATENESS, Check
from zk_pipeline.operations.alerting.quality_results import (
    CheckResult,
    evaluate_facts,
    evaluate_freshness,
    max_silence,
)
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.store import Store

FACTS_INTERVAL, FAILED_FACTS_INTERVAL, REPEAT_INTERVAL = timedelta(hours=1), timedelta(minutes=15), timedelta(hours=6)
SENSOR_INTERVAL_FACTOR = 4  # interval of this sensor as a multiple of that of the other sensors
MAX_PROBLEMS_SHOWN = 50  # in the metadata of one evaluation


def check_spec(check: Check, names: Names) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        check.name,
        asset=names.asset(check.asset),
        description=f"{check.expectation} Remedy: {check.remedy}",
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


def result_metadata(result: CheckResult) -> dict[str, dg.MetadataValue]:
    lines = [f"- {cell(problem)}" for problem in result.problems[:MAX_PROBLEMS_SHOWN]]
    metadata: dict[str, dg.MetadataValue] = {
        name: dg.MetadataValue.float(value) if isinstance(value, float) else dg.MetadataValue.int(value)
        for name, value in result.measured.items()
    }
    metadata["failing"] = dg.MetadataValue.int(len(result.problems))
    metadata["problems"] = dg.MetadataValue.md("\n".join(lines) or "*none*")
    if result.problems:
        metadata["remedy"] = dg.MetadataValue.md(result.check.remedy)
    return metadata


def quality_checks(settings: Settings) -> Sequence[dg.AssetChecksDefinition]:
    """All checks as one step, for evaluation on demand in the UI."""
    names = Names(settings.key_prefix)
    specs = [check_spec(check, names) for check in CHECKS]

    @dg.multi_asset_check(specs=specs, name=names.unique("quality_checks"), can_subset=True)
    @with_resource_keys(names)
    def evaluate_all(context: dg.AssetCheckExecutionContext, store: StoreResource) -> Iterator[dg.AssetCheckResult]:
        opened = store.open()
        selected = {key.name for key in context.selected_asset_check_keys}
        results = [*freshness_results(opened, settings), *data_results(opened, settings)]
        for result in (one for one in results if one.check.name in selected):
            yield dg.AssetCheckResult(
                asset_key=names.asset(result.check.asset),
                check_name=result.check.name,
                passed=result.passed,
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
        description="Evaluates freshness checks every few minutes and data checks hourly, without a run. Logs changed "
        "results, failures that persist after a materialization of their asset, and all results every six hours.",
    )
    @with_resource_keys(names)
    def quality_check_sensor(
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        opened = store.open()
        log = EvaluationLog.read(context.cursor)
        materialized_at = last_materialized(context.instance, names)
        try:
            results = freshness_results(opened, settings)
            if log.are_facts_due(opened.clock(), materialized_at):
                results += data_results(opened, settings)
        except StoreBusy as error:
            return dg.SkipReason(str(error))
        events = log.new_evaluations(results, opened.clock(), materialized_at, names)
        context.update_cursor(log.write())
        if not events:
            return dg.SkipReason("no check result changed")
        return dg.SensorResult(asset_events=events)

    return quality_check_sensor


def _digest(problems: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(map(_without_age, problems)).encode()).hexdigest()[:16]


def _without_age(problem: str) -> str:
    """The age in a problem grows with every evaluation; that is not a change."""
    return problem.partition(" for ")[0]


_NO_PROBLEMS = _digest([])


class EvaluationLog:
    """Last logged result of each check and its time, as the sensor's cursor, so that the event log has changes only.

    Without the cursor every check is logged once more.
    """

    def __init__(self, entries: dict[str, list[str]]) -> None:
        self._entries = entries

    @classmethod
    def read(cls, cursor: str | None) -> "EvaluationLog":
        return cls(json.loads(cursor) if cursor else {})

    def write(self) -> str:
        return json.dumps(self._entries)

    def are_facts_due(self, now: datetime, materialized_at: Mapping[str, datetime]) -> bool:
        """Whether to evaluate the data checks: every hour, earlier if the UI no longer shows a failed one."""
        if "facts" not in self._entries:
            return True
        since = now - datetime.fromisoformat(self._entries["facts"][0])
        is_failure_hidden = any(
            self._is_hidden(check, materialized_at)
            for check in CHECKS
            if check not in LATENESS and self._entries.get(check.name, [_NO_PROBLEMS])[0] != _NO_PROBLEMS
        )
        return since >= FACTS_INTERVAL or (is_failure_hidden and since >= FAILED_FACTS_INTERVAL)

    def _is_hidden(self, check: Check, materialized_at: Mapping[str, datetime]) -> bool:
        """The UI shows the result of a check only until the next materialization of its asset."""
        entry = self._entries.get(check.name)
        at = materialized_at.get(check.asset)
        return entry is not None and at is not None and at > datetime.fromisoformat(entry[1])

    def new_evaluations(
        self, results: Sequence[CheckResult], now: datetime, materialized_at: Mapping[str, datetime], names: Names
    ) -> list[dg.AssetCheckEvaluation]:
        """Evaluations to log: changed results, results logged longer than `REPEAT_INTERVAL` ago, and results that the
        UI no longer shows (failed ones at once, passed ones within an hour).
        """
        if any(result.check not in LATENESS for result in results):
            self._entries["facts"] = [now.isoformat()]
        events = []
        for result in results:
            digest = _digest(result.problems)
            before = self._entries.get(result.check.name)
            repeat_after = REPEAT_INTERVAL
            if self._is_hidden(result.check, materialized_at):
                repeat_after = FACTS_INTERVAL if result.passed else timedelta(0)
            if before and before[0] == digest and now - datetime.fromisoformat(before[1]) < repeat_after:
                continue
            self._entries[result.check.name] = [digest, now.isoformat()]
            events.append(evaluation(result, names))
        return events


def evaluation(result: CheckResult, names: Names) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=names.asset(result.check.asset),
        check_name=result.check.name,
        passed=result.passed,
        metadata=result_metadata(result),
        severity=dg.AssetCheckSeverity[result.check.severity],
        blocking=result.check.blocking,
    )


def last_materialized(instance: dg.DagsterInstance, names: Names) -> dict[str, datetime]:
    """Time of the latest materialization of each asset with checks; without assets that were never materialized."""
    records = instance.get_asset_records([names.asset(name) for name in {check.asset for check in CHECKS}])
    entries = {record.asset_entry.asset_key.path[-1]: record.asset_entry for record in records}
    return {
        name: datetime.fromtimestamp(entry.last_materialization_record.timestamp, tz=UTC)
        for name, entry in entries.items()
        if entry.last_materialization_record is not None
    }
