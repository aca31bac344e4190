"""A store with a clock that stands still, readings made by hand, and short ways to ask what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from threading import Event
from typing import Any

import pandas as pd

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.devices.models import PUNCH_COLUMNS, REJECTED_COLUMNS, USER_COLUMNS, Device, Reading, TerminalInfo
from zk_pipeline.operations.process import Processed, process_dates
from zk_pipeline.store.database import Database, Where
from zk_pipeline.store.readings import Ingested
from zk_pipeline.store.store import Store
from zk_pipeline_tests.engines import copy_store, place

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)
LONG_AFTER = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
ALL = {"first": date(2000, 1, 1), "last": date(2100, 1, 1)}

Punch = tuple[str, str]  # user id, wall clock such as "2026-03-02 08:00"
User = tuple[str, int, str, int, int]  # as USER_COLUMNS


@dataclass
class StoppedClock:
    """True time, moved by hand."""

    now: datetime = LONG_AFTER

    def __call__(self) -> datetime:
        return self.now

    def go(self, **by: float) -> None:
        self.now += timedelta(**by)


def store_at(path: Where, clock: StoppedClock | None = None) -> Store:
    """The store that `path` stands for: itself, or in a run on lakes one of those."""
    at = place(path) if isinstance(path, Path) else path
    return Store(Database(at, wait_seconds=20, foreign_wait_seconds=20), clock or StoppedClock())


def copied(template: Where, folder: Path, clock: StoppedClock | None = None) -> Store:
    """A store of its own that begins as `template`, which nobody has open."""
    return store_at(copy_store(template, folder / "store.duckdb"), clock)


def reading(
    punches: Iterable[Punch] = (), *, rejected: Iterable[bytes] = (), users: Sequence[User] | None = None
) -> Reading:
    """A reading as `devices` makes them, of a log that holds exactly this."""
    held = [(user_id, pd.Timestamp(at), 1, 0, 1, None) for user_id, at in punches]
    frame = pd.DataFrame(held, columns=PUNCH_COLUMNS).astype(
        {"user_id": object, "punched_at_local": "datetime64[s]", "work_code": "Int64"}
        | dict.fromkeys(["status", "punch_state", "verify_type"], "uint8")
    )
    quarantined = [(index, raw, "impossible date") for index, raw in enumerate(rejected)]
    return Reading(
        info=info(len(held) + len(quarantined)),
        reported_after=len(held) + len(quarantined),
        layout=40,
        log_layout="40",
        bytes_read=40 * (len(held) + len(quarantined)),
        punches=frame,
        rejected=pd.DataFrame(quarantined, columns=REJECTED_COLUMNS),
        users=None if users is None else pd.DataFrame(list(users), columns=USER_COLUMNS),
    )


def info(record_count: int) -> TerminalInfo:
    return TerminalInfo(
        serial_number="CEXA230760001",
        firmware_version="Ver 6.60",
        platform="ZEM560_TFT",
        device_name="F18",
        mac="00:17:61:10:00:01",
        user_count=0,
        user_capacity=5000,
        record_count=record_count,
        record_capacity=1000,
        clock_local=None,
        clock_drift_seconds=1.5,
        round_trip_ms=2.0,
        transport="tcp",
    )


def device(name: str = "Gate", *, timezone: str = "UTC", site: str = "", ip: str = "192.0.2.10") -> Device:
    return Device(name=name, ip_address=ip, timezone=timezone, site=site)


def ingest(
    store: Store,
    name: str,
    *punches: Punch,
    rejected: Iterable[bytes] = (),
    users: Sequence[User] | None = None,
) -> Ingested:
    """Store a reading of a registered device."""
    return store.punches.ingest(
        store.devices.get(name),
        reading(punches, rejected=rejected, users=users),
        started_at=store.clock(),
        finished_at=store.clock(),
        run_id="poll run",
    )


def on(day: date, *times: str, user_id: str = "1001") -> list[Punch]:
    return [(user_id, f"{day} {at}") for at in times]


def process(store: Store, *dates: date, workday_starts_at: time = time(0), run_id: str = "process run") -> Processed:
    rules = WorkRules(workday_starts_at=workday_starts_at)
    return process_dates(store, dates, rules, run_id=run_id)


def stale(store: Store) -> list[date]:
    return [item.work_date for item in store.days.stale(**ALL)]


@contextmanager
def busy(store: Store, purpose: str) -> Iterator[None]:
    """The store held exclusively by somebody else: another thread, since holds of one thread do not nest."""
    held, over = Event(), Event()

    def hold() -> None:
        with Database(store.database.where).write(purpose):
            held.set()
            over.wait(60)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        try:
            assert held.wait(60)
            yield
        finally:
            over.set()
        holding.result(60)


def rows(store: Store, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with store.database.read("test") as connection:
        return connection.execute(sql, list(parameters)).fetchall()


def execute(store: Store, sql: str, parameters: Sequence[Any] = ()) -> None:
    with store.database.write("test") as connection:
        connection.execute(sql, list(parameters))
