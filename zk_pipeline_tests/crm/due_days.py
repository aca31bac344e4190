"""Stores with due deliveries, created like real ones: punches ingested, dates processed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.devices.models import Device, Reading, punches_frame
from zk_pipeline.operations.process import process_dates
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.engines import copy_store
from zk_pipeline_tests.store.store_fixtures import info

FIRST = date(2024, 1, 1)
GATE, ANNEX = "Gate", "Annex"  # each a site
_RULES = WorkRules()


def dates_from(count: int, first: date = FIRST) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]


def person(number: int) -> str:
    return f"EMP{number:05}"


def make_due(store: Store, *, people: int, dates: Sequence[date]) -> int:
    """Every user in at 08:00 and out at 17:00 on each date; returns the number of due days."""
    store.devices.add(Device(name=GATE, ip_address="192.0.2.10"))
    who = [person(n) for n in range(people)]
    add_punches(store, ((user, day, time) for day in dates for user in who for time in ("08:00", "17:00")))
    remake(store, dates)
    return people * len(dates)


def add_punches(store: Store, punches: Iterable[tuple[str, date, str]], *, gate: str = GATE) -> int:
    """Ingest (user id, date, wall clock), as one poll; how many of them were new."""
    rows = [(user, pd.Timestamp(f"{day} {time}")) for user, day, time in punches]
    frame = punches_frame(
        user_id=[user for user, _ in rows],
        punched_at_local=[at for _, at in rows],
        status=1,
        punch_state=0,
        verify_type=1,
    )
    reading = Reading(
        info=info(len(frame), serial_number_of(gate)),
        record_count_after=len(frame),
        layout=40,
        bytes_read=40 * len(frame),
        punches=frame,
        rejected=pd.DataFrame({"record_index": [], "raw": [], "reason": []}),
        users=None,
    )
    now = store.clock()
    return store.punches.ingest(store.devices.get(gate), reading, started_at=now, finished_at=now, run_id="poll").new


def remake(store: Store, dates: Sequence[date]) -> None:
    """Make the days of `dates` from their punches; what changed is a new revision."""
    made = process_dates(store, dates, _RULES, run_id="process")
    assert made.failed == {}


def revise(store: Store, days: Iterable[tuple[str, date]], time: str, *, gate: str = GATE) -> None:
    """One more punch for each (user id, date), and the days processed again: a revision each, if no punch was later."""
    days = list(days)
    add_punches(store, ((user, day, time) for user, day in days), gate=gate)
    remake(store, sorted({day for _, day in days}))


def leave(store: Store, days: Iterable[tuple[str, date]], *, gate: str) -> None:
    """No punch at `gate` counts any more for each (user id, date), and the days are made again."""
    days = list(days)
    with store.database.write("test") as connection:
        for user, day in days:
            connection.execute(
                "UPDATE raw_punches SET voided_at = now() "
                "WHERE device = ? AND user_id = ? AND punched_at_local::DATE = ?",
                [gate, user, day],
            )
    remake(store, sorted({day for _, day in days}))


def whole_days(store: Store) -> dict[tuple[str, date], tuple[datetime, datetime | None]]:
    """First and last punch that counts of every person and date, at whichever gate; None where they are one."""
    with store.database.read("test") as connection:
        found = connection.execute(
            "SELECT user_id, punched_at_local::DATE, min(punched_at), max(punched_at) "
            "FROM raw_punches WHERE voided_at IS NULL GROUP BY ALL"
        ).fetchall()
    return {
        (user_id, day): (first, last if (last - first).total_seconds() >= _RULES.debounce_seconds else None)
        for user_id, day, first, last in found
    }


def delivery_states(store: Store) -> dict[str, int]:
    with store.database.read("test") as connection:
        found = connection.execute("SELECT state, count(*) FROM crm_deliveries GROUP BY 1 ORDER BY 1").fetchall()
    return dict(found)


def copied_store(template: Where, to: Path) -> Store:
    """A store with true time, copied from `template`, which no process has open."""
    to.parent.mkdir(parents=True, exist_ok=True)
    return Store.at(copy_store(template, to))
