"""Preview of a restore: its effect on the store and on deliveries to the CRM. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from zk_pipeline.config.settings import Settings
from zk_pipeline.operations.process import process_dates, stale_dates
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.store.maintenance.restore import DueDeliveries, Restored, due_deliveries
from zk_pipeline.store.store import Store


@dataclass(frozen=True)
class RestorePreview:
    """`due_before`: due deliveries of the current store (None: unreadable). `due_after`: those after the restore and
    the processing of its stale dates, of which `dates_changed` have other content and `failed` (date → reason) fail.
    """

    restored: Restored
    due_before: DueDeliveries | None
    due_after: DueDeliveries
    dates_changed: list[date]
    failed: dict[str, str]


def preview_restore(store: Store, settings: Settings, file: Path, *, last: date) -> RestorePreview:
    """Effects of restoring `file` and processing the work dates up to `last`. The terminals are not read.

    Raises UsageError, StoreBusy, ZkPipelineError as `Restoring.restore`.
    """
    with store.restore.preview(file) as (path, restored):
        copy = Store.at(path)
        dates = [item.work_date for item in stale_dates(copy, settings, last=last)]
        made = process_dates(copy, dates, work_rules(settings), run_id=None, per_site=settings.crm_record_per == "site")
        changed = [item.work_date for item in made.written if item.added or item.changed or item.retracted]
        return RestorePreview(
            restored=restored,
            due_before=restored.due_there,
            due_after=due_deliveries(path),
            dates_changed=changed,
            failed={str(day): why for day, why in made.failed.items()},
        )
