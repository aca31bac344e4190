"""Access methods of concurrent processes to one store, and the work of each writer and reader.

The work is the same for each method: insert 1,000 missing rows in one transaction.
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

Method = Literal["zk_pipeline", "shared", "dagster-duckdb"]
ROWS = 1_000
WAIT_SECONDS = 600.0


@contextmanager
def zk_pipeline(path: Where, purpose: str, *, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    database = Database(path, wait_seconds=WAIT_SECONDS)
    with database.write(purpose) if write else database.read(purpose) as connection:
        yield connection


@contextmanager
def dagster_duckdb(path: Where, _purpose: str, *, write: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """As in its documentation: the retries of the resource, read-write for readers too."""
    from dagster_duckdb import DuckDBResource  # noqa: PLC0415 (only in the group `bench`)

    with DuckDBResource(database=str(path)).get_connection() as connection:
        if write:
            connection.begin()
        yield connection
        if write:
            connection.commit()


# `shared` is zk_pipeline on DuckLake; the address of the store makes the difference.
METHODS = {"zk_pipeline": zk_pipeline, "shared": zk_pipeline, "dagster-duckdb": dagster_duckdb}


def prepare(path: Where) -> None:
    with Database(path).write("prepare") as connection:
        connection.execute("CREATE TABLE load (writer INTEGER, batch INTEGER, number INTEGER, moment TIMESTAMP)")


def write_batches(method: Method, path: Where, acks: Path, writer: int, count: int) -> None:
    """Write batches and log a line for each: `ok`, wait seconds, total seconds; or `failed` and seconds."""
    with acks.open("a") as log:
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
                with METHODS[method](path, "write", write=True) as connection:
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
            os.write(log.fileno(), line.encode())


def read_until(method: Method, path: Where, acks: Path, stop: Path) -> None:
    with acks.open("a") as log:
        while not stop.exists():
            asked = time.monotonic()
            try:
                with METHODS[method](path, "read", write=False) as connection:
                    got = time.monotonic()
                    connection.execute("SELECT writer, count(*), max(moment) FROM load GROUP BY 1").fetchall()
                line = f"ok {got - asked} {time.monotonic() - asked}\n"
            except Exception as error:
                line = f"failed {time.monotonic() - asked} {type(error).__name__}\n"
            os.write(log.fileno(), line.encode())


def stored(path: Where) -> tuple[int, int]:
    """Number of rows, and of duplicates."""
    with Database(path).read("count") as connection:
        row = connection.execute(
            "SELECT count(*), count(*) - count(DISTINCT (writer, batch, number)) FROM load"
        ).fetchone()
    assert row is not None
    return row[0], row[1]
