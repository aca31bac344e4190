"""`zk-pipeline watchdog` and `zk-pipeline test-alerts`: alert on a missing daemon heartbeat; test the channels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import click

from zk_pipeline.cli.context import CliContext, open_context
from zk_pipeline.cli.output import as_json, print_json, print_table, warn, wide_option
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.operations.alerting.channels import Alert, Channel, parse_channels
from zk_pipeline.operations.alerting.messages import Observation, decide, send_due
from zk_pipeline.operations.alerting.problems import daemon_problem
from zk_pipeline.store.errors import StoreBusy, StoreUnusable
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline.store.store import utc_now

_STAMP = "data/watchdog-notified"  # its mtime: time of the last alert about an unusable store


@click.command()
@as_json
def watchdog(as_json: bool) -> int:
    """Send an alert if the Dagster daemon has no heartbeat. For cron or a systemd timer, every few minutes.

    Reads heartbeats and sends alerts without the daemon, each once, with reminders; also sends messages that still
    wait for their channel. Exit code 1 if there is a problem.

    \b
    Example:  zk-pipeline watchdog --json
    """
    from zk_pipeline.runs.watchdog import daemon_liveness_problem  # noqa: PLC0415 (Dagster, slow to import)

    context = open_context()
    with context.launcher() as launcher:
        wrong = daemon_liveness_problem(launcher.instance, launcher.names, utc_now())
    problems = [daemon_problem(wrong)] if wrong else []
    channels = parse_channels(context.settings.alert_urls)
    try:
        failures = _alert(context, channels, problems)
    except (StoreBusy, StoreUnusable) as error:
        wrong = " ".join(filter(None, [wrong, str(error)]))
        failures = _alert_without_store(context, channels, wrong)
    if as_json:
        print_json({"alive": wrong is None, "problem": wrong, "channels": len(channels), "failures": failures})
    else:
        click.echo(wrong or "alive")
    if wrong and not channels:
        failures = ["ALERT_URLS is not set: no alert was sent"]
    for failure in failures:
        warn(failure)
    return 1 if wrong else 0


@click.command("test-alerts")
@wide_option
@as_json
def test_alerts(as_json: bool) -> int:
    """Send a test message to every channel of ALERT_URLS.

    \b
    Example:  zk-pipeline test-alerts
    """
    channels = parse_channels(open_context().settings.alert_urls)
    if not channels:
        raise UsageError("ALERT_URLS is not set: no alert can be sent")
    alert = Alert("zk_pipeline: test", "This is a test of ALERT_URLS by `zk-pipeline test-alerts`.", "info")
    failures = [_failure(one, alert) for one in channels]
    rows = [
        {
            "channel": one.name,
            "receives": " and ".join(sorted(one.routes)) or "everything",
            "result": str(failure or "sent"),
        }
        for one, failure in zip(channels, failures, strict=True)
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, list(rows[0]), keep={"result"})
    return 2 if any(isinstance(one, UsageError) for one in failures) else int(any(failures))


def _alert(context: CliContext, channels: Sequence[Channel], problems: Sequence[Problem]) -> list[str]:
    store = context.store
    look = Observation(problems, {"daemon"}, utc_now())
    reminder = timedelta(hours=context.settings.alert_reminder_hours)
    store.alerts.update(partial(decide, look=look, channels=channels, reminder=reminder))
    return send_due(store, channels)[1] if channels else []


def _alert_without_store(context: CliContext, channels: Sequence[Channel], problem: str) -> list[str]:
    stamp = context.settings.home / _STAMP
    if not channels or _is_recent(stamp, context.settings.alert_reminder_hours):
        return []
    alert = Alert("zk_pipeline: the store cannot be used", problem, "failure")
    failures = [str(failure) for one in channels if (failure := _failure(one, alert))]
    if len(failures) < len(channels):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
    return failures


def _is_recent(stamp: Path, reminder_hours: float) -> bool:
    try:
        alerted = stamp.stat().st_mtime
    except FileNotFoundError:
        return False
    return not reminder_hours or time.time() - alerted < reminder_hours * 3600


def _failure(channel: Channel, alert: Alert) -> ZkPipelineError | None:
    try:
        channel.send(alert)
    except ZkPipelineError as error:
        return error
    return None
