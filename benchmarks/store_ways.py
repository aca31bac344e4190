"""Ways into one store for many processes, and what each writer and reader does with them.

Whatever the way, the work in it is the same: 1,000 rows that are not there yet are inserted, in one transaction.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from zk_pipeline.store.engine.database import Database, Where

Way = Literal["ours", "shared", "dagster-duckdb"]
ROWS = 1_000
PATIENCE = 600.0


@contextmanager
def ours(path: Where, purpose: str, *, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    database = Database(path, wait_seconds=PATIENCE)
    with database.write(purpose) if write else database.read(purpose) as connection:
        yield connection


@contextmanager
def dagster_duckdb(path: Where, _purpose: str, *, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """As its documentation uses it: the resource's own retries, read-write for readers too."""
    from dagster_duckdb import DuckDBResource  # noqa: PLC0415 (only in the group `bench`)

    with DuckDBResource(database=str(path)).get_connection() as connection:
        if write:
            connection.begin()
        yield connection
        if write:
            connection.commit()


# `shared` is ours on DuckLake; where the store is tells.
WAYS = {"ours": ours, "shared": ours, "dagster-duckdb": dagster_duckdb}


def prepare(path: Where) -> None:
    with Database(path).write("prepare") as connection:
        connection.execute("CREATE TABLE load (writer INTEGER, batch INTEGER, number INTEGER, moment TIMESTAMP)")


def write_batches(way: Way, path: Where, acks: Path, writer: int, count: int) -> None:
    """Each write's line: `ok`, seconds waited for the store, seconds in all; or `failed` and seconds."""
    with acks.open("a") as told:
        for batch in range(count):
            rows = pa.table(
                {
                    "writer": pa.array([writer] * ROWS, pa.int32()),
                    "batch": pa.array([batch] * ROWS, pa.int32()),
                    "number": pa.array(range(ROWS), pa.int32()),
                    "moment": pa.array([batch * ROWS + number for number in range(ROWS)], pa.timestamp("s")),
                }
            )
            asked = time.monotonic()
            got = asked
            try:
                with WAYS[way](path, "write", write=True) as connection:
                    got = time.monotonic()
                    connection.register("incoming", rows)
                    connection.execute(
                        "INSERT INTO load FROM incoming ANTI JOIN (FROM load WHERE writer = $writer) AS known "
                        "USING (writer, batch, number)",
                        {"writer": writer},
                    )
                line = f"ok {got - asked} {time.monotonic() - asked}\n"
            except Exception as error:
                line = f"failed {time.monotonic() - asked} {type(error).__name__}\n"
            os.write(told.fileno(), line.encode())


def read_until(way: Way, path: Where, acks: Path, stop: Path) -> None:
    with acks.open("a") as told:
        while not stop.exists():
            asked = time.monotonic()
            try:
                with WAYS[way](path, "read", write=False) as connection:
                    got = time.monotonic()
                    connection.execute("SELECT writer, count(*), max(moment) FROM load GROUP BY 1").fetchall()
                line = f"ok {got - asked} {time.monotonic() - asked}\n"
            except Exception as error:
                line = f"failed {time.monotonic() - asked} {type(error).__name__}\n"
            os.write(told.fileno(), line.encode())


def stored(path: Where) -> tuple[int, int]:
    """Rows, and rows that are there more than once."""
    with Database(path).read("count") as connection:
        row = connection.execute(
            "SELECT count(*), count(*) - count(DISTINCT (writer, batch, number)) FROM load"
        ).fetchone()
    assert row is not None
    return row[0], row[1]
