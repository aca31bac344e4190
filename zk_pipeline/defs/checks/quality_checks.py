"""Checks of the data and of its freshness. Evaluated by a sensor, without a run, since what is late or missing shows
when nothing runs; and on demand from the UI. What they judge is `operations.alerting.quality_verdicts`.
"""

# No postponed annotations here: Dagster reads them when it decorates.

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.metadata import cell
from zk_pipeline.defs.partitions import last_work_date
from zk_pipeline.defs.resources import StoreResource
from zk_pipeline.operations.alerting.quality_checks import CHECKS, LATENESS, Check
from zk_pipeline.operations.alerting.quality_verdicts import (
    CheckResult,
    evaluate_facts,
    evaluate_freshness,
    silence_allowed,
)
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.store import Store

SENSOR = "quality_check_sensor"
FACTS_EVERY, FACTS_AGAIN, SAID_AGAIN = timedelta(hours=1), timedelta(minutes=15), timedelta(hours=6)
LOOKS = 4  # of the other sensors to one of this one
SHOWN = 50  # problems listed in the metadata of one evaluation


def spec_of(check: Check) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        check.name,
        asset=check.asset,
        description=f"{check.expectation} If not: {check.remedy}",
        blocking=check.blocking,
    )


def freshness_verdicts(store: Store, settings: Settings) -> list[CheckResult]:
    """What is late now."""
    now = store.clock()
    found = store.quality.freshness(first=settings.history_start, last=last_work_date(settings, now))
    return evaluate_freshness(found, now, silence=silence_allowed(settings.polling_interval_minutes))


def data_verdicts(store: Store, settings: Settings) -> list[CheckResult]:
    """What the data looks like; unsound dates are kept from the CRM from here on, sound ones no longer."""
    store.quality.hold_what_matters()
    # A day that is not over anywhere west of the default zone is not judged yet.
    return evaluate_facts(store.quality.facts(today=last_work_date(settings, store.clock()) - timedelta(days=1)))


def metadata_of(verdict: CheckResult) -> dict[str, dg.MetadataValue]:
    lines = [f"- {cell(problem)}" for problem in verdict.problems[:SHOWN]]
    metadata: dict[str, dg.MetadataValue] = {
        name: dg.MetadataValue.float(value) if isinstance(value, float) else dg.MetadataValue.int(value)
        for name, value in verdict.measured.items()
    }
    metadata["failing"] = dg.MetadataValue.int(len(verdict.problems))
    metadata["problems"] = dg.MetadataValue.md("\n".join(lines) or "*none*")
    if verdict.problems:
        metadata["what_to_do"] = dg.MetadataValue.md(verdict.check.remedy)
    return metadata


def quality_checks(settings: Settings) -> Sequence[dg.AssetChecksDefinition]:
    """All of them as one step, for whoever wants to know now."""

    @dg.multi_asset_check(specs=[spec_of(check) for check in CHECKS], name="quality_checks", can_subset=True)
    def look(context: dg.AssetCheckExecutionContext, store: StoreResource) -> Iterator[dg.AssetCheckResult]:
        opened = store.open()
        wanted = {key.name for key in context.selected_asset_check_keys}
        verdicts = [*freshness_verdicts(opened, settings), *data_verdicts(opened, settings)]
        for verdict in (one for one in verdicts if one.check.name in wanted):
            yield dg.AssetCheckResult(
                asset_key=verdict.check.asset,
                check_name=verdict.check.name,
                passed=verdict.passed,
                severity=dg.AssetCheckSeverity[verdict.check.severity],
                metadata=metadata_of(verdict),
            )

    return [look]


