"""The copy of the store that analysts read: renewed at the end of each run that made days."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg

from zk_pipeline.config.settings import load_settings
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.store import Store


def publish_snapshot(store: Store, tell: Callable[[str], object]) -> None:
    """Renew PUBLISH_SNAPSHOT, where it is set. Raises Failure: the days are made, but analysts see old ones."""
    file = load_settings().snapshot_path
    if file is None:
        return
    try:
        held_ms = store.backups.publish(file)
    except ZkPipelineError as error:
        raise dg.Failure(f"the days are made, but {file} was not renewed: {error}", allow_retries=False) from error
    tell(f"{file} renewed; writers waited for {held_ms:.0f} ms")
