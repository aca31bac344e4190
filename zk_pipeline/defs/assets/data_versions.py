"""Data versions of materializations. Dagster shows a partition as stale if the data version of a partition that it
depends on has changed since the event that its materialization names, or the code version of its asset.
"""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg

from zk_pipeline.defs.dagster_internals import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)


@dataclass(frozen=True)
class UpstreamEvent:
    """The latest event of an upstream asset, of whichever partition, when a step began to read its data."""

    asset: dg.AssetKey
    storage_id: int
    data_version: str

    @classmethod
    def materialized(cls, instance: dg.DagsterInstance, asset: dg.AssetKey) -> UpstreamEvent:
        found = instance.fetch_materializations(asset, limit=1).records
        event = found[0].asset_materialization if found else None
        return cls._of(asset, found[0].storage_id if found else None, event)

    @classmethod
    def observed(cls, instance: dg.DagsterInstance, asset: dg.AssetKey) -> UpstreamEvent:
        found = instance.fetch_observations(asset, limit=1).records
        event = found[0].asset_observation if found else None
        return cls._of(asset, found[0].storage_id if found else None, event)

    @classmethod
    def _of(
        cls, asset: dg.AssetKey, storage_id: int | None, event: dg.AssetMaterialization | dg.AssetObservation | None
    ) -> UpstreamEvent:
        # Without an event any later one is newer than the first of the instance. Dagster compares nothing with "none".
        version = (event.tags or {}).get(DATA_VERSION_TAG) if event is not None else None
        return cls(asset, storage_id or 1, version or DEFAULT_DATA_VERSION.value)


def version_tags(context: dg.AssetExecutionContext, data_version: object, upstream: UpstreamEvent) -> dict[str, str]:
    """Tags of a materialization that the step logs: code version, data version, and what it was computed from."""
    return {
        CODE_VERSION_TAG: str(context.assets_def.get_asset_spec(context.asset_key).code_version),
        DATA_VERSION_TAG: str(data_version),
        get_input_data_version_tag(upstream.asset): upstream.data_version,
        get_input_event_pointer_tag(upstream.asset): str(upstream.storage_id),
    }
