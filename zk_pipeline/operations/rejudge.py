"""Preview of past work dates by the current hours of the settings (`zk-pipeline process --rejudge --dry-run`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pandas as pd

from zk_pipeline.attendance.evaluate import evaluate_days
from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.store import Store

_KEY = ["site", "user_id", "work_date"]
_BATCH = 31  # work dates


@dataclass(frozen=True)
class RejudgedDay:
    """A day that other hours change; `changes`: column → (stored value, value by the current hours)."""

    site: str
    user_id: str
    work_date: date
    changes: dict[str, tuple[object, object]]


def preview_rejudge(store: Store, rules: WorkRules, first: date, last: date) -> list[RejudgedDay]:
    """Days from `first` to `last` that would change if `rules` applied to them; dates without punches are left out."""
    dates = store.days.evaluated_dates(first, last)
    changed: list[RejudgedDay] = []
    for start in range(0, len(dates), _BATCH):
        part = dates[start : start + _BATCH]
        summaries = store.days.summarize(
            part, workday_starts_at=rules.workday_starts_at, debounce_seconds=rules.debounce_seconds
        )
        judged = evaluate_days(summaries.frame, rules, store.clock(), summaries.shifts).days
        changed += _differences(store.days.judgements(part), judged)
    return changed


def _differences(stored: pd.DataFrame, judged: pd.DataFrame) -> list[RejudgedDay]:
    columns = [name for name in stored if name not in _KEY]
    both = stored.merge(judged[[*_KEY, *columns]], on=_KEY, suffixes=("", "_after"))
    found = []
    for row in both.to_dict("records"):
        pairs = {name: (_plain(row[name]), _plain(row[f"{name}_after"])) for name in columns}
        changes = {str(name): pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if changes:
            found.append(RejudgedDay(row["site"], row["user_id"], row["work_date"].date(), changes))
    return found


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value or None
    return None if pd.isna(value) else int(value)  # type: ignore[call-overload]
