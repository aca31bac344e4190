"""Readers of a shared store and of a file with the same rows, side by side. Figures: shared_store.md.

python -m benchmarks.shared_store_readers
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import median

import click

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.devices.models import Device
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.maintenance.space_reclaim import space_reclaimer
from zk_pipeline.store.queries.exports import ExportScope
from zk_pipeline.store.queries.keyset_pagination import Key, PageRequest
from zk_pipeline.store.queries.lists import Filter
from zk_pipeline.store.store import Store
from zk_pipeline_tests.engines import argument, end_lakes, lakes, where

DEVICES, EMPLOYEES, PUNCHES_PER_DAY = 50, 3_425, 4
LAST = date(2026, 11, 29)
YEAR = LAST - timedelta(days=364)
USER = "E01234"
_NEWEST, _PAGE = [Key("timestamp", "instant", descending=True)], PageRequest(number=1, size=50)
_BY_DATE = [Key("date", "date", descending=True)]
_MONTHS = """
    SELECT date_trunc('month', punched_at_local) AS month, count(*), count(DISTINCT user_id)
    FROM raw_punches WHERE punched_at_local >= $first GROUP BY 1 ORDER BY 1
"""

Query = Callable[[Store], object]
QUERIES: Mapping[str, Query] = {
    "punches of a user, a year": lambda store: (
        store.exports.read("raw", ExportScope(user_id=USER), YEAR, LAST).num_rows
    ),
    "punches of a date, all users": lambda store: store.exports.read("raw", ExportScope(), LAST, LAST).num_rows,
    "punches and users by month, a year": lambda store: _months(store, YEAR),
    "punches and users by month, all years": lambda store: _months(store, date.min),
    "list: newest punches": lambda store: store.lists.punches(Filter(), _NEWEST, _PAGE).count,
    "list: punches, page 2,000": lambda store: (
        store.lists.punches(Filter(), _NEWEST, PageRequest(number=2_000, size=50)).count
    ),
    "list: punches of a user": lambda store: store.lists.punches(Filter(user_id=USER), _NEWEST, _PAGE).count,
    "list: punches of a user, a year": lambda store: (
        store.lists.punches(Filter(user_id=USER, first=YEAR, last=LAST), _NEWEST, _PAGE).count
    ),
    "list: newest days": lambda store: store.lists.days(Filter(), _BY_DATE, _PAGE).count,
    "list: days of a user": lambda store: store.lists.days(Filter(user_id=USER), _BY_DATE, _PAGE).count,
    "list: outliers of a week": lambda store: (
        store.lists.days(Filter(is_outlier=True, first=LAST - timedelta(days=6), last=LAST), _BY_DATE, _PAGE).count
    ),
    "list: days not delivered": lambda store: store.lists.days(Filter(synced_to_crm=False), _BY_DATE, _PAGE).count,
}  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """Result, wall and CPU seconds of a query."""

    result: object
    wall: float
    cpu: float


@click.command()
@click.option("--punches", default=50_000_000, show_default=True)
@click.option("--repeat", default=7, show_default=True, help="Warm queries, after the cold one.")
def main(punches: int, repeat: int) -> None:
    """Milliseconds of queries on a file and on a shared store with the same rows. Needs Debian's postgresql.

    Cold: the first query of a process, with the store's files evicted from the page cache; it opens or attaches the
    store. Warm: the median of later ones in the same process. The two stores are read in turn.

    Example:  python -m benchmarks.shared_store_readers --punches 1000000
    """
    with tempfile.TemporaryDirectory(prefix="readers-benchmark-") as name:
        folder = Path(name)
        (folder / "lake").mkdir()
        stores: tuple[Where, Where] = folder / "store.duckdb", lakes().fresh(folder / "lake")
        try:
            for one in stores:
                began = time.monotonic()
                fill(one, punches)
                click.echo(f"{'file' if isinstance(one, Path) else 'shared store'}: {_described(one)}, "
                           f"filled in {time.monotonic() - began:.0f} s")  # fmt: skip
            measure(stores, folder, repeat)
        finally:
            end_lakes()


def measure(stores: tuple[Where, Where], folder: Path, repeat: int) -> None:
    """Print a row for each query."""
    click.echo("| query | file, cold | shared, cold | ratio | file, warm | shared, warm | ratio | ratio of CPU |")
    click.echo("|---|---|---|---|---|---|---|---|")
    for query in QUERIES:
        with _process() as one, _process() as other:
            for process in (one, other):
                process.submit(_import).result()
            _evict(folder)
            cold, shared_cold = (
                process.submit(_run, argument(at), query).result()
                for process, at in zip((one, other), stores, strict=True)
            )
            assert cold.result == shared_cold.result, (query, cold, shared_cold)
            warm, shared = [], []
            for _ in range(repeat):
                warm.append(one.submit(_run, argument(stores[0]), query).result())
                shared.append(other.submit(_run, argument(stores[1]), query).result())
        file_wall, shared_wall = median(taken.wall for taken in warm), median(taken.wall for taken in shared)
        cpu = median(taken.cpu for taken in shared) / median(taken.cpu for taken in warm)
        click.echo(
            f"| {query} | {cold.wall * 1e3:,.0f} | {shared_cold.wall * 1e3:,.0f} | {shared_cold.wall / cold.wall:.1f} "
            f"| {file_wall * 1e3:,.0f} | {shared_wall * 1e3:,.0f} | {shared_wall / file_wall:.1f} | {cpu:.1f} |"
        )


def fill(at: Where, punches: int) -> None:
    """Fill a store month by month, each date in order of time and with the employees mixed, and the days of a year;
    then reclaim space, as the daily clean-up does.
    """
    store = Store(Database(at))
    for number in range(DEVICES):
        store.devices.add(Device(name=f"Gate {number}", ip_address="192.0.2.10", timezone="UTC"))
    dates = punches // (EMPLOYEES * PUNCHES_PER_DAY)
    values = {"employees": EMPLOYEES, "devices": DEVICES, "punches": PUNCHES_PER_DAY}
    for day in range(0, dates, 30):
        begun = {"first": LAST - timedelta(days=dates - 1 - day), "before": day * EMPLOYEES * PUNCHES_PER_DAY}
        with store.database.write("fill") as connection:
            connection.execute(_PUNCH, values | begun | {"dates": min(30, dates - day)})
    with store.database.write("fill") as connection:
        connection.execute(_USERS, {"employees": EMPLOYEES})
        for sql in (_DAYS, _DELIVERIES):
            connection.execute(sql, {"first": YEAR, "last": LAST})
    space_reclaimer(store.database).run()


def _months(store: Store, first: date) -> list[tuple[datetime, int, int]]:
    with store.database.read("count punches by month") as connection:
        return connection.execute(_MONTHS, {"first": first}).fetchall()


_stores: dict[str, Store] = {}  # of this process


def _run(at: str, query: str) -> Taken:
    store = _stores.setdefault(at, Store(Database(where(at))))
    began, cpu = time.perf_counter(), time.process_time()
    result = QUERIES[query](store)
    return Taken(result, time.perf_counter() - began, time.process_time() - cpu)


def _import() -> None:
    """Import what the queries do, so that the cold ones do not measure it."""
    import pandas  # noqa: F401, PLC0415
    import psycopg2  # noqa: F401, PLC0415
    import pyarrow  # noqa: F401, PLC0415


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _evict(folder: Path) -> None:
    """Evict the files of both stores from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _described(at: Where) -> str:
    folder = Path(at.data) if isinstance(at, LakeAddress) else at.parent
    files = [path for path in folder.rglob("*.parquet" if isinstance(at, LakeAddress) else at.name) if path.is_file()]
    return f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:,.0f} MB"


