"""Verification of a copy of the store: reads every value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from zk_pipeline.store.engine.attached_file import attached_file
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.schema.migrations_runner import read_version


@dataclass(frozen=True)
class Verified:
    """Result of a verification: store version, and rows per table."""

    version: int
    rows: dict[str, int]


def verify(path: Path, called: str | None = None) -> Verified:
    """Read every value of a private copy and apply its WAL; DuckDB compares the block checksums.

    Raises StoreUnusable, with the name `called`, for a damaged file, a newer version, or a file that is no store.
    """
    name = called or str(path)
    try:
        with attached_file(path, read_only=False) as connection:
            connection.execute("CHECKPOINT")
            version = read_version(connection, Path(name))
            if not version:
                raise StoreUnusable(f"{name} is no store: it has no tables")
            tables = [row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
            rows = {}
            for table in tables:
                row = connection.execute(
                    f'SELECT count(*), bit_xor(hash(whole)) FROM "{table}" AS whole'  # noqa: S608 (its own names)
                ).fetchone()
                assert row is not None
                rows[table] = int(row[0])
    except duckdb.Error as error:
        message = str(error).strip().splitlines()[0].replace(str(path), name)
        raise StoreUnusable(f"{name} is damaged or no store: {message}") from error
    return Verified(version, rows)
