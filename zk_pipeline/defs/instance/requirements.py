"""Requirements of the Dagster instance, for deployments with a `dagster.yaml` of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.instance.run_coordinator import check_run_coordinator
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.pools import pools_limit_runs
from zk_pipeline.errors import UsageError
from zk_pipeline.store.quality.doctor import Finding


def unmet_requirements(instance: dg.DagsterInstance, settings: Settings) -> Iterator[Finding]:
    """Findings about the instance: the missing setting, the consequence, and the lines for `dagster.yaml`."""
    yield from _pools(instance, Names(settings.key_prefix))
    if not instance.run_monitoring_enabled:
        yield Finding(
            "warning", "dagster-run-monitoring", "run monitoring is off: a run that loses its process on another host, "
            "or before it begins, stays in progress, and its schedule skips all ticks until the run is canceled",
            "add `run_monitoring: {enabled: true}` to dagster.yaml",
        )  # fmt: skip
    if not instance.run_retries_enabled:
        yield Finding(
            "note", "dagster-run-retries", "run retries are off: the work of a run that loses its process waits for "
            "the next tick of its schedule, up to an hour",
            "add `run_retries: {enabled: true}` to dagster.yaml; other jobs are retried only with max_retries",
        )  # fmt: skip
    if settings.poll_rules is not None:
        try:
            check_run_coordinator(instance)
        except UsageError as error:
            advice = "copy the sections run_coordinator and run_launcher of deploy/celery/dagster.yaml"
            yield Finding("error", "dagster-run-coordinator", str(error), advice)
    launcher = type(instance.run_launcher).__name__
    if isinstance(settings.store, Path) and not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        yield Finding(
            "warning", "dagster-run-launcher", f"{launcher} may start runs on other hosts or in containers without "
            f"{settings.store}, where each run creates an empty store",
            "mount its folder in all of them, on one host, or use a shared store (docs/shared-store.md)",
        )  # fmt: skip


def _pools(instance: dg.DagsterInstance, names: Names) -> Iterator[Finding]:
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        problem = "Dagster's storage has no pools: two polls or two syncs may run at the same time"
        yield Finding("warning", "dagster-pools", problem, "run `dagster instance migrate`")
        return
    for limit in storage.get_pool_limits():
        if limit.name in names.pools and limit.limit != 1:
            yield Finding(
                "warning", "dagster-pools", f"the limit of pool {limit.name} is {limit.limit} instead of 1: two polls "
                "or two syncs may run at the same time, and the second one waits for a lock or fails",
                f"run `dagster instance concurrency set {limit.name} 1`",
            )  # fmt: skip
    queue = instance.get_concurrency_config().run_queue_config
    is_queue_limited = queue is not None and queue.should_block_op_concurrency_limited_runs
    if pools_limit_runs(instance) and not is_queue_limited:
        yield Finding(
            "warning", "dagster-pool-granularity", "pools limit runs, but runs do not wait in a queue that looks at "
            "pools: two polls or two syncs may run at the same time, and the second one waits for a lock or fails",
            "remove run_coordinator from dagster.yaml: the default is a queue that looks at pools",
        )  # fmt: skip
    elif not pools_limit_runs(instance):
        yield Finding(
            "note", "dagster-pool-granularity", "pools limit steps, not runs: a run of a command or of the API that "
            "waits for another run uses a processor core",
            "add `concurrency: {pools: {granularity: run}}` to dagster.yaml, which applies to all pools; limits of "
            "run_queue then move to concurrency.runs",
        )  # fmt: skip
