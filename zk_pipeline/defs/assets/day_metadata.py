"""What the UI shows of a materialized work date. The figures are the store's."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg

from zk_pipeline.defs.assets.plots import bars
from zk_pipeline.defs.metadata import preview
from zk_pipeline.store.days.day_statistics import BEFORE, DateStatistics, RangeStatistics
from zk_pipeline.store.days.days import DateWritten


def date_metadata(written: DateWritten, shown: RangeStatistics) -> dict[str, dg.MetadataValue]:
    """Counts as numbers, which the UI draws over time; the plots and the preview only of a date that has any."""
    day = written.work_date
    found = shown.dates.get(day, DateStatistics())
    counts = {
        "dagster/partition_row_count": written.rows,
        "added": written.added,
        "changed": written.changed,
        "unchanged": written.unchanged,
        "retracted": written.retracted,
        "incomplete": found.incomplete,
        "outlier_rows": found.outliers,
        "made_from_punches": found.punches,
        "made_from_polls": found.polls,
        "made_from_devices": found.devices,
    }
    metadata: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(count) for name, count in counts.items()}
    metadata["outliers"] = dg.MetadataValue.json(dict(found.codes))
    if found.punches:
        labels = ["" if hour % 6 else f"{hour:02}" for hour in range(24)]
        metadata["punches_by_hour"] = bars("punches by hour of the wall clock", labels, found.hours)
    if day in shown.previews:
        metadata["outliers_by_day"] = _outliers_by_day(day, shown)
        metadata["preview"] = preview(shown.previews[day])
    return metadata


def _outliers_by_day(day: date, shown: RangeStatistics) -> dg.MarkdownMetadataValue:
    month = [day - BEFORE + timedelta(days=number) for number in range(BEFORE.days + 1)]
    return bars(
        "outliers by day, this date the last",
        ["" if (day - one).days % 10 else f"{one:%m-%d}" for one in month],
        [shown.outliers.get(one, 0) for one in month],
    )
