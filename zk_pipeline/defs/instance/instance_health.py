"""What Dagster's instance knows that people must be told of: failed runs, checks and ticks. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta, timezone

import dagster as dg

from zk_pipeline.defs.dagster_internals import (
    WILL_RETRY_TAG,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
    TickStatus,
)
from zk_pipeline.defs.failures import MISCONFIGURED_CRM
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG, UNDER_WAY
from zk_pipeline.defs.job_names import CLEANUP, POLL, PROCESS, RETRY, SYNC
from zk_pipeline.operations.alerting.problems import FailedCheck, FailedRun

ASSET_JOB = "__ASSET_JOB"  # what the UI's Materialize starts
JOBS = (POLL, PROCESS, SYNC, RETRY, CLEANUP)
_LATEST_ENDED = [TickStatus.SUCCESS, TickStatus.FAILURE, TickStatus.SKIPPED]
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_CANCELED_IN_A_ROW = 20  # looked through for one that ended by itself
_OLD, _SLOW_POLL = timedelta(days=1), timedelta(minutes=10)
_FIRST_CHARACTERS = 600
# Until a renamed check is evaluated, its alert rests on the evaluation under the former name (migration 0019).
FORMER_CHECK_NAMES = {
    "no_revision_churn": "revisions_are_calm",
    "attendance_rows_consistent": "days_are_sound",
    "schema_matches_migrations": "tables_are_sound",
    "punches_unique": "punches_are_there_once",
    "user_id_unique_per_site": "an_id_is_one_person",
    "user_id_unique_across_sites": "an_id_is_one_person_at_all_sites",
    "one_site_per_user_and_date": "people_are_at_one_site_a_day",
    "punches_from_enrolled_users": "punches_are_of_people_enrolled",
    "no_overdue_deliveries": "nothing_is_late",
    "log_capacity_available": "logs_have_room",
    "clock_drift_within_limit": "clocks_are_right",
}


def failed_runs(instance: dg.DagsterInstance, now: datetime) -> Iterator[FailedRun]:
    """Of each job the newest run that ended, if it failed; of polls the newest of each queue. Of what people started by
    hand, and of queues, which come and go, only those of the last day.
    """
    for job, queue in (*((job, None) for job in (*JOBS, ASSET_JOB)), *((POLL, one) for one in _queues(instance))):
        record = _newest_ended(instance, job, queue)
        if record is None or record.dagster_run.status is dg.DagsterRunStatus.SUCCESS:
            continue
        if (job != ASSET_JOB and queue is None) or now - _aware(record.create_timestamp) <= _OLD:
            yield from failed_run_details(instance, record.dagster_run)


def failed_run_details(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[FailedRun]:
    """The run with each failed step and the first lines of its error; nothing for a poll in which devices failed and
    nothing else, since each of them is told by itself.
    """
    parts, is_misconfigured, only_partitions = [], False, True
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = entry.get_dagster_event().step_failure_data
        said = data.user_failure_data
        metadata = {} if said is None else said.metadata
        is_misconfigured |= MISCONFIGURED_CRM in metadata
        only_partitions &= "failed_count" in metadata
        words = str(said.description) if said is not None and said.description else data.error_display_string
        parts.append(f"{entry.step_key}: {words.strip()[:_FIRST_CHARACTERS]}")
    if parts and only_partitions and run.job_name == POLL:
        return
    yield FailedRun(run.run_id, _name(run), "\n".join(parts) or _how_it_died(instance, run), is_misconfigured)


def failed_checks(instance: dg.DagsterInstance, keys: Collection[dg.AssetCheckKey]) -> list[FailedCheck]:
    """Those of the checks whose newest complete evaluation failed, with what it found."""
    failed = []
    for key, record in _last_evaluations(instance, keys).items():
        if record is None or record.status is not AssetCheckExecutionRecordStatus.FAILED or record.event is None:
            continue
        found = record.event.get_dagster_event().asset_check_evaluation_data
        words = [found.description or ""]
        words += [str(found.metadata[name].value) for name in ("problems", "what_to_do") if name in found.metadata]
        text = "\n".join(word for word in words if word)[:_FIRST_CHARACTERS]
        failed.append(FailedCheck(key.asset_key.to_user_string(), key.name, found.severity.value, text))
    return failed


def _last_evaluations(
    instance: dg.DagsterInstance, keys: Collection[dg.AssetCheckKey]
) -> dict[dg.AssetCheckKey, AssetCheckExecutionRecord | None]:
    """The newest complete evaluation of each check, under its former name if there is none under the new one."""

    def read(wanted: Collection[dg.AssetCheckKey]) -> dict[dg.AssetCheckKey, AssetCheckExecutionRecord | None]:
        summaries = instance.event_log_storage.get_asset_check_summary_records(list(wanted))
        return {key: summary.last_completed_check_execution_record for key, summary in summaries.items()}

    newest = read(keys)
    former = {
        key: dg.AssetCheckKey(key.asset_key, FORMER_CHECK_NAMES[key.name])
        for key, record in newest.items()
        if record is None and key.name in FORMER_CHECK_NAMES
    }
    earlier = read(former.values()) if former else {}
    return newest | {key: earlier[old] for key, old in former.items()}


def failing_ticks(instance: dg.DagsterInstance) -> Iterator[tuple[str, str]]:
    """Name and error of each running schedule and sensor whose newest tick failed."""
    for state in instance.all_instigator_state():
        if not state.is_running:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=_LATEST_ENDED)
        if ticks and ticks[0].status is TickStatus.FAILURE:
            error = ticks[0].error
            cause = None if error is None else error.cause or error
            words = "no reason given" if cause is None else cause.message.strip()
            yield state.instigator_name, words[:_FIRST_CHARACTERS]


def is_poll_in_flight(instance: dg.DagsterInstance, now: datetime) -> bool:
    """Whether a poll is under way whose devices have not all had their turn; one that takes very long is not waited
    for.
    """
    records = instance.get_run_records(dg.RunsFilter(job_name=POLL, statuses=UNDER_WAY), limit=1)
    return any(now - _aware(record.create_timestamp) < _SLOW_POLL for record in records)


def _queues(instance: dg.DagsterInstance) -> list[str]:
    """All that polls were ever given to."""
    return sorted(value for _, values in instance.get_run_tags(tag_keys=[QUEUE_TAG]) for value in values)


def _newest_ended(instance: dg.DagsterInstance, job: str, queue: str | None = None) -> dg.RunRecord | None:
    """Runs that people cancelled do not count. One over its maximum runtime does: it ends as CANCELED, or as FAILURE,
    whichever its own process or the monitoring writes last.
    """
    asked = dg.RunsFilter(job_name=job, statuses=_ENDED, tags={QUEUE_TAG: queue} if queue else None)
    for record in instance.get_run_records(asked, limit=_CANCELED_IN_A_ROW):
        run = record.dagster_run
        if run.status is not dg.DagsterRunStatus.CANCELED or _has_failed(instance, run):
            return record
    return None


def _has_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    return bool(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE))


def _name(run: dg.DagsterRun) -> str:
    if run.job_name != ASSET_JOB:
        queue = run.tags.get(QUEUE_TAG)
        return run.job_name if queue is None else f"{run.job_name} ({queue})"
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    return f"materializing {', '.join(assets) or 'assets'}"


def _how_it_died(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Of a run that ended without a failed step: what was said of it, the step it was in, and what happens next."""
    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.RUN_FAILURE}
    said, steps = "It ended without a word.", []
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.get_dagster_event()
        if event.event_type is dg.DagsterEventType.STEP_START:
            steps.append(str(event.step_key))
        elif event.event_type is dg.DagsterEventType.STEP_SUCCESS:
            steps.remove(str(event.step_key))
        elif event.message:
            said = event.message.strip()[:_FIRST_CHARACTERS]
    where = f"It was in {', '.join(steps)}" if steps else "It was in no step"
    return f"{said}\n{where}. What it had stored stays. {_what_is_next(run)}"


def _what_is_next(run: dg.DagsterRun) -> str:
    if run.remote_job_origin is None:
        return "A command started it: give the command again."
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return "The daemon starts it once more."
    if run.job_name in JOBS:
        return "The next tick of its schedule asks again for what is left."
    return "It is not started again: start it by hand."


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
