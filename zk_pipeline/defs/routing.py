"""Former place of `RoutedRunCoordinator`, which `dagster.yaml` of running deployments names."""

from zk_pipeline.defs.instance.run_coordinator import RoutedRunCoordinator

__all__ = ["RoutedRunCoordinator"]
