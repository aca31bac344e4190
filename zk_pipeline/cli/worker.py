"""`zk-pipeline worker`: does runs on this host, of one or several queues, until it is told to end."""

from __future__ import annotations

from collections.abc import Sequence

import click

from zk_pipeline.cli.context import CliContext, open_context
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.alerting.routing import DEFAULT_QUEUE, group_by_queue
from zk_pipeline.runtime.processes import in_main_thread


@click.command()
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Whose runs to do; several are possible.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Runs at a time.  [default: one per queue]")
@click.option("--name", metavar="NAME", help="Of this worker, unique on this host.  [default: its queues]")
def worker(*, queues: Sequence[str], concurrency: int | None, name: str | None) -> int:
    """Do runs on this host. Those of a site's queue read its terminals, those of `dagster` do all else.

    Runs come through the broker that dagster.yaml names (deploy/celery). SIGTERM or Ctrl-C ends it once the runs that
    it does are done; a run whose worker is killed is started once more.

    \b
    Example:  zk-pipeline worker --queue izmir
    """
    session = open_context()
    if not queues:
        raise UsageError(f"name whose runs to do with --queue: {'; '.join(_known(session))}")
    try:
        from zk_pipeline.runs.celery_worker import run_worker  # noqa: PLC0415 (Dagster and Celery, slow to import)
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: install zk-pipeline with its extra `celery`") from None
    return in_main_thread(
        lambda: run_worker(queues, name=name or "-".join(queues), concurrency=concurrency or len(queues))
    )


def _known(session: CliContext) -> list[str]:
    """Each queue there is, and what it is for."""
    found = group_by_queue(session.store.devices.all(), session.settings.poll_rules or {})
    sites = {queue: sorted({device.site for device in devices}) for queue, devices in found.items()}
    known = [f"{queue} (polls of {', '.join(names)})" for queue, names in sites.items() if queue != DEFAULT_QUEUE]
    return [*known, f"{DEFAULT_QUEUE} (all else)"]
