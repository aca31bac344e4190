"""Sensor that shows pushed punches in the partitions of `raw_punches`, without a run."""

# No postponed annotations: Dagster inspects them.

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.counted import counted
from zk_pipeline.defs.assets.admin_links import AdminLinks
from zk_pipeline.defs.assets.data_versions import (
    DATA_VERSION_TAG,
    UpstreamEvent,
    data_version,
    event_tags,
)
from zk_pipeline.defs.assets.raw_punches import NO_PUNCHES, registry_metadata
from zk_pipeline.defs.automation.sensors import add_missing_partitions
from zk_pipeline.defs.dagster_internals import CODE_VERSION_TAG
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.resources import StoreResource, with_resource_keys
from zk_pipeline.devices.models import Device
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.push.batches import PushContact, UploadSummary
from zk_pipeline.store.push.push import NewUploads
from zk_pipeline.time_text import instant

LAST_UPLOAD = "last_upload"  # metadata: number of the last upload that the materialization includes
_PAGE = 1000  # events


@dataclass(frozen=True)
class Progress:
    """The cursor: number of the last materialized upload, and the newest event of `raw_punches` before that tick.

    The daemon logs the events of a tick before it saves its cursor. After a crash in between, the events after
    `event_id` show which uploads are materialized already.
    """

    upload: int
    event_id: int

    @classmethod
    def of(cls, cursor: str | None) -> "Progress":
        return cls(**json.loads(cursor)) if cursor else cls(0, 0)

    def to_cursor(self) -> str:
        return json.dumps(vars(self))


