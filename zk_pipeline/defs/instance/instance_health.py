"""Failed runs, checks and ticks of the Dagster instance, as input of alerts. Read-only."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

import dagster as dg

from zk_pipeline.defs.dagster_internals import (
    WILL_RETRY_TAG,
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus,
    TickStatus,
)
from zk_pipeline.defs.failures import MISCONFIGURED_CRM
from zk_pipeline.defs.instance.ownership import ASSET_JOB, own_instigators, own_runs
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG, UNFINISHED_RUN_STATUSES
from zk_pipeline.defs.names import Names
from zk_pipeline.operations.alerting.problems import FailedCheck, FailedRun

_ENDED_TICKS = [TickStatus.SUCCESS, TickStatus.FAILURE, TickStatus.SKIPPED]
_ENDED_RUNS = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_MAX_CANCELED_RUNS = 20  # read to find the latest run that was not canceled
_RECENT, _MAX_POLL_AGE = timedelta(days=1), timedelta(minutes=10)
_MAX_CHARACTERS = 600
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


def failed_runs(instance: dg.DagsterInstance, names: Names, now: datetime) -> Iterator[FailedRun]:
    """The latest finished run of each job, and of each poll queue, if it failed.

    Manual materializations and queues, which may no longer exist, count for one day only.
    """
    newest = [_newest_ended(instance, names, job) for job in names.jobs]
    by_queue = (_newest_ended(instance, names, names.poll, queue) for queue in _queues(instance))
    newest += [record for record in by_queue if record and now - _as_utc(record.create_timestamp) <= _RECENT]
    newest.append(_failed_materialization(instance, names, now))
    for record in newest:
        if record is not None and record.dagster_run.status is not dg.DagsterRunStatus.SUCCESS:
            yield from failed_run_details(instance, record.dagster_run, names)


def failed_run_details(instance: dg.DagsterInstance, run: dg.DagsterRun, names: Names) -> Iterator[FailedRun]:
    """The run with the error of each failed step; empty for a poll in which only devices failed, since each device has
    an alert of its own.
    """
    parts, is_misconfigured, only_partitions = [], False, True
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = entry.get_dagster_event().step_failure_data
        user_failure = data.user_failure_data
        metadata = {} if user_failure is None else user_failure.metadata
        is_misconfigured |= MISCONFIGURED_CRM in metadata
        only_partitions &= "failed_count" in metadata
        description = None if user_failure is None else user_failure.description
        text = str(description or data.error_display_string).strip()[:_MAX_CHARACTERS]
        parts.append(f"{entry.step_key}: {text}")
    if parts and only_partitions and run.job_name == names.poll:
        return
    message = "\n".join(parts) or _termination_reason(instance, run, names)
    yield FailedRun(run.run_id, _name(run), message, is_misconfigured)


def failed_checks(instance: dg.DagsterInstance, keys: Collection[dg.AssetCheckKey]) -> list[FailedCheck]:
    """The checks whose latest completed evaluation failed, with its description: problems and remedy."""
    failed = []
    for key, record in _last_evaluations(instance, keys).items():
        if record is None or record.status is not AssetCheckExecutionRecordStatus.FAILED or record.event is None:
            continue
        evaluation = record.event.get_dagster_event().asset_check_evaluation_data
        text = (evaluation.description or "")[:_MAX_CHARACTERS]
        failed.append(FailedCheck(key.asset_key.to_user_string(), key.name, evaluation.severity.value, text))
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


def failing_ticks(instance: dg.DagsterInstance, names: Names, location: str | None = None) -> Iterator[tuple[str, str]]:
    """Name and error message of each running schedule and sensor of the pipeline whose latest tick failed."""
    for state in own_instigators(instance, names, location):
        if not state.is_running:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=_ENDED_TICKS)
        if ticks and ticks[0].status is TickStatus.FAILURE:
            error = ticks[0].error
            cause = None if error is None else error.cause or error
            message = "no error message" if cause is None else cause.message.strip()
            yield state.instigator_name, message[:_MAX_CHARACTERS]


def is_poll_in_progress(instance: dg.DagsterInstance, names: Names, now: datetime) -> bool:
    """Whether a poll is in progress that began within the last `_MAX_POLL_AGE`."""
    polls = own_runs(instance, names, dg.RunsFilter(job_name=names.poll, statuses=UNFINISHED_RUN_STATUSES))
    return any(now - _as_utc(record.create_timestamp) < _MAX_POLL_AGE for record in islice(polls, 1))


def _queues(instance: dg.DagsterInstance) -> list[str]:
    """All queues that polls have used."""
    return sorted(value for _, values in instance.get_run_tags(tag_keys=[QUEUE_TAG]) for value in values)


def _newest_ended(
    instance: dg.DagsterInstance, names: Names, job: str, queue: str | None = None
) -> dg.RunRecord | None:
    """Latest finished run of a job, without runs that a user canceled. A run over its maximum runtime counts: it ends
    as CANCELED or as FAILURE, because its process and run monitoring both write a status and the later one stays.
    """
    runs_filter = dg.RunsFilter(job_name=job, statuses=_ENDED_RUNS, tags={QUEUE_TAG: queue} if queue else None)
    for record in islice(own_runs(instance, names, runs_filter), _MAX_CANCELED_RUNS):
        run = record.dagster_run
        if run.status is not dg.DagsterRunStatus.CANCELED or _has_failed(instance, run):
            return record
    return None


def _failed_materialization(instance: dg.DagsterInstance, names: Names, now: datetime) -> dg.RunRecord | None:
    """Latest failed run of the Materialize button within a day, unless a later one succeeded. Failures are read first:
    an instance may have many runs of other assets.
    """
    ended = partial(dg.RunsFilter, job_name=ASSET_JOB)
    unsuccessful = ended(
        statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED], created_after=now - _RECENT
    )
    for record in own_runs(instance, names, unsuccessful):
        run = record.dagster_run
        if run.status is dg.DagsterRunStatus.FAILURE or _has_failed(instance, run):
            later = ended(statuses=[dg.DagsterRunStatus.SUCCESS], created_after=_as_utc(record.create_timestamp))
            return None if any(own_runs(instance, names, later)) else record
    return None


def _has_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    return bool(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE))


def _name(run: dg.DagsterRun) -> str:
    if run.job_name != ASSET_JOB:
        queue = run.tags.get(QUEUE_TAG)
        return run.job_name if queue is None else f"{run.job_name} ({queue})"
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    return f"materializing {', '.join(assets) or 'assets'}"


def _termination_reason(instance: dg.DagsterInstance, run: dg.DagsterRun, names: Names) -> str:
    """Error message for a run that ended without a failed step: failure event, interrupted step, next step."""
    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.RUN_FAILURE}
    reason, steps = "It ended without an error message.", []
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.get_dagster_event()
        if event.event_type is dg.DagsterEventType.STEP_START:
            steps.append(str(event.step_key))
        elif event.event_type is dg.DagsterEventType.STEP_SUCCESS:
            steps.remove(str(event.step_key))
        elif event.message:
            reason = event.message.strip()[:_MAX_CHARACTERS]
    interrupted = f"Interrupted step: {', '.join(steps)}" if steps else "No step was in progress"
    return f"{reason}\n{interrupted}. Rows that it stored are kept. {_next_step(run, names)}"


def _next_step(run: dg.DagsterRun, names: Names) -> str:
    if run.remote_job_origin is None:
        return "A command started it: run the command again."
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return "The daemon retries the run."
    if run.job_name in names.jobs:
        return "The next tick of its schedule requests a run for the rest."
    return "It is not retried: start it manually."


def _as_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
