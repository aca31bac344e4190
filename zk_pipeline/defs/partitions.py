"""Partitions definitions, and the fewest partition ranges that cover a set of dates or devices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.dagster_internals import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

WORK_DATES_TAG = "zk_pipeline/work_dates"  # on the runs page, which does not show the range of partitions
# On runs that process work dates because they are stale: of each, only the sites that make it so. Others are requests
# for the dates, and process all sites.
STALE_SITES_TAGS = {"zk_pipeline/sites": "stale ones"}


def work_date_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition per work date from ZK_PIPELINE_HISTORY_START up to and including tomorrow in the default time zone:
    at sites east of that zone, tomorrow's work date has already begun.
    """
    return dg.DailyPartitionsDefinition(
        start_date=settings.history_start.isoformat(), timezone=settings.timezone, end_offset=2
    )


@dataclass(frozen=True)
class DateRange:
    """Work dates from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def tags(self) -> dict[str, str]:
        return {**range_tags(self.first.isoformat(), self.last.isoformat()), WORK_DATES_TAG: str(self)}

    def __str__(self) -> str:
        return f"{self.first}..{self.last}" if self.first != self.last else str(self.first)


def range_tags(first: str, last: str) -> dict[str, str]:
    """Dagster tags of a single run over the partitions from `first` to `last`."""
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def device_range_tags(partitions: Sequence[str], wanted: Collection[str]) -> list[dict[str, str]]:
    """Tags of the fewest runs that cover exactly the `wanted` device partitions, in partition order.

    A failed run marks every partition of its range as failed that it did not materialize, so a range must not include
    other partitions.
    """
    runs = [list(names) for is_wanted, names in groupby(partitions, wanted.__contains__) if is_wanted]
    return [range_tags(names[0], names[-1]) for names in runs]


def contiguous(dates: Iterable[date]) -> list[DateRange]:
    """The fewest ranges that cover exactly `dates`, ascending."""
    ranges: list[DateRange] = []
    for day in sorted(set(dates)):
        if ranges and day - ranges[-1].last == timedelta(days=1):
            ranges[-1] = DateRange(ranges[-1].first, day)
        else:
            ranges.append(DateRange(day, day))
    return ranges


def newest_range(dates: Iterable[date]) -> DateRange:
    """The last contiguous range of `dates`, which must not be empty."""
    return contiguous(dates)[-1]


def as_dates(keys: Sequence[str]) -> list[date]:
    return [date.fromisoformat(key) for key in keys]
