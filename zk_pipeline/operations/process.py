"""Process work dates: summarize punches in the store, evaluate the days in memory, write them with revisions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

from zk_pipeline.attendance.evaluate import evaluate_days
from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.sites import merge_sites
from zk_pipeline.config.settings import Settings
from zk_pipeline.counted import counted
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.store.days.days import DateWritten
from zk_pipeline.store.errors import StoreBusy, StoreUnusable
from zk_pipeline.store.store import Store
from zk_pipeline.store.work_dates.configured_hours import dated_rules
from zk_pipeline.store.work_dates.staleness import StaleDate

# Rows of one transaction, whatever the number of dates and users: about two seconds for which uploads of terminals and
# other users wait for the store. Just under a row group of DuckDB (122,880): a few more rows begin a second one, which
# is rewritten with the next batch, and half as many rows cost up to half more.
_MAX_ROWS, _FIRST_BATCH, _MAX_BATCH = 120_000, 7, 366
_GROUP = 31  # dates between two looks for newer punches: their events in Dagster take longer than their rows
MAX_NEWER = 14  # dates with newer punches that are processed at once
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Processed:
    """`written` and `failed` (date → reason) together are the requested dates without `overtaken`; `written` also has
    dates with punches that arrived in the meantime, and a requested one once for each time it was processed.

    `overtaken`: dates that another run processed from newer punches during this one; their rows are up to date.
    """

    written: list[DateWritten]
    failed: dict[date, str]
    overtaken: list[date]


def stale_dates(store: Store, settings: Settings, *, last: date) -> list[StaleDate]:
    """Stale work dates up to `last`: their rows are older than their punches, assigned by the current settings."""
    rules = work_rules(settings)
    found = store.days.stale_by(rules, first=settings.history_start, last=last)
    if found is not None:
        return found
    store.punches.apply_settings(rules)
    return store.days.stale(first=settings.history_start, last=last)


def process_dates(
    store: Store,
    dates: Sequence[date],
    rules: WorkRules,
    *,
    run_id: str | None,
    per_site: bool = False,
    on_committed: Callable[[Sequence[DateWritten]], None] = lambda _: None,
    newer: Callable[[Collection[date]], Sequence[date]] = lambda _: (),
) -> Processed:
    """Compute the rows of `dates` from all their punches; idempotent. Of a date that punches of some sites made stale,
    only the rows of these sites, see `sequence.STALE_SITES`. `per_site`: deliver one CRM record per site, not
    per user (CRM_RECORD_PER).

    Dates are evaluated and written in batches; `on_committed` receives the dates of each batch after its commit, in
    groups. If a batch fails, its dates are processed one by one, so that one bad date does not affect others.
    `newer`: a few dates with punches that arrived during the run, also others than `dates`, and none of the given ones,
    which have failed. They are processed between the groups, so that new punches do not wait for the end of a long
    range; one that fails then is left stale for a run of its own, or for its turn. Raises StoreBusy or StoreUnusable;
    any other failure is recorded for its date.
    """
    final = store.days.purged_dates(dates)
    failed = dict.fromkeys(final, "its punches were deleted by RAW_RETENTION_DAYS, so its rows cannot change")
    wanted = [day for day in dates if day not in failed]
    written: list[DateWritten] = []
    make = partial(_process_batch, store, rules=rules, run_id=run_id, per_site=per_site)
    left, size = wanted, _FIRST_BATCH
    not_now: dict[date, str] = {}
    while left:
        part, left = left[:size], left[size:]
        committed = _process_part(make, part, failed)
        written += committed
        for begin in range(0, len(committed), _GROUP):
            on_committed(committed[begin : begin + _GROUP])
            is_last = not left and begin + _GROUP >= len(committed)
            urgent = () if is_last else newer({*failed, *not_now})
            if urgent and (also := _process_part(make, urgent, not_now)):
                on_committed(also)
                written += also
                left = [day for day in left if day not in {item.work_date for item in also}]
        size = _next_batch_size(size, committed)
    done = {item.work_date for item in written}
    return Processed(written, failed, [day for day in wanted if day not in done and day not in failed])


def _next_batch_size(size: int, written: Sequence[DateWritten]) -> int:
    """Size of the next batch, by the rows per date of this one of `size` dates; holidays have few rows."""
    rows = sum(item.rows for item in written) / max(1, len(written))
    return max(1, min(_MAX_BATCH, 4 * size, int(_MAX_ROWS / max(1.0, rows))))


def _process_part(
    make: Callable[[Sequence[date]], list[DateWritten]], part: Sequence[date], failed: dict[date, str]
) -> list[DateWritten]:
    """Process the dates of `part` together, else one by one; dates that fail alone are added to `failed`."""
    try:
        return make(part)
    except (StoreBusy, StoreUnusable):
        raise
    except Exception:
        _log.exception("processing a batch of %s failed; processing them one by one", counted(len(part), "date"))
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


def _process_batch(
    store: Store, dates: Sequence[date], *, rules: WorkRules, run_id: str | None, per_site: bool
) -> list[DateWritten]:
    summaries = store.days.summarize(
        dates,
        workday_starts_at=rules.workday_starts_at,
        debounce_seconds=rules.debounce_seconds,
        only_stale_sites=True,
    )
    now = store.clock()
    dated = dated_rules(summaries.hours, rules)
    evaluated = evaluate_days(summaries.to_evaluate, dated, now, summaries.shifts)
    several = merge_sites(summaries.frame, debounce_seconds=rules.debounce_seconds, apart=summaries.namesakes)
    # Rows evaluated before the end of their day are reprocessed later, and the merged rows with them.
    merged = evaluate_days(several, dated, now, summaries.shifts).days if len(several) and not per_site else None
    return store.days.write(
        evaluated.days,
        seq=summaries.seq,
        reprocess_after=evaluated.reprocess_after,
        run_id=run_id,
        sites=summaries.sites,
        merged=merged,
        apart=summaries.namesakes,
        per_site=per_site,
    )
