"""Data versions of materializations. Dagster shows a partition as stale if the data version of a partition that it
depends on has changed since the event that its materialization names, or the code version of its asset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from zk_pipeline.defs.dagster_internals import (
    _OLD_DATA_VERSION_TAG,
    CODE_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

# Dagster reads a data version from either of two tags. It indexes the newer one, over a connection of its own for each
# event: a third of the CPU of an event in SQLite.
DATA_VERSION_TAG = _OLD_DATA_VERSION_TAG


@dataclass(frozen=True)
class UpstreamEvent:
    """The latest event of any partition of an upstream asset at the time when a step began to read its data."""

    asset: dg.AssetKey
    storage_id: int
    data_version: str

    @classmethod
    def materialized(cls, instance: dg.DagsterInstance, asset: dg.AssetKey) -> UpstreamEvent:
        return cls._of(asset, instance.fetch_materializations(asset, limit=1).records)

    @classmethod
    def observed(cls, instance: dg.DagsterInstance, asset: dg.AssetKey) -> UpstreamEvent:
        return cls._of(asset, instance.fetch_observations(asset, limit=1).records)

    @classmethod
    def _of(cls, asset: dg.AssetKey, latest: Sequence[dg.EventLogRecord]) -> UpstreamEvent:
        # Without an event, any later one is newer than the first of the instance: Dagster compares nothing with "none".
        storage_id = latest[0].storage_id if latest else 1
        return cls(asset, storage_id, data_version(latest) or DEFAULT_DATA_VERSION.value)


def data_version(latest: Sequence[dg.EventLogRecord]) -> str | None:
    """Data version of the first record; None without a record or a version."""
    version = extract_data_version_from_entry(latest[0].event_log_entry) if latest else None
    return None if version is None else version.value


def version_tags(context: dg.AssetExecutionContext, version: object, upstream: UpstreamEvent) -> dict[str, str]:
    """Tags of a materialization that the step logs: code version, data version, and what it was computed from."""
    return event_tags(context.assets_def.get_asset_spec(context.asset_key).code_version, version, upstream)


def event_tags(code_version: str | None, version: object, upstream: UpstreamEvent) -> dict[str, str]:
    """As `version_tags`, for a materialization without a step."""
    return {
        CODE_VERSION_TAG: str(code_version),
        DATA_VERSION_TAG: str(version),
        get_input_data_version_tag(upstream.asset): upstream.data_version,
        get_input_event_pointer_tag(upstream.asset): str(upstream.storage_id),
    }
