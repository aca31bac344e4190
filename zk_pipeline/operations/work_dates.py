"""Rules and latest date of work dates, from the settings."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.config.settings import Settings

_EASTERNMOST = timezone(timedelta(hours=14))


def work_rules(settings: Settings) -> WorkRules:
    """The work rules from the settings."""
    return WorkRules(
        start=settings.work_start,
        end=settings.work_end,
        workday_starts_at=settings.workday_starts_at,
        early_clock_in=timedelta(hours=settings.early_clock_in_hours),
        late_clock_in=timedelta(hours=settings.late_clock_in_hours),
        early_clock_out=timedelta(hours=settings.early_clock_out_hours),
        late_clock_out=timedelta(hours=settings.late_clock_out_hours),
        debounce_seconds=settings.debounce_seconds,
        workday_is_set=settings.workday_starts_at_set is not None,
    )


def last_work_date(settings: Settings, now: datetime) -> date:
    """Latest work date with a partition that has begun in any time zone at the aware instant `now`."""
    newest_partition = now.astimezone(ZoneInfo(settings.timezone)).date() + timedelta(days=1)
    return min(newest_partition, now.astimezone(_EASTERNMOST).date())
