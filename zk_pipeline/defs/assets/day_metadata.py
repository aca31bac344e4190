"""Materialization metadata of a work date, from the store's figures."""

from __future__ import annotations

from datetime import date, timedelta

import dagster as dg

from zk_pipeline.defs.assets.plots import bars
from zk_pipeline.defs.metadata import preview
from zk_pipeline.store.days.day_statistics import BEFORE, DateStatistics, RangeStatistics
from zk_pipeline.store.days.days import DateWritten


def date_metadata(written: DateWritten, span: RangeStatistics) -> dict[str, dg.MetadataValue]:
    """Counts, which the UI plots over the work dates; charts and preview only for a date with punches.
    `processed_sites` only if these are not all sites.
    """
    day = written.work_date
    figures = span.dates.get(day, DateStatistics())
    counts = {
        "dagster/partition_row_count": written.rows,
        "incomplete": figures.incomplete,
        "outlier_rows": figures.outliers,
        "source_punches": figures.punches,
        "source_devices": figures.devices,
    }
    metadata: dict[str, dg.MetadataValue] = {name: dg.MetadataValue.int(count) for name, count in counts.items()}
    names = ("added", "changed", "unchanged", "retracted")
    metadata["changes"] = dg.MetadataValue.json({name: getattr(written, name) for name in names})
    if written.sites is not None:
        metadata["processed_sites"] = dg.MetadataValue.text(", ".join(written.sites))
    metadata["outliers"] = dg.MetadataValue.json(dict(figures.codes))
    if figures.punches:
        labels = ["" if hour % 6 else f"{hour:02}" for hour in range(24)]
        metadata["punches_by_hour"] = bars("punches by hour (local time)", labels, figures.hours)
    if day in span.previews:
        metadata["outliers_by_day"] = _outliers_by_day(day, span)
        metadata["preview"] = preview(span.previews[day])
    return metadata


def _outliers_by_day(day: date, span: RangeStatistics) -> dg.MarkdownMetadataValue:
    month = [day - BEFORE + timedelta(days=number) for number in range(BEFORE.days + 1)]
    return bars(
        "outliers by work date",
        ["" if (day - one).days % 10 else f"{one:%m-%d}" for one in month],
        [span.outliers.get(one, 0) for one in month],
    )