def push_sensor(
    settings: Settings, default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING
) -> dg.SensorDefinition:
    names = Names(settings.key_prefix)
    interval = timedelta(minutes=settings.polling_interval_minutes)

    @dg.sensor(
        name=names.unique("pushed_punches_sensor"),
        # As often as polls: each tick may log an event for each terminal.
        minimum_interval_seconds=int(interval.total_seconds()),
        default_status=default_status,
        description="Materializes the partition of each terminal that has pushed since the last tick, without a run: "
        "numbers of uploads, lines and new punches, and their delay.",
    )
    @with_resource_keys(names)
    def pushed_punches_sensor(
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        assert context.repository_def is not None
        instance, graph = context.instance, context.repository_def.asset_graph
        progress, asset = Progress.of(context.cursor), names.asset("raw_punches")
        newest = instance.fetch_materializations(asset, limit=1).records
        materialized = _materialized(instance, asset, progress)
        try:
            opened = store.open()
            found = opened.push.new_uploads(progress.upload, after_by_device=materialized)
            devices = opened.devices.all()
        except StoreBusy as error:
            return dg.SkipReason(str(error))
        # Before the events: an upload that the cursor has passed is not shown later.
        add_missing_partitions(instance, names.device_partitions_name, [one.name for one in devices])
        registry = names.asset("devices")
        events = _Events(
            asset,
            graph.get(asset).code_version,
            UpstreamEvent.materialized(instance, registry),
            AdminLinks(settings.admin_url),
            found,
            {one.name: one.id for one in devices},
        )
        made = events.of_uploads()
        if found.contacts and not any(one.is_polled for one in devices):  # nothing else shows that all is well
            made += events.of_contacts(opened.clock() - interval)
            made.append(_registry_event(instance, registry, graph.get(registry).code_version, devices))
        cursor = Progress(found.newest, newest[0].storage_id if newest else 0).to_cursor()
        if not made:
            context.update_cursor(cursor)
            return dg.SkipReason("no terminal has pushed since the last tick")
        return dg.SensorResult(asset_events=made, cursor=cursor)

    return pushed_punches_sensor


@dataclass(frozen=True)
class _Events:
    """Materializations of `raw_punches`; `ids`: of the registered devices."""

    asset: dg.AssetKey
    code_version: str | None
    upstream: UpstreamEvent
    links: AdminLinks
    found: NewUploads
    ids: Mapping[str, int | None]

    def of_uploads(self) -> list[dg.AssetMaterialization]:
        """One event per device that has pushed."""
        contacts = {one.device: one for one in self.found.contacts}
        return [
            self._event(one.device, _summary(one), _metadata(one, contacts.get(one.device)))
            for one in self.found.summaries
            if one.device in self.ids
        ]

    def of_contacts(self, since: datetime) -> list[dg.AssetMaterialization]:
        """One event per device that was in contact and has pushed nothing."""
        pushed = {one.device for one in self.found.summaries}
        return [
            self._event(one.device, f"{one.device}: no upload; last contact {instant(one.seen_at)}", {})
            for one in self.found.contacts
            if one.seen_at >= since and one.device in self.ids and one.device not in pushed
        ]

    def _event(self, device: str, description: str, metadata: dict[str, dg.MetadataValue]) -> dg.AssetMaterialization:
        version = self.found.versions.get(device, NO_PUNCHES)
        return dg.AssetMaterialization(
            self.asset,
            partition=device,
            description=description,
            metadata={"source": dg.MetadataValue.text("push"), **metadata, **self.links.device(self.ids[device])},
            tags=event_tags(self.code_version, version, self.upstream),
        )


def _materialized(instance: dg.DagsterInstance, asset: dg.AssetKey, progress: Progress) -> dict[str, int]:
    """Number of the last upload that an event after that of the cursor includes, by device."""
    found: dict[str, int] = {}
    wanted = dg.AssetRecordsFilter(asset_key=asset, after_storage_id=progress.event_id)
    page = instance.fetch_materializations(wanted, limit=_PAGE)
    while True:
        for record in page.records:
            event = record.asset_materialization
            number = event and event.metadata.get(LAST_UPLOAD)
            if event and event.partition and isinstance(number, dg.IntMetadataValue) and number.value is not None:
                found[event.partition] = max(found.get(event.partition, 0), number.value)
        if not page.has_more:
            return found
        page = instance.fetch_materializations(wanted, limit=_PAGE, cursor=page.cursor)


def _registry_event(
    instance: dg.DagsterInstance, registry: dg.AssetKey, code_version: str | None, devices: Sequence[Device]
) -> dg.AssetMaterialization:
    """Materialization of `devices`, as the step of a poll logs it."""
    version = data_version(instance.fetch_materializations(registry, limit=1).records) or "registry"
    tags = {CODE_VERSION_TAG: str(code_version), DATA_VERSION_TAG: version}
    return dg.AssetMaterialization(registry, metadata=registry_metadata(devices), tags=tags)


def _summary(one: UploadSummary) -> str:
    return f"{one.device}: {one.stored} new of {counted(one.lines, 'line')} in {counted(one.uploads, 'upload')}"


def _metadata(one: UploadSummary, contact: PushContact | None) -> dict[str, dg.MetadataValue]:
    """Numbers that compare devices, under the names of a poll where they are the same."""
    uploads = {
        "uploads": one.uploads,
        "lines": one.lines,
        "duplicates": one.duplicates,
        "quarantined": one.quarantined,
        "median_lag_seconds": _rounded(one.median_lag_seconds),
        "max_lag_seconds": _rounded(one.max_lag_seconds),
    }
    metadata: dict[str, dg.MetadataValue] = {
        "new_punches": dg.MetadataValue.int(one.stored),
        "push": dg.MetadataValue.json(uploads),
        LAST_UPLOAD: dg.MetadataValue.int(one.last_upload),
    }
    if contact is not None and contact.record_count is not None:
        metadata["reported"] = dg.MetadataValue.int(contact.record_count)
        if contact.record_capacity:
            fill = round(100 * contact.record_count / contact.record_capacity, 1)
            metadata["fill_percent"] = dg.MetadataValue.float(fill)
    return metadata


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
