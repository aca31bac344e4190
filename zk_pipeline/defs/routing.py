"""Alias of `SiteQueueRunCoordinator` for `dagster.yaml` files that name its former module and class."""

from zk_pipeline.defs.instance.run_coordinator import RoutedRunCoordinator

__all__ = ["RoutedRunCoordinator"]
