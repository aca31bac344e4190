"""A store with a clock that stands still, readings made by hand, and short ways to ask what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from threading import Event
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.devices.models import (
    REJECTED_COLUMNS,
    USER_COLUMNS,
    Device,
    Reading,
    TerminalInfo,
    punches_frame,
)
from zk_pipeline.devices.protocol.record_layouts import LOG_8, encode_time
from zk_pipeline.operations.process import Processed, process_dates
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import IngestResult
from zk_pipeline_tests.engines import copy_store, place

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)
LONG_AFTER = datetime(2026, 6, 1, 12, tzinfo=UTC)
ALL = {"first": date(2000, 1, 1), "last": date(2100, 1, 1)}

SERIAL = "CEXA230760001"

Punch = tuple[str, str]  # user id, wall clock such as "2026-03-02 08:00"
SlotPunch = tuple[int, str]  # uid, wall clock
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
    """A store of its own that begins as a copy of `template`, which no process has open."""
    return store_at(copy_store(template, folder / "store.duckdb"), clock)


def slot_record(uid: int, at: str) -> bytes:
    """A record of 8 bytes, which names only a slot."""
    record = np.zeros(1, LOG_8.dtype)
    record["uid"], record["status"], record["time"] = uid, 1, encode_time(datetime.fromisoformat(at))
    return record.tobytes()


def reading(
    punches: Sequence[Punch] = (),
    *,
    slots: Sequence[SlotPunch] = (),
    rejected: Iterable[bytes] = (),
    users: Sequence[User] | None = None,
    serial: str = SERIAL,
) -> Reading:
    """A reading as `devices` makes them, of a log that holds exactly this."""
    held = [*punches, *slots]
    frame = punches_frame(
        user_id=[*(user_id for user_id, _ in punches), *(None for _ in slots)],
        uid=[*(None for _ in punches), *(uid for uid, _ in slots)],
        punched_at_local=[pd.Timestamp(at) for _, at in held],
        status=1,
        punch_state=0,
        verify_type=1,
        raw=[*(None for _ in punches), *(slot_record(uid, at) for uid, at in slots)],
    )
    quarantined = [(index, raw, "impossible date") for index, raw in enumerate(rejected)]
    return Reading(
        info=info(len(held) + len(quarantined), serial),
        record_count_after=len(held) + len(quarantined),
        layout=8 if slots else 40,
        log_layout="8" if slots else "40",
        bytes_read=40 * (len(held) + len(quarantined)),
        punches=frame,
        rejected=pd.DataFrame(quarantined, columns=REJECTED_COLUMNS),
        users=None if users is None else pd.DataFrame(list(users), columns=USER_COLUMNS),
    )


def info(record_count: int, serial: str = SERIAL) -> TerminalInfo:
    return TerminalInfo(
        serial_number=serial,
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
    slots: Sequence[SlotPunch] = (),
    rejected: Iterable[bytes] = (),
    users: Sequence[User] | None = None,
) -> IngestResult:
    """Store a reading of a registered device."""
    return store.punches.ingest(
        store.devices.get(name),
        reading(punches, slots=slots, rejected=rejected, users=users, serial=serial_number_of(name)),
        started_at=store.clock(),
        finished_at=store.clock(),
        run_id="poll run",
    )


def noon_device(name: str, *, site: str = "") -> Device:
    """A device in a zone where it is about noon now, so that no test meets the end of a work date."""
    return device(name, timezone=f"Etc/GMT{datetime.now(UTC).hour - 12:+d}", site=site)


def minutes_ago(device: Device, *minutes: int, user_id: str = "1001") -> list[Punch]:
    """Punches before now, on the wall clock of the device."""
    now = datetime.now(ZoneInfo(device.timezone))
    return [(user_id, f"{now - timedelta(minutes=one):%Y-%m-%d %H:%M:%S}") for one in minutes]


def on(day: date, *times: str, user_id: str = "1001") -> list[Punch]:
    return [(user_id, f"{day} {at}") for at in times]


def process(
    store: Store,
    *dates: date,
    workday_starts_at: time = time(0),
    run_id: str = "process run",
    per_site: bool = False,
) -> Processed:
    rules = WorkRules(workday_starts_at=workday_starts_at)
    return process_dates(store, dates, rules, run_id=run_id, per_site=per_site)


def stale(store: Store) -> list[date]:
    return [item.work_date for item in store.days.stale(**ALL)]


@contextmanager
def busy(store: Store, purpose: str) -> Iterator[None]:
    """The store locked exclusively by another thread, because locks of one thread do not nest."""
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
