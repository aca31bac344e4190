"""Ingest of 1,000 new punches into stores of any size, each in its own process to measure memory."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
import pandas as pd

from zk_pipeline.devices.models import Device, punches_frame
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import reading

DEVICES, USERS, YEARS = 50, 5_000, 10
REPEATS = 7
Kind = Literal["new punches", "a whole log"]


@dataclass(frozen=True)
class Grown:
    """Milliseconds of an ingest (median, maximum), memory beyond the imports, file size, growth per ingest."""

    median_ms: float
    longest_ms: float
    memory_mb: float
    file_mb: float
    grown_kb: float


def fill(path: Path, punches: int) -> None:
    """Fill a store with ten years of punches of fifty devices, in order of time."""
    store = Store.at(path)
    for number in range(DEVICES):
        store.devices.add(Device(name=f"Gate {number}", ip_address="192.0.2.10", timezone="UTC"))
    step = YEARS * 365 * 86_400 // punches if punches < YEARS * 365 * 86_400 else 1
    part = 5_000_000
    for begin in range(0, punches, part):
        with store.database.write("fill") as connection:
            connection.execute(
                f"""
                INSERT INTO raw_punches BY NAME
                SELECT 'Gate ' || (i % {DEVICES}) AS device, (1000 + i // {DEVICES} % {USERS})::VARCHAR AS user_id,
                       TIMESTAMP '2016-01-01' + to_seconds(i * {step}) AS punched_at_local,
                       (TIMESTAMP '2016-01-01' + to_seconds(i * {step})) AT TIME ZONE 'UTC' AS punched_at,
                       1 AS status, 0 AS punch_state, 1 AS verify_type, 1 + i // 1000 AS first_poll_id, i + 1 AS seq,
                       TIMESTAMPTZ '2026-01-01 00:00:00+00' AS created_at, false AS is_clock_suspect
                FROM range({begin}, {min(punches, begin + part)}) AS r(i)
                """
            )
    with store.database.write("fill") as connection:
        connection.execute("UPDATE store_settings SET value = ? WHERE name = 'last_seq'", [str(punches)])
        connection.execute(
            """
            INSERT INTO device_polls BY NAME
            SELECT first_poll_id AS id, any_value(device) AS device, max(punched_at) AS started_at,
                   max(punched_at) AS finished_at, 'success' AS status
            FROM raw_punches GROUP BY 1
            """
        )
        connection.execute(
            "INSERT INTO work_dates BY NAME "
            "SELECT DISTINCT punched_at_local::DATE AS work_date, ? AS latest_punch_seq, "
            "? AS processed_seq FROM raw_punches",
            [punches, punches],
        )


def measure(path: Path, punches: int, kind: Kind) -> Grown:
    """Ingest REPEATS polls into a store of `fill`; the first, with cold caches, is included."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure, (path, punches, kind))


def _measure(path: Path, punches: int, kind: Kind) -> Grown:
    polls = [_poll(punches, kind, number) for number in range(REPEATS)]
    store = Store(Database(path))
    gate = store.devices.get("Gate 7")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = path.stat().st_size
    took = []
    for frame in polls:
        now = store.clock()
        began = time.monotonic()
        done = store.punches.ingest(
            gate, replace(reading(), punches=frame), started_at=now, finished_at=now, run_id="growth"
        )
        took.append((time.monotonic() - began) * 1e3)
        assert done.new == NEW[kind], done
    return Grown(
        median_ms=median(took),
        longest_ms=max(took),
        memory_mb=(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        file_mb=path.stat().st_size / 1e6,
        grown_kb=(path.stat().st_size - size) / REPEATS / 1e3,
    )


NEW: Mapping[Kind, int] = {"new punches": 1_000, "a whole log": 1_000}
BEGIN: Mapping[Kind, str] = {"new punches": "2026-01-01", "a whole log": "2026-02-01"}
KNOWN: Mapping[Kind, int] = {"new punches": 0, "a whole log": 99_000}


def _poll(punches: int, kind: Kind, number: int) -> pd.DataFrame:
    """1,000 punches after all stored ones, preceded by the known ones of a log, spread over ten years."""
    begin = np.datetime64(BEGIN[kind]) + np.timedelta64(number, "h")
    new = begin + np.arange(NEW[kind]).astype("timedelta64[s]")
    stored = punches // DEVICES  # of this device
    step = YEARS * 365 * 86_400 // punches if punches < YEARS * 365 * 86_400 else 1
    nth = np.unique(np.linspace(0, stored - 1, KNOWN[kind]).astype("int64")) if KNOWN[kind] else np.array([], "int64")
    i = nth * DEVICES + 7
    known = np.datetime64("2016-01-01") + (i * step).astype("timedelta64[s]")
    users = np.concatenate([1000 + i // DEVICES % USERS, np.arange(NEW[kind]) % USERS + 1000])
    return punches_frame(
        user_id=users.astype(str).astype(object),
        punched_at_local=np.concatenate([known, new]),
        status=1,
        punch_state=0,
        verify_type=1,
    )
