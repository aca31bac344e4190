"""Preview of a restore: what it changes in the store, and what the CRM is told afterwards. Nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from zk_pipeline.operations.process import process_dates, stale_dates, work_rules
from zk_pipeline.settings import Settings
from zk_pipeline.store.restoring import Due, Restored, due_deliveries
from zk_pipeline.store.store import Store


@dataclass(frozen=True)
class RestorePreview:
    """`due_before` and `due_after`: deliveries that wait for the CRM, without the restore, and after it with its stale
    dates made again. `dates_changed` of these come out different; `failed` (date → why) cannot be made.
    """

    restored: Restored
    due_before: Due
    due_after: Due
    dates_changed: list[date]
    failed: dict[str, str]


def preview_restore(store: Store, settings: Settings, file: Path, *, last: date) -> RestorePreview:
    """The effects of `restore` of `file` and of processing the work dates up to `last`. The terminals are not read.

    Raises UsageError, StoreBusy, ZkPipelineError as `Restoring.restore`.
    """
    with store.restoring.preview(file) as (path, restored):
        copy = Store.at(path)
        before = due_deliveries(path)
        dates = [item.work_date for item in stale_dates(copy, settings, last=last)]
        made = process_dates(copy, dates, work_rules(settings), run_id=None, per_site=settings.crm_record_per == "site")
        changed = [item.work_date for item in made.written if item.added or item.changed or item.retracted]
        return RestorePreview(
            restored, before, due_deliveries(path), changed, {str(day): why for day, why in made.failed.items()}
        )
