"""Published copy of the store for analysts, renewed at the end of each processing run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.store import Store


def publish_snapshot(store: Store, file: Path | None, log: Callable[[str], object]) -> None:
    """Renew `file` (PUBLISH_SNAPSHOT), if set. Raises Failure: the work dates are processed, but the published copy is
    old.
    """
    if file is None:
        return
    try:
        locked_ms = store.backups.publish(file)
    except ZkPipelineError as error:
        message = f"the work dates are processed, but {file} was not renewed: {error}"
        raise dg.Failure(message, allow_retries=False) from error
    log(f"{file} renewed; store locked for {locked_ms:.0f} ms")
