"""Alert sensors: `alert_sensor` evaluates all problems and notifies, `run_failure_alert_sensor` records failed runs."""

# No postponed annotations: Dagster inspects them.

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.counted import counted
from zk_pipeline.defs.checks.quality_checks import SENSOR_INTERVAL_FACTOR
from zk_pipeline.defs.instance.instance_health import (
    failed_checks,
    failed_run_details,
    failed_runs,
    failing_ticks,
    is_poll_in_progress,
)
from zk_pipeline.defs.instance.orphaned_runs import fail_orphaned_runs
from zk_pipeline.defs.instance.ownership import owns_run
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.resources import AlertsResource, StoreResource, with_resource_keys
from zk_pipeline.operations.alerting.current import store_problems
from zk_pipeline.operations.alerting.messages import Observation, decide, note, send_due
from zk_pipeline.operations.alerting.problems import (
    Links,
    check_problems,
    run_problem,
    tick_problem,
)
from zk_pipeline.operations.work_dates import last_work_date
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.quality.alerts import Decision, KnownAlert, Problem, read_alert_inputs
from zk_pipeline.store.quality.quality import Freshness
from zk_pipeline.store.store import Store

MAX_TITLES = 5  # in the skip reason of a tick
# `daemon` is among them since a tick of this sensor proves that the daemon is alive.
KINDS = ("device", "push", "lock", "run", "check", "tick", "crm", "daemon")


def alert_sensors(
    settings: Settings, default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING
) -> Sequence[dg.SensorDefinition]:
    names = Names(settings.key_prefix)
    # Read the checks as often as `quality_check_sensor` evaluates them: that is half of the cost of a tick.
    checks_every = timedelta(seconds=SENSOR_INTERVAL_FACTOR * settings.sensor_interval_seconds)

    @dg.run_failure_sensor(
        name=names.unique("run_failure_alert_sensor"),
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=default_status,
        description="Records each failed run as an alert; alert_sensor sends the message.",
    )
    @with_resource_keys(names)
    def run_failure_alert_sensor(context: dg.RunFailureSensorContext, store: StoreResource) -> dg.SkipReason:
        if not owns_run(context.dagster_run, names):
            return dg.SkipReason("a run of other definitions in this code location")
        for run in failed_run_details(context.instance, context.dagster_run, names):
            problem = run_problem(run, Links(settings.ui_url))
            store.open().alerts.update(partial(note, problem=problem))
            return dg.SkipReason(f"alert recorded: {problem.title}")
        return dg.SkipReason("only devices failed; alert_sensor has an alert for each")

    @dg.sensor(
        name=names.alert_sensor,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=default_status,
        description="Sends alerts to ALERT_URLS: new problems, reminders and resolved problems. "
        "Each tick names the current problems.",
    )
    @with_resource_keys(names)
    def alert_sensor(
        context: dg.SensorEvaluationContext, store: StoreResource, alerts: AlertsResource
    ) -> dg.SkipReason:
        assert context.repository_def is not None
        opened = store.open()
        now, checked_at = opened.clock(), context.cursor and datetime.fromisoformat(context.cursor)
        origin = context.code_location_origin
        location = None if origin is None else origin.location_name
        checks = None
        if not checked_at or now - checked_at >= checks_every:
            graph = context.repository_def.asset_graph
            checks = {key for key in graph.asset_check_keys if key.asset_key in names.assets}
        try:
            summary = evaluate_alerts(opened, settings, context.instance, checks, alerts, location=location)
        except StoreBusy as error:
            return dg.SkipReason(str(error))
        if checks is not None:
            context.update_cursor(now.isoformat())
        return dg.SkipReason(summary)

    return [run_failure_alert_sensor, alert_sensor]


def evaluate_alerts(
    store: Store,
    settings: Settings,
    instance: dg.DagsterInstance,
    checks: Collection[dg.AssetCheckKey] | None,
    alerts: AlertsResource,
    *,
    location: str | None = None,
) -> str:
    """Evaluate all problems and send messages about changes. Returns a summary. A failed channel is retried by a later
    tick. With `checks` None the alerts of checks stay unchanged. `location`: the code location of the sensors.
    """
    names, now = Names(settings.key_prefix), store.clock()
    fail_orphaned_runs(instance)
    # A poll reads its devices one after another: wait for its end, so that one message covers all failed devices.
    kinds = set(KINDS) - ({"device"} if is_poll_in_progress(instance, names, now) else set())
    kinds -= {"check"} if checks is None else set()
    inputs = read_alert_inputs(store.database, now, first=settings.history_start, last=last_work_date(settings, now))
    problems = current_problems(inputs.late, instance, checks or (), settings, now, location=location)
    look = Observation(problems, kinds, now)
    channels = alerts.channels()
    reminder = timedelta(hours=settings.alert_reminder_hours)

    def decided(known: Sequence[KnownAlert]) -> Decision:
        return decide(known, look, channels, reminder)

    decision = decided(inputs.known)
    if decision:
        decision = store.alerts.update(decided)
    is_due = inputs.is_message_due or decision.messages
    taken, failures = send_due(store, channels) if channels and is_due else (0, [])
    # Alerts of a kind that this tick did not evaluate go on.
    others = [one.problem for one in inputs.known if one.problem.kind not in kinds and one.resolved_at is None]
    titles = [one.title for one in (*look.problems, *others)]
    more = [f"{len(titles) - MAX_TITLES} more"] if len(titles) > MAX_TITLES else []
    named = f" ({', '.join([*titles[:MAX_TITLES], *more])})" if titles else ""
    parts = [f"{counted(len(titles), 'problem')}{named}"]
    parts += [f"{len(decision.notified)} to notify"] if decision.notified else []
    parts += [f"{taken} channels notified"] if taken else []
    if titles and not channels:
        parts.append("ALERT_URLS is not set: no message was sent")
    return "; ".join([*parts, *failures])


def current_problems(
    freshness: Freshness,
    instance: dg.DagsterInstance,
    checks: Collection[dg.AssetCheckKey],
    settings: Settings,
    now: datetime,
    *,
    location: str | None,
) -> list[Problem]:
    """All current problems, one per key."""
    links, names = Links(settings.ui_url), Names(settings.key_prefix)
    problems = [
        *store_problems(freshness, settings, now),
        *check_problems(failed_checks(instance, checks), links),
        *(run_problem(run, links) for run in failed_runs(instance, names, now)),
        *(tick_problem(name, message, links) for name, message in failing_ticks(instance, names, location)),
    ]
    return list({problem.key: problem for problem in problems}.values())
