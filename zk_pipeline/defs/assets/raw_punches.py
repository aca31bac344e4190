"""Assets `devices` (the registry) and `raw_punches` (one partition per device)."""

# No postponed annotations: Dagster inspects them.

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from functools import partial

import dagster as dg
from pydantic import Field

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.assets.admin_links import AdminLinks
from zk_pipeline.defs.assets.asset_attributes import asset_attributes
from zk_pipeline.defs.assets.data_versions import UpstreamEvent, data_version, version_tags
from zk_pipeline.defs.assets.step_output import NOTHING, step_output
from zk_pipeline.defs.assets.work_dates import observations
from zk_pipeline.defs.checks.quality_checks import run_evaluations, terminal_results
from zk_pipeline.defs.failures import observe_failures, partial_failure
from zk_pipeline.defs.metadata import preview
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.resources import StoreResource, TerminalsResource, with_resource_keys
from zk_pipeline.devices.errors import check_polled
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.reading import read_terminal
from zk_pipeline.operations.files.tables import device_table
from zk_pipeline.operations.poll import DevicePolled, poll_devices
from zk_pipeline.operations.process import stale_dates
from zk_pipeline.operations.work_dates import last_work_date
from zk_pipeline.store.store import Store

NO_PUNCHES = "no punches"  # data version
MAX_DATES_SHOWN = 10


class PollConfig(dg.Config):
    """Devices of the run's partitions to poll, and the kind of poll."""

    devices: list[str] = Field(
        default_factory=list, description="Devices to poll; empty: all enabled ones that are polled"
    )
    full: bool = Field(default=False, description="Full poll: read the whole log, not only new records")
    lock_while_reading: bool = Field(default=False, description="Lock the keypad while the log is read")


def registry_metadata(devices: Sequence[Device]) -> dict[str, dg.MetadataValue]:
    """Metadata of the asset `devices`."""
    return {
        "dagster/row_count": dg.MetadataValue.int(len(devices)),
        "enabled": dg.MetadataValue.int(sum(device.enabled for device in devices)),
        "sites": dg.MetadataValue.int(len({device.site for device in devices})),
        "preview": preview(device_table(devices[:50])),
    }


