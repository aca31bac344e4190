"""Former place of `WorkerLauncher`, which `dagster.yaml` of running deployments names."""

from zk_pipeline.defs.instance.celery_launcher import WorkerLauncher

__all__ = ["WorkerLauncher"]
