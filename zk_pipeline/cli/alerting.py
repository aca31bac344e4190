"""`watchdog` and `alert-test`: is anybody watching, and would anybody hear of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import click

from zk_pipeline.cli.context import CliContext, open_context
from zk_pipeline.cli.output import as_json, print_json, print_table
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.operations.alerting.channels import Alert, Channel, parse_channels
from zk_pipeline.operations.alerting.messages import Observation, decide, send_due
from zk_pipeline.operations.alerting.problems import daemon_problem
from zk_pipeline.store.errors import StoreBusy, StoreUnusable
from zk_pipeline.store.quality.alerts import Problem
from zk_pipeline.store.store import utc_now

_STAMP = "data/watchdog-told"  # only where the store cannot be used: when that was told last


@click.command()
@as_json
def watchdog(as_json: bool) -> int:
    """Tell people when the daemon does not beat. For cron or a systemd timer, every few minutes.

    It compares heartbeats itself and sends alerts without the daemon, each once, with reminders; also those that are
    still waiting for their channel. Exit code 1 where something is wrong.

    \b
    Example:  zk-pipeline watchdog --json
    """
    from zk_pipeline.runs.watchdog import daemon_liveness_problem  # noqa: PLC0415 (Dagster, slow to import)

    session = open_context()
    with session.launcher() as launcher:
        wrong = daemon_liveness_problem(launcher.instance, utc_now())
    problems = [daemon_problem(wrong)] if wrong else []
    channels = parse_channels(session.settings.alert_urls)
    try:
        failures = _tell(session, channels, problems)
    except (StoreBusy, StoreUnusable) as error:
        wrong = " ".join(filter(None, [wrong, str(error)]))
        failures = _tell_without_store(session, channels, wrong)
    if as_json:
        print_json({"alive": wrong is None, "problem": wrong, "channels": len(channels), "failures": failures})
    else:
        click.echo(wrong or "alive")
    if wrong and not channels:
        failures = ["ALERT_URLS is not set: nobody was told"]
    for failure in failures:
        click.echo(f"zk-pipeline: {failure}", err=True)
    return 1 if wrong else 0


@click.command("alert-test")
@as_json
def alert_test(as_json: bool) -> int:
    """Send a test message to every channel of ALERT_URLS.

    \b
    Example:  zk-pipeline alert-test
    """
    channels = parse_channels(open_context().settings.alert_urls)
    if not channels:
        raise UsageError("ALERT_URLS is not set: nobody would be told of anything")
    alert = Alert("zk_pipeline: test", "This is a test of ALERT_URLS, asked for with `zk-pipeline alert-test`.")
    failures = [_failure(one, alert) for one in channels]
    rows = [
        {
            "channel": one.name,
            "hears_of": " and ".join(sorted(one.routes)) or "everything",
            "result": str(failure or "sent"),
        }
        for one, failure in zip(channels, failures, strict=True)
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, list(rows[0]))
    return 2 if any(isinstance(one, UsageError) for one in failures) else int(any(failures))


def _tell(session: CliContext, channels: Sequence[Channel], problems: Sequence[Problem]) -> list[str]:
    store = session.store
    look = Observation(problems, {"daemon"}, utc_now())
    reminder = timedelta(hours=session.settings.alert_reminder_hours)
    store.alerts.update(partial(decide, look=look, channels=channels, reminder=reminder))
    return send_due(store, channels)[1] if channels else []


def _tell_without_store(session: CliContext, channels: Sequence[Channel], words: str) -> list[str]:
    stamp = session.settings.home / _STAMP
    if not channels or _is_recent(stamp, session.settings.alert_reminder_hours):
        return []
    alert = Alert("zk_pipeline: the store cannot be used", words)
    failures = [str(failure) for one in channels if (failure := _failure(one, alert))]
    if len(failures) < len(channels):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
    return failures


def _is_recent(stamp: Path, reminder_hours: float) -> bool:
    try:
        told = stamp.stat().st_mtime
    except FileNotFoundError:
        return False
    return not reminder_hours or time.time() - told < reminder_hours * 3600


def _failure(channel: Channel, alert: Alert) -> ZkPipelineError | None:
    try:
        channel.send(alert)
    except ZkPipelineError as error:
        return error
    return None
