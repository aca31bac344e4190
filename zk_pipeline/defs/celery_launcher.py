"""Alias of `WorkerLauncher` for `dagster.yaml` files that name its former module."""

from zk_pipeline.defs.instance.celery_launcher import WorkerLauncher

__all__ = ["WorkerLauncher"]
