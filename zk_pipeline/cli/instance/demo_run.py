"""The work of `zk-pipeline demo`, apart from the command, whose help must not import pandas."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pandas as pd

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import print_json, print_pairs
from zk_pipeline.config.home import find_home
from zk_pipeline.config.settings import load_settings
from zk_pipeline.demo.company import Company
from zk_pipeline.demo.hosts import install_instance_config, workers
from zk_pipeline.demo.live_traffic import punch_until
from zk_pipeline.demo.pushing import pushing_terminals, receiver
from zk_pipeline.demo.verification import true_punches
from zk_pipeline.demo.walkthrough import Summary, Walkthrough, comm_key_variable
from zk_pipeline.demo.workspace import Workspace
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.operations.alerting.problems import Links
from zk_pipeline.operations.alerting.routing import DEFAULT_QUEUE, group_by_queue
from zk_pipeline.runtime.processes import check_for_end, stop_event
from zk_pipeline.runtime.supervisor import Supervisor, check_port_is_free, single_instance
from zk_pipeline.simulator.company.workforce import Workforce
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import utc_now

if TYPE_CHECKING:
    from zk_pipeline.runs.launcher import Launcher


def run_demo(company: Company, *, no_ui: bool, port: int, dagster_yaml: Path | None, as_json: bool) -> None:
    """Run the whole pipeline once, compare its numbers, and serve the UI unless `no_ui`.

    Raises ZkPipelineError if the numbers do not agree.
    """
    began = time.monotonic()
    many_hosts = dagster_yaml is not None
    if many_hosts or not no_ui:
        check_port_is_free(port)
    place = Workspace(_demo_home())
    place.create()
    with ExitStack() as stack:
        stack.enter_context(single_instance(place.home))
        storage = stack.enter_context(place.prepare(company, until=utc_now()))
        fleet = stack.enter_context(Fleet.serve(storage.terminals()))
        token = secrets.token_urlsafe(24)
        crm = stack.enter_context(CrmReceiver(token=token, ledger_path=place.ledger))
        truth = storage.truth()
        install_instance_config(place.home, dagster_yaml)
        variables = _variables(storage.workforce, truth, crm.url, token)
        place.enter(os.environ, variables | ({"POLL_QUEUES": "*={site}"} if many_hosts else {}))
        settings = load_settings()
        url = stack.enter_context(receiver(settings))
        pushing = stack.enter_context(pushing_terminals(url, storage.workforce, fleet))
        show = Walkthrough(settings, storage.workforce, fleet, pushing, crm, _say)
        show.register()
        serving = partial(Supervisor, place.home, dict(os.environ), port, logs=place.logs)
        supervisor = stack.enter_context(serving()) if many_hosts else None  # its daemon submits runs to the workers
        if many_hosts:
            queues = [*group_by_queue(show.store.devices.all(), show.settings.poll_rules or {}), DEFAULT_QUEUE]
            stack.enter_context(workers(place.home, dict(os.environ), queues, place.logs))
        with open_context().launcher() as launcher:
            if many_hosts:
                _wait_for_daemon(launcher)
            summary = show.run(launcher, true_punches(truth))
        _print(summary, time.monotonic() - began, as_json)
        if not summary.agrees:
            raise ZkPipelineError("the numbers of the demo do not agree: see the lines marked NOT above")
        if not no_ui:
            stopped = stack.enter_context(stop_event())
            supervisor = supervisor or stack.enter_context(serving())
            _say(f"Dagster UI at {supervisor.url} (lineage: {Links(supervisor.url).lineage()})")
            _say("The terminals record further punches; schedules and sensors deliver them to the CRM. Ctrl-C ends it.")
            punch_until(stopped, fleet, storage.workforce, now=utc_now, check=supervisor.check)


def _wait_for_daemon(launcher: Launcher) -> None:
    from zk_pipeline.runs.submit import check_daemon  # noqa: PLC0415 (Dagster, slow to import)

    deadline = time.monotonic() + 60
    while True:
        try:
            return check_daemon(launcher.instance, launcher.names)
        except ZkPipelineError:
            if time.monotonic() > deadline:
                raise
        check_for_end()
        time.sleep(0.5)


def _demo_home() -> Path:
    try:
        return find_home(os.environ) / ".demo"
    except UsageError:  # an installed package without ZK_PIPELINE_HOME
        return Path.cwd() / ".demo"


def _variables(workforce: Workforce, truth: pd.DataFrame, crm_url: str, token: str) -> dict[str, str]:
    first = truth["punched_at_local"].min()
    started = utc_now().date() if pd.isna(first) else first.date()
    keys = {comm_key_variable(one.name): str(one.comm_key) for one in workforce.terminals if one.comm_key}
    return keys | {
        "CRM_API_URL": crm_url,
        "CRM_API_TOKEN": token,
        "POLLING_INTERVAL_MINUTES": "1",
        "CRM_SYNC_INTERVAL_MINUTES": "1",
        "ZK_PIPELINE_HISTORY_START": started.isoformat(),
    }


def _say(message: str) -> None:
    click.echo(message, err=True)


def _print(summary: Summary, seconds: float, as_json: bool) -> None:
    if as_json:
        print_json(asdict(summary) | {"agrees": summary.agrees, "seconds": round(seconds, 1)})
        return
    print_pairs(
        {
            "terminals": summary.terminals,
            "of them push": summary.terminals_pushing,
            "employees": summary.employees,
            "new punches stored": summary.punches_new,
            "of them pushed": summary.punches_pushed,
            "days added or changed": summary.days_made,
            "days delivered to the CRM": summary.delivered,
            "seconds": f"{seconds:.0f}",
        }
    )
    for check in summary.checks:
        sign = "ok " if check.agrees else "NOT"
        click.echo(f"{sign} {check.what}: {check.expected} = {check.found}")
        for wrong in check.wrong:
            click.echo(f"      {wrong}")
