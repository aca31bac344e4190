"""Sensors that tell people: one looks at all that may be wrong, one puts each failed run on record for it."""

# No postponed annotations here: Dagster reads them when it decorates.

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

import dagster as dg

from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.defs.checks.quality_checks import LOOKS
from zk_pipeline.defs.instance.instance_health import (
    failed_checks,
    failed_run_details,
    failed_runs,
    failing_ticks,
    is_poll_in_flight,
)
from zk_pipeline.defs.instance.orphaned_runs import fail_orphaned_runs
from zk_pipeline.defs.partitions import last_work_date
from zk_pipeline.defs.resources import AlertsResource, StoreResource
from zk_pipeline.operations.alerting.messages import Observation, decide, note, send_due
from zk_pipeline.operations.alerting.problems import (
    Links,
    check_problems,
    crm_problems,
    device_problems,
    lock_problems,
    run_problem,
    tick_problem,
)
from zk_pipeline.operations.alerting.quality_results import max_silence
from zk_pipeline.operations.sync import check_crm
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.quality.alert_inputs import read_alert_inputs
from zk_pipeline.store.quality.alerts import Decision, KnownAlert, Problem
from zk_pipeline.store.quality.quality import Freshness
from zk_pipeline.store.store import Store

ALERT_SENSOR = "alert_sensor"
# This sensor runs in the daemon: that it looks at all shows that the daemon beats.
KINDS = ("device", "lock", "run", "check", "tick", "crm", "daemon")


def alert_sensors(settings: Settings) -> Sequence[dg.SensorDefinition]:
    # As often as checks are evaluated: asking after each of them is half of what a look costs.
    checks_every = timedelta(seconds=LOOKS * settings.sensor_interval_seconds)

    @dg.run_failure_sensor(
        name="run_failure_alert_sensor",
        minimum_interval_seconds=min(20, settings.sensor_interval_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Puts each failed run on record; alert_sensor tells people of it.",
    )
    def run_failure_alert_sensor(context: dg.RunFailureSensorContext, store: StoreResource) -> dg.SkipReason:
        for run in failed_run_details(context.instance, context.dagster_run):
            problem = run_problem(run, Links(load_settings().ui_url))
            store.open().alerts.update(partial(note, problem=problem))
            return dg.SkipReason(f"on record: {problem.title}")
        return dg.SkipReason("only devices failed, and each is told by alert_sensor")

    @dg.sensor(
        name=ALERT_SENSOR,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people, by ALERT_URLS, what began to be wrong, what still is and what is over.",
    )
    def alert_sensor(
        context: dg.SensorEvaluationContext, store: StoreResource, alerts: AlertsResource
    ) -> dg.SkipReason:
        assert context.repository_def is not None
        opened = store.open()
        now, looked = opened.clock(), context.cursor and datetime.fromisoformat(context.cursor)
        checks = None
        if not looked or now - looked >= checks_every:
            checks = context.repository_def.asset_graph.asset_check_keys
        try:
            said = look_and_tell(opened, context.instance, checks, alerts)
        except StoreBusy as error:
            return dg.SkipReason(str(error))
        if checks is not None:
            context.update_cursor(now.isoformat())
        return dg.SkipReason(said)

    return [run_failure_alert_sensor, alert_sensor]


def look_and_tell(
    store: Store, instance: dg.DagsterInstance, checks: Collection[dg.AssetCheckKey] | None, alerts: AlertsResource
) -> str:
    """Tell people what changed; in words what was done. A channel that fails is tried again by a later look.

    Without `checks` their alerts stay as they are.
    """
    settings = load_settings()
    now = store.clock()
    fail_orphaned_runs(instance)
    # While a poll is under way its devices are read one after the other: those that fail are told together afterwards.
    kinds = set(KINDS) - ({"device"} if is_poll_in_flight(instance, now) else set())
    kinds -= {"check"} if checks is None else set()
    seen = read_alert_inputs(store.database, now, first=settings.history_start, last=last_work_date(settings, now))
    look = Observation(current_problems(seen.late, instance, checks or (), settings, now), kinds, now)
    channels = alerts.channels()
    reminder = timedelta(hours=settings.alert_reminder_hours)

    def decided(known: Sequence[KnownAlert]) -> Decision:
        return decide(known, look, channels, reminder)

    decision = decided(seen.known)
    if decision:
        decision = store.alerts.update(decided)
    is_due = seen.is_message_due or decision.messages
    taken, failures = send_due(store, channels) if channels and is_due else (0, [])
    words = [f"{len(look.problems)} problems"]
    words += [f"{len(decision.notified)} to tell"] if decision.notified else []
    words += [f"{taken} channels told"] if taken else []
    if look.problems and not channels:
        words.append("ALERT_URLS is not set: nobody was told")
    return "; ".join([*words, *failures])


def current_problems(
    found: Freshness,
    instance: dg.DagsterInstance,
    checks: Collection[dg.AssetCheckKey],
    settings: Settings,
    now: datetime,
) -> list[Problem]:
    """All that is wrong now."""
    links = Links(settings.ui_url)
    problems = [
        *device_problems(found, now, max_silence(settings.polling_interval_minutes), links),
        *lock_problems(found, now, timedelta(seconds=settings.poll_deadline)),
        *crm_problems(found, _misconfigured(settings)),
        *check_problems(failed_checks(instance, checks), links),
        *(run_problem(run, links) for run in failed_runs(instance, now)),
        *(tick_problem(name, words, links) for name, words in failing_ticks(instance)),
    ]
    return list({problem.key: problem for problem in problems}.values())


def _misconfigured(settings: Settings) -> str | None:
    """What keeps every sync from being tried, as far as the settings themselves tell."""
    try:
        check_crm(settings)
    except CrmMisconfigured as error:
        return str(error)
    return None