_PUNCH = """
    INSERT INTO raw_punches BY NAME
    SELECT 'Gate ' || (hash(i) % $devices) AS device,
           'E' || lpad(((nth * 7919 + day * 31) % $employees)::VARCHAR, 5, '0') AS user_id,
           $first::TIMESTAMP + to_days(day::INTEGER) + to_microseconds(25_200_000_000 + nth * 3_000_000)
               AS punched_at_local,
           punched_at_local AT TIME ZONE 'UTC' AS punched_at, 1 AS status, 255 AS punch_state, 1 AS verify_type,
           1 + i // 1000 AS first_poll_id, $before + i + 1 AS seq, punched_at_local AT TIME ZONE 'UTC' AS created_at,
           false AS is_clock_suspect
    FROM (
        SELECT i, i // ($employees * $punches) AS day, i % ($employees * $punches) AS nth
        FROM range($dates * $employees * $punches) AS r(i)
    )
"""
_USERS = """
    INSERT INTO device_users BY NAME
    SELECT 'Gate 0' AS device, 'E' || lpad(i::VARCHAR, 5, '0') AS user_id, i AS uid, 'Employee ' || i AS name,
           0 AS privilege, 0 AS card, TIMESTAMPTZ '2026-01-01 00:00:00+00' AS updated_at
    FROM range($employees) AS r(i)
"""
_DAYS = """
    INSERT INTO daily_attendance BY NAME
    SELECT row_number() OVER (ORDER BY work_date, user_id) AS id, 'Plant' AS site, device, user_id, work_date,
           clock_in_local AT TIME ZONE 'UTC' AS clock_in, clock_out_local AT TIME ZONE 'UTC' AS clock_out,
           clock_in_local, clock_out_local, 'UTC' AS timezone, punch_count, 480 AS worked_minutes,
           false AS is_incomplete, hash(user_id, work_date) % 20 = 0 AS is_outlier,
           CASE WHEN is_outlier THEN ['CLOCK_IN_TOO_LATE'] ELSE [] END AS outlier_codes, '' AS outlier_reason,
           1 AS revision, hash(user_id, work_date)::VARCHAR AS payload_hash, clock_out AS created_at,
           clock_out AS updated_at
    FROM (
        SELECT user_id, punched_at_local::DATE AS work_date, min(punched_at_local) AS clock_in_local,
               max(punched_at_local) AS clock_out_local, count(*) AS punch_count, any_value(device) AS device
        FROM raw_punches WHERE punched_at_local >= $first AND punched_at_local < $last::DATE + 1 GROUP BY ALL
    )
    ORDER BY work_date, user_id
"""
_DELIVERIES = """
    INSERT INTO crm_deliveries BY NAME
    SELECT site, user_id, work_date, revision, '192.0.2.10' AS device_ip, payload_hash AS idempotency_key,
           CASE WHEN hash(payload_hash) % 100 = 0 THEN 'pending' ELSE 'delivered' END AS state, 1 AS attempts,
           0 AS retry_rounds, created_at
    FROM daily_attendance WHERE work_date BETWEEN $first AND $last ORDER BY work_date, user_id
"""


if __name__ == "__main__":
    main()
