"""External asset `work_dates`: the store's table of that name, with daily partitions by work date.

No run materializes it: every command that stores punches or changes rules updates the table. A work date is observed
here when its attendance days become older than its punches or rules, which makes them stale in the UI.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import islice

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.assets.asset_attributes import asset_attributes
from zk_pipeline.defs.assets.data_versions import DATA_VERSION_TAG, data_version
from zk_pipeline.defs.instance.runs_in_progress import is_processing
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import work_date_partitions
from zk_pipeline.store.work_dates.sequence import mark_stale
from zk_pipeline.store.work_dates.staleness import StaleDate

MAX_OBSERVATIONS = 100  # at once, about half a second


def work_dates_asset(settings: Settings) -> dg.AssetSpec:
    names = Names(settings.key_prefix)
    return dg.AssetSpec(
        names.work_dates,
        group_name="attendance",
        description="The store's list of work dates. A date is observed here when it becomes stale: its punches or "
        "rules are newer than its attendance days, which are *unsynced* until `daily_attendance` is "
        "materialized.",
        partitions_def=work_date_partitions(settings),
        deps=[dg.AssetDep(names.asset("raw_punches"), partition_mapping=dg.AllPartitionMapping())],
        **asset_attributes("work_dates", settings, mark_stale),
    )


def observations(
    instance: dg.DagsterInstance, names: Names, stale: Sequence[StaleDate]
) -> dict[str, dg.AssetObservation | None]:
    """Observations of the stale work dates that have been processed before, by partition, at most MAX_OBSERVATIONS.
    None for a date whose latest observation has the same version.

    A run reads punches before it logs its materializations, which name the latest observation at its start. So nothing
    is observed during such a run.
    """
    known = {item.work_date.isoformat(): item for item in stale if item.processed_at is not None}
    if not known or is_processing(instance, names):
        return {}
    found: dict[str, dg.AssetObservation | None] = {}
    for day, item in islice(known.items(), MAX_OBSERVATIONS):
        is_known = _observed_version(instance, names, day) == item.version
        found[day] = None if is_known else _observation(names, item)
    return found


def _observation(names: Names, item: StaleDate) -> dg.AssetObservation:
    assert item.processed_at is not None
    is_over = item.latest_punch_seq <= item.processed_seq
    reason = "processed before the day was over" if is_over else "punches or rules newer than its attendance days"
    return dg.AssetObservation(
        names.work_dates,
        partition=item.work_date.isoformat(),
        metadata={"stale": reason, "processed_at": dg.MetadataValue.timestamp(item.processed_at)},
        tags={DATA_VERSION_TAG: item.version},
    )


def _observed_version(instance: dg.DagsterInstance, names: Names, day: str) -> str | None:
    wanted = dg.AssetRecordsFilter(asset_key=names.work_dates, asset_partitions=[day])
    return data_version(instance.fetch_observations(wanted, limit=1).records)


def report_partitions(instance: dg.DagsterInstance, names: Names, dates: Iterable[date]) -> None:
    """Show the partitions of work dates as filled, without a run: they stay so when runs are deleted."""
    for day in dates:
        instance.report_runless_asset_event(dg.AssetMaterialization(names.work_dates, partition=day.isoformat()))


def report_missing_partitions(instance: dg.DagsterInstance, names: Names, processed: Iterable[date]) -> None:
    """As `report_partitions`, for processed work dates of earlier releases."""
    known = instance.get_materialized_partitions(names.work_dates)
    report_partitions(instance, names, [day for day in processed if day.isoformat() not in known])
