"""`zk-pipeline up`: Dagster's webserver and daemon, and the receiver if it is enabled, under supervision."""

from __future__ import annotations

import os

import click

from zk_pipeline.cli.context import PORT, open_context
from zk_pipeline.operations.alerting.problems import Links
from zk_pipeline.operations.sync import check_crm
from zk_pipeline.runtime.processes import stop_event
from zk_pipeline.runtime.supervisor import Supervisor, check_port_is_free, check_receiver_port, single_instance


@click.command()
@click.option("--port", type=PORT, default=3000, show_default=True, help="Port of the Dagster UI, on loopback.")
def up(port: int) -> int:
    """Production start on one machine: webserver and daemon, schedules and sensors running. Runs until interrupted.

    The Dagster UI listens on loopback only, and has no login unless UI_LOGIN_REQUIRED is set. For other machines, put a
    reverse proxy with authentication in front and set ZK_PIPELINE_UI_URL to its address. With RECEIVER_ENABLED, the
    receiver for terminals that push runs as well.

    \b
    Example:  zk-pipeline up --port 3000
    """
    context = open_context()
    settings = context.settings
    home = settings.home
    receiver = (settings.receiver_host, settings.receiver_port) if settings.receiver_enabled else None
    with stop_event() as stopped, single_instance(home):
        check_port_is_free(port)
        if receiver is not None:
            check_receiver_port(*receiver)
        # The first use of the store by a newer version upgrades it: not before this is certain to be the only `up`.
        with context.store.database.read("check the store"):
            pass  # an unusable store fails the command, not the first tick
        if settings.crm_api_url is not None:
            check_crm(settings)  # so does a setting that would fail every sync
        with Supervisor(home, dict(os.environ), port, receiver=receiver) as supervisor:
            click.echo(f"Dagster UI at {supervisor.url} (home {home}); Ctrl-C ends it", err=True)
            click.echo(f"Lineage: {Links(supervisor.url).lineage()}", err=True)
            while not stopped.wait(1.0):
                supervisor.check()
    return 0
