"""Make days from punches: summarize in the store, judge in memory, write with revisions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from zk_pipeline.attendance.evaluate import evaluate_days
from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.sites import over_sites
from zk_pipeline.config.settings import Settings
from zk_pipeline.store.days.days import DateWritten
from zk_pipeline.store.errors import StoreBusy, StoreUnusable
from zk_pipeline.store.store import Store
from zk_pipeline.store.work_dates.staleness import StaleDate

# About 1 GB, and holds of two seconds, whatever the number of dates and people. Just under two row groups of DuckDB's,
# 122,880: a few more rows begin a third, which is written again with the next part (a sixth of all the work), and half
# as many rows at once cost a third more.
_ROWS_AT_ONCE, _FIRST_PART, _LARGEST_PART = 240_000, 14, 366
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Processed:
    """`written` and `failed` (date → why) together are the dates asked for, less `overtaken`.

    `overtaken`: dates that another run built from newer punches while this one computed; their rows are right.
    """

    written: list[DateWritten]
    failed: dict[date, str]
    overtaken: list[date]


def work_rules(settings: Settings) -> WorkRules:
    """The rules that the settings describe."""
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


def stale_dates(store: Store, settings: Settings, *, last: date) -> list[StaleDate]:
    """The work dates up to `last` whose rows are older than their punches, as the settings group punches into dates."""
    rules = work_rules(settings)
    found = store.days.stale_by(rules, first=settings.history_start, last=last)
    if found is not None:
        return found
    store.punches.adopt_settings(rules)
    return store.days.stale(first=settings.history_start, last=last)


def process_dates(
    store: Store,
    dates: Sequence[date],
    rules: WorkRules,
    *,
    run_id: str | None,
    per_site: bool = False,
    made: Callable[[Sequence[DateWritten]], None] = lambda _: None,
) -> Processed:
    """Make the rows of `dates` from all their punches; doing it again changes nothing. `per_site`: the CRM is told
    one record per site and not per person (CRM_RECORD_PER).

    Many dates are judged and written together, and `made` is told of each such part once it is committed. Where that
    fails each is tried alone, so that one bad date leaves the others done. Raises StoreBusy or StoreUnusable; any other
    failure is a date's own.
    """
    final = store.days.deleted_raw(dates)
    failed = dict.fromkeys(final, "its punches were deleted by RAW_RETENTION_DAYS; its rows are final")
    wanted = [day for day in dates if day not in failed]
    written: list[DateWritten] = []
    make = partial(_make, store, rules=rules, run_id=run_id, per_site=per_site)
    left, size = wanted, _FIRST_PART
    while left:
        part, left = left[:size], left[size:]
        committed = _make_part(make, part, failed)
        if committed:
            made(committed)
        written += committed
        size = _next_size(committed)
    done = {item.work_date for item in written}
    return Processed(written, failed, [day for day in wanted if day not in done and day not in failed])


def _next_size(written: Sequence[DateWritten]) -> int:
    """How many dates to make at once after a part like this one, for memory and holds of the store to stay bounded."""
    rows = sum(item.rows for item in written) / max(1, len(written))
    return max(1, min(_LARGEST_PART, int(_ROWS_AT_ONCE / max(1.0, rows))))


def _make_part(
    make: Callable[[Sequence[date]], list[DateWritten]], part: Sequence[date], failed: dict[date, str]
) -> list[DateWritten]:
    """The dates of `part` together, else one by one; what fails alone is added to `failed`."""
    try:
        return make(part)
    except (StoreBusy, StoreUnusable):
        raise
    except Exception:
        _log.exception("processing %d dates at once failed; trying each alone", len(part))
    written = []
    for day in part:
        try:
            written += make([day])
        except (StoreBusy, StoreUnusable):
            raise
        except Exception as error:
            _log.exception("processing %s failed", day)
            failed[day] = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
    return written


def _make(
    store: Store, dates: Sequence[date], *, rules: WorkRules, run_id: str | None, per_site: bool
) -> list[DateWritten]:
    summaries = store.days.summarize(
        dates, workday_starts_at=rules.workday_starts_at, debounce_seconds=rules.debounce_seconds
    )
    now = store.clock()
    judged = evaluate_days(summaries.frame, rules, now, summaries.shifts)
    several = over_sites(summaries.frame, debounce_seconds=rules.debounce_seconds, apart=summaries.namesakes)
    # Rows judged too early are looked at again after that, and the merged ones with them: they end with these.
    merged = evaluate_days(several, rules, now, summaries.shifts).days if len(several) and not per_site else None
    return store.days.write(
        judged.days,
        seq=summaries.seq,
        reprocess_after=judged.reprocess_after,
        run_id=run_id,
        merged=merged,
        apart=summaries.namesakes,
        per_site=per_site,
    )