def _devices(store: StoreResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    return dg.MaterializeResult(metadata=registry_metadata(store.open().devices.all()))


def _raw_punches(
    context: dg.AssetExecutionContext, config: PollConfig, store: StoreResource, terminals: TerminalsResource
) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
    opened = store.open()
    named = set(config.devices)
    keys = set(context.partition_keys)
    registered = [device for device in opened.devices.all() if device.name in keys]
    chosen = [device for device in registered if (device.name in named if named else device.is_polled)]
    check_polled(chosen)
    context.log.info("polling %d devices", len(chosen))
    failures: dict[str, str] = {}
    touched: set[date] = set()
    (registry,) = context.assets_def.dependency_keys
    upstream = UpstreamEvent.materialized(context.instance, registry)
    links = AdminLinks(terminals.pipeline.admin_url)
    read = partial(terminals.gateway().read, lock_while_reading=config.lock_while_reading)
    for polled in poll_devices(
        opened,
        chosen,
        read,
        deadline_seconds=terminals.deadline,
        run_id=context.run.run_id,
        full=config.full,
    ):
        name = polled.device.name
        if polled.error is not None:
            context.log.error("%s", polled.summary)
            failures[name] = polled.summary
            continue
        if polled.ingested is not None:
            touched |= polled.ingested.touched.keys()
            for warning in polled.ingested.warnings:
                context.log.warning("%s", warning)
        try:
            context.log_event(_event(context, opened, polled, links, upstream))
        except Exception as error:  # go on with the other devices; device_polls has the result of this one
            context.log.exception("%s was stored, but its materialization could not be logged", name)
            failures[name] = (
                f"{polled.summary}; stored, but not logged as materialization ({type(error).__name__}: {error})"
            )
    if touched:
        _observe_dates(context, opened, terminals.pipeline, touched)
    names = Names(terminals.pipeline.key_prefix)
    yield from run_evaluations(context, names, terminal_results(opened), is_failing=bool(failures))
    if not named:  # a backfill of all partitions ends as failed if one of them has no materialization
        for device in registered:
            if not device.is_polled:
                context.log_event(_event_without_poll(context, device, upstream))
    if failures:
        observe_failures(context, failures)
        raise partial_failure("device", failures, len(chosen))
    yield step_output()


def _event(
    context: dg.AssetExecutionContext, store: Store, polled: DevicePolled, links: AdminLinks, upstream: UpstreamEvent
) -> dg.AssetMaterialization:
    """Materialization of one device's poll. One event per device: each is a transaction in Dagster's event log."""
    event_metadata = _poll_metadata(polled) | links.device(polled.device.id)
    ingested = polled.ingested
    if ingested is not None and ingested.new:
        event_metadata["preview"] = preview(store.punches.preview(polled.device.name, ingested.poll_id))
    version = ingested and ingested.punch_version
    return dg.AssetMaterialization(
        context.asset_key,
        partition=polled.device.name,
        description=polled.summary,
        metadata=event_metadata,
        tags=version_tags(context, version or NO_PUNCHES, upstream),
    )


def _observe_dates(
    context: dg.AssetExecutionContext, store: Store, settings: Settings, touched: Collection[date]
) -> None:
    """Make the attendance days of the work dates with new punches stale, also if `new_punches_sensor` is off."""
    stale = stale_dates(store, settings, last=last_work_date(settings, store.clock()))
    found = [item for item in stale if item.work_date in touched]
    for event in observations(context.instance, Names(settings.key_prefix), found).values():
        if event is not None:
            context.log_event(event)


def _event_without_poll(
    context: dg.AssetExecutionContext, device: Device, upstream: UpstreamEvent
) -> dg.AssetMaterialization:
    """Materialization of a device without a poll: its punches are as before."""
    wanted = dg.AssetRecordsFilter(asset_key=context.asset_key, asset_partitions=[device.name])
    version = data_version(context.instance.fetch_materializations(wanted, limit=1).records)
    return dg.AssetMaterialization(
        context.asset_key,
        partition=device.name,
        description=f"{device.name} {_why_not_polled(device)}: not polled",
        tags=version_tags(context, version or NO_PUNCHES, upstream),
    )


def _why_not_polled(device: Device) -> str:
    if not device.enabled:
        return "is disabled"
    return "only pushes" if device.pushes else "gets its punches from files"


def _poll_metadata(polled: DevicePolled) -> dict[str, dg.MetadataValue]:
    """Numbers that compare devices, which the UI plots over them, and the figures of the poll."""
    reading, ingested = polled.reading, polled.ingested
    assert reading is not None
    assert ingested is not None
    drift = reading.info.clock_drift_seconds
    poll = {
        "mode": reading.mode,
        "fetched": ingested.fetched,
        "stored": ingested.stored,
        "quarantined": ingested.quarantined,
        "bytes_read": reading.bytes_read,
        "duration_seconds": round((polled.finished_at - polled.started_at).total_seconds(), 3),
        "clock_drift_seconds": None if drift is None else round(drift, 1),
    }
    metadata: dict[str, dg.MetadataValue] = {
        "source": dg.MetadataValue.text("poll"),
        "new_punches": dg.MetadataValue.int(ingested.new),
        "reported": dg.MetadataValue.int(reading.info.record_count),
        "fill_percent": dg.MetadataValue.float(
            round(100 * reading.record_count_after / max(1, reading.info.record_capacity), 1)
        ),
        "poll": dg.MetadataValue.json(poll),
        "affected_dates": dg.MetadataValue.json(_newest_dates(ingested.touched)),
    }
    if ingested.warnings:
        metadata["warnings"] = dg.MetadataValue.text("\n".join(ingested.warnings))
    return metadata


def _newest_dates(touched: Mapping[date, int]) -> dict[str, int]:
    """Number of new punches by work date; earlier dates in one number, since the UI shows long JSON behind a link."""
    days = sorted(touched, reverse=True)
    earlier = sum(touched[day] for day in days[MAX_DATES_SHOWN:])
    shown = {day.isoformat(): touched[day] for day in days[:MAX_DATES_SHOWN]}
    return shown | ({"earlier": earlier} if earlier else {})


def terminal_assets(settings: Settings) -> Sequence[dg.AssetsDefinition]:
    names = Names(settings.key_prefix)
    is_one_run = settings.poll_rules is None
    # Of both assets: otherwise the second step would wait for the pool in its process instead of in the run queue.
    pool = names.terminals_pool if is_one_run else None
    devices = dg.asset(
        key=names.asset("devices"),
        group_name="terminals",
        description="The registered terminals, as of the latest poll; `zk-pipeline device` adds and changes them. "
        "`last_sync` in the preview is the time of the last successful poll.",
        pool=pool,
        **asset_attributes("devices", settings, _devices),
    )(with_resource_keys(names)(_devices))
    raw_punches = dg.asset(
        key=names.asset("raw_punches"),
        group_name="terminals",
        description="All punches as read from the terminals or pushed by them, append-only. One partition per "
        "terminal, red if its latest poll failed: its page has the error. *Materialize* polls it now, with all punches "
        "since its last successful poll.",
        partitions_def=names.device_partitions,
        # With queues a backfill from the UI is one run per device, each in its own queue with a limit of one run.
        backfill_policy=dg.BackfillPolicy.single_run() if is_one_run else dg.BackfillPolicy.multi_run(1),
        deps=[names.asset("devices")],
        output_required=False,
        dagster_type=NOTHING,
        pool=pool,
        **asset_attributes("raw_punches", settings, _raw_punches, poll_devices, read_terminal),
    )(with_resource_keys(names)(_raw_punches))
    return [devices, raw_punches]
