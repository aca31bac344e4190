"""Measured inputs of the simulation in `scale`: lock times of the store on both engines, Dagster's event log."""

# No postponed annotations here: Dagster evaluates them at decoration.

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import dagster as dg

from benchmarks.readings import finished_reading
from zk_pipeline.config.ducklake_address import parse_lake
from zk_pipeline.devices.models import Device
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.postgres import NoPostgres, Postgres, postgres_server

FEW, MANY, REPEATS = 1, 32, 15
EVENTS = (50, 250)
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Line:
    """A linear cost in seconds: base + each × number."""

    base: float
    each: float

    @classmethod
    def through(cls, few: int, at_few: float, many: int, at_many: float) -> "Line":
        each = (at_many - at_few) / (many - few)
        return cls(at_few - few * each, each)


@contextmanager
def maybe_postgres() -> Iterator[Postgres | None]:
    """A PostgreSQL server, or None with the reason printed."""
    try:
        with postgres_server() as server:
            yield server
    except NoPostgres as error:
        print(f"without PostgreSQL: {error}")  # noqa: T201
        yield None


def lock_times(folder: Path, server: Postgres | None) -> dict[str, Line]:
    """Lock time of a transaction with so many readings of PUNCHES new punches, by engine."""
    places: dict[str, Where] = {"file": folder / "file.duckdb"}
    if server is not None:
        data = folder / "lake"
        data.mkdir()
        places["shared"] = parse_lake(f"ducklake:postgres:{server.fresh_database()};data={data}")
    return {name: _lock_time(Store(Database(where))) for name, where in places.items()}


def _lock_time(store: Store) -> Line:
    devices = [Device(name=f"Gate {number:02}", ip_address="192.0.2.10", timezone="UTC") for number in range(MANY)]
    for one in devices:
        store.devices.add(one)
    taken = {}
    minute = 0
    for many in (FEW, MANY):
        times = []
        for _ in range(REPEATS):
            minute += 1
            group = [finished_reading(one, minute) for one in devices[:many]]
            began = time.perf_counter()
            store.punches.ingest_all(group, run_id=None)
            times.append(time.perf_counter() - began)
        taken[many] = median(times[2:])
    return Line.through(FEW, taken[FEW], MANY, taken[MANY])


@dataclass(frozen=True)
class Logged:
    """Cost of a polled terminal in Dagster's event log: seconds and bytes."""

    seconds: float
    bytes: float


def events(folder: Path, server: Postgres | None) -> dict[str, Logged]:
    """Cost of one partition materialization per terminal, as in a poll, by storage."""
    with tempfile.TemporaryDirectory(dir=folder) as home, dg.DagsterInstance.local_temp(home) as instance:
        found = {"SQLite": _logged(instance, lambda: _size(Path(home)))}
    if server is None:
        return found
    url = server.fresh_database()
    name = url.rpartition("/")[2]
    overrides = {
        "storage": {"postgres": {"postgres_url": url.replace("postgresql:", "postgresql+psycopg2:")}},
        "telemetry": {"enabled": False},
    }
    with (
        tempfile.TemporaryDirectory(dir=folder) as home,
        dg.DagsterInstance.local_temp(home, overrides=overrides) as instance,
    ):
        found["PostgreSQL"] = _logged(instance, lambda: int(server.run(f"SELECT pg_database_size('{name}')")))
    return found


def _logged(instance: dg.DagsterInstance, size: Callable[[], int]) -> Logged:
    taken, sizes = {}, {}
    for many in EVENTS:
        before, began = size(), time.perf_counter()
        _log(instance, many)
        taken[many] = time.perf_counter() - began
        sizes[many] = size() - before
    few, most = EVENTS
    return Logged(
        Line.through(few, taken[few], most, taken[most]).each, Line.through(few, sizes[few], most, sizes[most]).each
    )


def _log(instance: dg.DagsterInstance, many: int) -> None:
    partitions = dg.DynamicPartitionsDefinition(name="devices")
    names = [f"Gate {number:04}" for number in range(many)]
    instance.add_dynamic_partitions("devices", names)

    @dg.asset(partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run(), output_required=False)
    def polled(context: dg.AssetExecutionContext) -> Iterator[None]:
        for name in context.partition_keys:
            metadata: dict[str, int | float | str] = {
                "new": 8,
                "fetched": 4_000,
                "mode": "new",
                "drift_seconds": 2.5,
                "fill": 0.31,
                "preview": "x" * 600,
            }
            context.log_event(dg.AssetMaterialization(context.asset_key, partition=name, metadata=metadata))
        yield from ()

    tags = {"dagster/asset_partition_range_start": names[0], "dagster/asset_partition_range_end": names[-1]}
    assert dg.materialize([polled], instance=instance, tags=tags, run_config=_QUIET).success


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
