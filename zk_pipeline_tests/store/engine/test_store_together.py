"""Readings stored together leave exactly what they leave one after the other, numbers included."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from zk_pipeline.attendance.shifts import Assignment, Shift, Target
from zk_pipeline.devices.models import LogPosition
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.shifts.shift_plan import ShiftPlan
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll, FinishedReading
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    Punch,
    StoppedClock,
    User,
    copied,
    device,
    execute,
    ingest,
    process,
    reading,
    rows,
    store_at,
)

# What is asked of each table: all of it.
TABLES = (
    "raw_punches",
    "corrected_punches",
    "quarantined_records",
    "device_users",
    "device_polls",
    "device_log_positions",
    "devices",
    "work_dates",
    "store_settings",
)
CLEARED = date(2026, 2, 2)
ROUNDS = 3
UNUSUAL_DATES = (CLEARED, date(2000, 1, 1), date(2026, 8, 1), date(2025, 7, 1))  # cleared, clock lost, ahead, long ago


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Where:
    """Terminals of three zones; a roster with nights, a clock that was wrong, and a date that retention has cleared."""
    store = store_at(tmp_path_factory.mktemp("filled") / "store.duckdb")
    for one in (
        device("North", timezone="Europe/Berlin", site="Plant"),
        device("South", timezone="Europe/Berlin", site="Plant"),
        device("Office", timezone="America/New_York"),
        device("Depot", timezone="Asia/Kolkata"),
    ):
        store.devices.add(one)
    ingest(store, "North", *[("1", f"{CLEARED} {at}") for at in ("08:00", "17:00")])
    ingest(store, "Depot", *[("2", f"{CLEARED} {at}") for at in ("08:00", "17:00")])
    process(store, CLEARED)
    execute(store, "UPDATE work_dates SET raw_purged_at = now() WHERE work_date = ?", [CLEARED])
    execute(store, "UPDATE work_dates SET raw_purged_at = '2026-04-01', processed_at = '2026-04-01'")
    night = Shift(name="night", start=time(22), end=time(6))
    assignments = (
        Assignment(shift="night", target=Target(user_id="2")),
        Assignment(shift="night", target=Target(site="Depot"), valid_from=TUESDAY),
    )
    store.apply_shifts(ShiftPlan(shifts=(night,), assignments=assignments))
    store.clock_corrections.add(
        "Depot",
        from_local=datetime(2000, 1, 1),  # noqa: DTZ001 (a wall-clock reading)
        to_local=datetime(2000, 1, 3),  # noqa: DTZ001
        add_seconds=int(timedelta(days=9557).total_seconds()),
    )
    return store.database.where


def copy_of(filled: Where, folder: Path) -> Store:
    folder.mkdir()
    return copied(filled, folder, StoppedClock())


def groups(store: Store, seed: int) -> Iterator[list[FinishedReading]]:
    """Rounds of readings of all, then some devices: of what was there before and is new, with everything that can come
    along.
    """
    chance = random.Random(seed)
    known = {one.name: one for one in store.devices.all()}
    logs: dict[str, list[Punch]] = {name: [("1", f"{day} 08:00") for day in UNUSUAL_DATES] for name in known}
    for number in range(ROUNDS):
        names = chance.sample(sorted(known), chance.randint(2, 4) if number else len(known))
        if chance.random() < 0.3:
            names.append(names[0])  # read twice
        group = []
        for name in names:
            log = logs[name]
            log += [_punch(chance, number) for _ in range(chance.choice([0, 1, 5, 30]))]
            come = log if not number or chance.random() < 0.5 else log[-10:]
            rejected = [bytes([chance.randint(0, 3)]) * 8 for _ in range(chance.choice([0, 0, 2]) if number else 2)]
            made = reading(come, rejected=rejected, users=_users(chance), serial=f"SN {name}")
            position = None if number and chance.random() < 0.3 else _position(chance)
            made = replace(
                made, mode=chance.choice(["full", "incremental"]), position=position, record_count_after=len(log)
            )
            at = store.clock() - timedelta(seconds=chance.randint(1, 60))
            group.append(FinishedReading(device=known[name], reading=made, started_at=at, finished_at=at))
        yield group


def _punch(chance: random.Random, number: int) -> Punch:
    """Of a few people, so that the same is met again; sometimes by a clock that was lost, is ahead, or of long ago."""
    day = chance.choices(
        [MONDAY + timedelta(days=number), *UNUSUAL_DATES],
        [20, 2, 2, 1, 1],
    )[0]
    return str(chance.randint(1, 4)), f"{day} {chance.randint(0, 23):02}:{chance.choice([0, 30]):02}"


def _users(chance: random.Random) -> list[User] | None:
    if chance.random() < 0.5:
        return None
    listed = chance.sample(range(1, 5), chance.randint(0, 4))
    return [(str(one), one, chance.choice(["Ann", "Ben"]), 0, chance.choice([0, 77])) for one in listed]


def _position(chance: random.Random) -> LogPosition:
    count = chance.randint(0, 99)
    return LogPosition(
        serial_number="CEXA1", layout="40", record_count=count, total_bytes=400, overlap=b"\1", user_count=2
    )


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with store.database.read("test") as connection:
        return {table: connection.execute(f"FROM {table} ORDER BY ALL").fetchall() for table in TABLES}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.matrix) for seed in range(1, 8))])
def test_together_is_as_one_after_the_other(filled: Where, tmp_path: Path, seed: int) -> None:
    """The days, too: whose hours place a punch does not depend on the other readings of the group."""
    apart, together = copy_of(filled, tmp_path / "apart"), copy_of(filled, tmp_path / "together")
    assert contents(apart) == contents(together)
    empty = set(TABLES)
    for group in groups(apart, seed):
        singly = [store_one(apart, one) for one in group]
        assert together.punches.ingest_all(group, run_id="poll run") == singly
        stored = contents(together)
        assert stored == contents(apart)
        empty -= {table for table, found in stored.items() if found}
    assert not empty, "what came is to reach every table"
    (suspect,) = rows(together, "SELECT count(*) FROM raw_punches WHERE is_clock_suspect")[0]
    assert suspect > 0
    assert days(apart) == days(together)


def days(store: Store) -> list[tuple[Any, ...]]:
    """What processing makes of all that is stale."""
    dates = [one.work_date for one in store.days.stale(first=date(1999, 1, 1), last=date(2030, 1, 1))]
    assert len(dates) > ROUNDS
    process(store, *dates)
    return rows(store, "SELECT site, user_id, work_date, clock_in, clock_out, shift FROM daily_attendance ORDER BY ALL")


def store_one(store: Store, one: FinishedReading) -> Any:
    return store.punches.ingest(
        one.device, one.reading, started_at=one.started_at, finished_at=one.finished_at, run_id="poll run"
    )


def test_failed_polls_are_put_on_record_together(store: Store) -> None:
    store.devices.add(device("Gate"))
    store.devices.add(device("Yard"))
    now = store.clock()
    failed = [FailedPoll(name, now, now, "no_answer", f"{name}: it fell silent") for name in ("Yard", "Gate")]
    assert store.punches.record_failures(failed, run_id="abc") == [1, 2]
    assert rows(store, "SELECT id, device, status, run_id, error, fetched, mode FROM device_polls ORDER BY 1") == [
        (1, "Yard", "failed", "abc", "Yard: it fell silent", None, None),
        (2, "Gate", "failed", "abc", "Gate: it fell silent", None, None),
    ]
