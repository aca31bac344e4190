"""`zk-pipeline worker`: execute runs of one or several Celery queues on this host until interrupted."""

from __future__ import annotations

from collections.abc import Sequence

import click

from zk_pipeline.cli.context import CliContext, open_context
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.alerting.routing import DEFAULT_QUEUE, group_by_queue
from zk_pipeline.runtime.processes import in_main_thread


@click.command()
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Queue to consume (repeatable).")
@click.option("--concurrency", type=click.IntRange(min=1), help="Runs at a time.  [default: one per queue]")
@click.option("--name", metavar="NAME", help="Name of this worker, unique on this host.  [default: its queues]")
def worker(*, queues: Sequence[str], concurrency: int | None, name: str | None) -> int:
    """Execute runs on this host. The queue of a site has the polls of its terminals; `dagster` has all other runs.

    Runs arrive through the broker in dagster.yaml (deploy/celery). SIGTERM or Ctrl-C stops the worker after its
    current runs; a run whose worker is killed is started once more.

    \b
    Example:  zk-pipeline worker --queue izmir
    """
    context = open_context()
    if not queues:
        raise UsageError(f"name a queue with --queue: {'; '.join(_known(context))}")
    try:
        from zk_pipeline.runs.celery_worker import run_worker  # noqa: PLC0415 (Dagster and Celery, slow to import)
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed: install zk-pipeline with its extra `celery`") from None
    return in_main_thread(
        lambda: run_worker(queues, name=name or "-".join(queues), concurrency=concurrency or len(queues))
    )


def _known(context: CliContext) -> list[str]:
    """Each queue and its runs."""
    devices_of = group_by_queue(context.store.devices.all(), context.settings.poll_rules or {})
    sites = {queue: sorted({device.site for device in devices}) for queue, devices in devices_of.items()}
    known = [f"{queue} (polls of {', '.join(names)})" for queue, names in sites.items() if queue != DEFAULT_QUEUE]
    return [*known, f"{DEFAULT_QUEUE} (all other runs)" if known else f"{DEFAULT_QUEUE} (all runs)"]
