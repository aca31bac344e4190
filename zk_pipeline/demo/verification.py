"""Verification of the demo: an independent recount of punches, attendance days and CRM deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import NamedTuple, TypeVar

import pandas as pd

from zk_pipeline.store.store import Store

Key = TypeVar("Key")
Facts = TypeVar("Facts")
DayKey = tuple[str, str, date]  # site, user_id, work_date
DayFacts = tuple[datetime, datetime | None, int]  # clock-in and clock-out on the wall clock, punches counted


@dataclass(frozen=True)
class Comparison:
    """One line of the recount: two numbers that must be equal, and examples of differences."""

    what: str
    expected: int
    found: int
    wrong: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return self.expected == self.found and not self.wrong


class TruePunch(NamedTuple):
    """A punch as a terminal recorded it."""

    device: str
    site: str
    user_id: str
    punched_at_local: datetime


def true_punches(truth: pd.DataFrame) -> list[TruePunch]:
    """The rows of a journal's true punches as plain values."""
    columns = [truth[name].tolist() for name in ("device", "site", "user_id")]
    moments = [moment.to_pydatetime() for moment in truth["punched_at_local"]]
    return [TruePunch(*row) for row in zip(*columns, moments, strict=True)]


def recount_days(truth: Sequence[TruePunch], debounce_seconds: int = 60) -> dict[DayKey, DayFacts]:
    """Recount attendance days with a simple loop, for day shifts without a change of UTC offset between punches."""
    punches: dict[DayKey, list[datetime]] = {}
    for punch in truth:
        key = (punch.site, punch.user_id, punch.punched_at_local.date())
        punches.setdefault(key, []).append(punch.punched_at_local)
    days: dict[DayKey, DayFacts] = {}
    for key, moments in punches.items():
        moments.sort()
        count = 1
        for before, after in pairwise(moments):
            count += (after - before).total_seconds() >= debounce_seconds
        days[key] = (moments[0], moments[-1] if count > 1 else None, count)
    return days


def check_punches(recorded: int, truth: Sequence[TruePunch], store: Store) -> Comparison:
    """Compare the punches in the terminals' logs with the stored punches."""
    stored = set(store.audit.punches())
    expected = {(punch.device, punch.user_id, punch.punched_at_local) for punch in truth}
    wrong = tuple(f"not stored: {key}" for key in sorted(expected - stored)[:3])
    wrong += tuple(f"stored, but on no terminal: {key}" for key in sorted(stored - expected)[:3])
    return Comparison("punches in the terminals' logs = punches stored", recorded, len(stored), wrong)


def check_days(truth: Sequence[TruePunch], store: Store) -> Comparison:
    """Compare the recounted attendance days with `daily_attendance`, row by row."""
    expected = recount_days(truth)
    found: dict[DayKey, DayFacts] = {
        (day.site, day.user_id, day.work_date): (day.clock_in_local, day.clock_out_local, day.punch_count)
        for day in store.audit.days()
    }
    wrong = _differences(expected, found)
    return Comparison("attendance days recounted = attendance days stored", len(expected), len(found), wrong)


def check_crm(
    latest: Mapping[tuple[str, date], Mapping[str, object]], anomalies: Iterable[object], store: Store
) -> Comparison:
    """Compare the CRM's ledger with the attendance days: latest revisions, no duplicates, in order."""
    expected = {(day.user_id, day.work_date): (day.revision, day.clock_in, day.clock_out) for day in store.audit.days()}
    found = {
        key: (record["revision"], _instant(record["clock_in"]), _instant(record["clock_out"]))
        for key, record in latest.items()
    }
    wrong = _differences(expected, found) + tuple(f"anomaly in the CRM's ledger: {anomaly}" for anomaly in anomalies)
    return Comparison("attendance days stored = latest revisions in the CRM's ledger", len(expected), len(found), wrong)


def _differences(expected: Mapping[Key, Facts], found: Mapping[Key, Facts]) -> tuple[str, ...]:
    wrong = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
    return tuple(f"{key}: expected {expected.get(key)}, found {found.get(key)}" for key in sorted(wrong, key=str)[:3])


def _instant(value: object) -> datetime | None:
    return None if value is None else datetime.fromisoformat(str(value))