def quality_sensor(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=LOOKS * settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Evaluates what is late every few minutes and the rest of the data hourly, without a run; writes "
        "down what changed, what still fails after its asset was made anew, and all of it every six hours.",
    )
    def quality_check_sensor(
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        opened = store.open()
        said = EvaluationLog.read(context.cursor)
        made = last_made(context.instance)
        try:
            verdicts = freshness_verdicts(opened, settings)
            if said.is_time_for_facts(opened.clock(), made):
                verdicts += data_verdicts(opened, settings)
        except StoreBusy as error:
            return dg.SkipReason(str(error))
        events = said.news(verdicts, opened.clock(), made)
        context.update_cursor(said.write())
        if not events:
            return dg.SkipReason("every check says what it said before")
        return dg.SensorResult(asset_events=events)

    return quality_check_sensor


def _digest(problems: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(map(_without_age, problems)).encode()).hexdigest()[:16]


def _without_age(problem: str) -> str:
    """What is late grows later at every look; that is no news."""
    return problem.partition(" for ")[0]


_NO_PROBLEMS = _digest([])


class EvaluationLog:
    """What was written down of each check and when, so that the event log holds changes and not every look.

    Losing it costs one more evaluation of each.
    """

    def __init__(self, entries: dict[str, list[str]]) -> None:
        self._entries = entries

    @classmethod
    def read(cls, cursor: str | None) -> "EvaluationLog":
        return cls(json.loads(cursor) if cursor else {})

    def write(self) -> str:
        return json.dumps(self._entries)

    def is_time_for_facts(self, now: datetime, made: Mapping[str, datetime]) -> bool:
        """Every hour, and sooner where the UI has forgotten a failed one."""
        if "facts" not in self._entries:
            return True
        since = now - datetime.fromisoformat(self._entries["facts"][0])
        forgotten = any(
            self._is_forgotten(check, made)
            for check in CHECKS
            if check not in LATENESS and self._entries.get(check.name, [_NO_PROBLEMS])[0] != _NO_PROBLEMS
        )
        return since >= FACTS_EVERY or (forgotten and since >= FACTS_AGAIN)

    def _is_forgotten(self, check: Check, made: Mapping[str, datetime]) -> bool:
        """The UI shows what a check said until its asset is materialized again; from then on, nothing."""
        said = self._entries.get(check.name)
        return said is not None and check.asset in made and made[check.asset] > datetime.fromisoformat(said[1])

    def news(
        self, verdicts: Sequence[CheckResult], now: datetime, made: Mapping[str, datetime]
    ) -> list[dg.AssetCheckEvaluation]:
        """Evaluations of those that say something else than before, said it long ago, or are not shown any more: a
        failed one at once, since it is the one to be seen, a good one within the hour.
        """
        if any(verdict.check not in LATENESS for verdict in verdicts):
            self._entries["facts"] = [now.isoformat()]
        events = []
        for verdict in verdicts:
            digest = _digest(verdict.problems)
            before = self._entries.get(verdict.check.name)
            again = SAID_AGAIN
            if self._is_forgotten(verdict.check, made):
                again = FACTS_EVERY if verdict.passed else timedelta(0)
            if before and before[0] == digest and now - datetime.fromisoformat(before[1]) < again:
                continue
            self._entries[verdict.check.name] = [digest, now.isoformat()]
            events.append(evaluation(verdict))
        return events


def evaluation(verdict: CheckResult) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(verdict.check.asset),
        check_name=verdict.check.name,
        passed=verdict.passed,
        metadata=metadata_of(verdict),
        severity=dg.AssetCheckSeverity[verdict.check.severity],
        blocking=verdict.check.blocking,
    )


def last_made(instance: dg.DagsterInstance) -> dict[str, datetime]:
    """When each asset of the checks was last materialized, as far as it ever was."""
    records = instance.get_asset_records([dg.AssetKey(name) for name in {check.asset for check in CHECKS}])
    found = {record.asset_entry.asset_key.to_user_string(): record.asset_entry for record in records}
    return {
        name: datetime.fromtimestamp(entry.last_materialization_record.timestamp, tz=timezone.utc)
        for name, entry in found.items()
        if entry.last_materialization_record is not None
    }
