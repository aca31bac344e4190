"""Schema migrations: numbered and forward-only. Each file in `migrations/` is applied once, in order, in its own
transaction; in a new store, all of them in one. A store with data is copied first.
"""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from itertools import takewhile
from pathlib import Path

import duckdb

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.schema.catalog import TABLES, VIEWS
from zk_pipeline.store.schema.file_copy import copy_file, fsync_file, temporary_name

_COPIES_KEPT = 3
FILLING = 1_000_000_000  # version of a store while another one is copied into it
_VERSIONS = (
    "CREATE TABLE IF NOT EXISTS schema_migrations "
    "(version INTEGER NOT NULL, name VARCHAR NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"
)


@cache
def migrations() -> tuple[tuple[int, str], ...]:
    """(version, file name) of all known migrations, in order."""
    names = (item.name for item in resources.files("zk_pipeline.store.schema.migrations").iterdir())
    found = (re.fullmatch(r"(\d{4})_\w+\.sql", name) for name in names)
    return tuple(sorted((int(match[1]), match[0]) for match in found if match))


def newest_version() -> int:
    return migrations()[-1][0]


def read_version(connection: duckdb.DuckDBPyConnection, path: object) -> int:
    """Version up to which all migrations are applied; 0 for an empty file.

    Raises StoreUnusable for a store newer than this program and for a database that is no store.
    """
    known = [number for number, _ in migrations()]
    applied = _applied(connection, path)
    if FILLING in applied:
        message = f"{path} is not complete: run the `zk-pipeline migrate-store` that fills it again, to its end"
        raise StoreUnusable(message)
    foreign = applied.difference(known)
    if foreign:
        raise StoreUnusable(
            f"{path} is at store version {max(foreign)}, written by a newer zk_pipeline; "
            f"this one knows up to {newest_version()}: upgrade zk_pipeline{_or_go_back(path)}"
        )
    in_order = takewhile(applied.__contains__, known)  # a lower number that was added later is still missing
    return max(in_order, default=0)


def is_empty(connection: duckdb.DuckDBPyConnection, path: object) -> bool:
    """True if no migration is applied, not even by a store migration in progress. Raises StoreUnusable for a database
    that is no store.
    """
    return not _applied(connection, path)


def _or_go_back(path: object) -> str:
    """Advice for an older program that finds a newer store; empty for a file that is only named by its role."""
    if isinstance(path, LakeAddress):
        return ", or go back to the backup of its PostgreSQL database and data folder from before the upgrade"
    if not isinstance(path, Path):
        return ""
    copies = [one for one in copies_before_migration(path) if int(one.stem[-4:]) <= newest_version()]
    if not copies:
        return ", or go back to a backup from before the upgrade with `zk-pipeline restore`"
    return f", or go back to the copy from before the upgrade: `zk-pipeline restore {shlex.quote(str(copies[-1]))}`"


def _applied(connection: duckdb.DuckDBPyConnection, path: object) -> set[int]:
    try:
        found = connection.execute("SELECT version FROM schema_migrations").fetchall()
    except duckdb.CatalogException:  # only then: listing tables takes 4 ms, and every use of the store starts here
        if connection.execute("SELECT count(*) FROM duckdb_tables()").fetchone() != (0,):
            kind = "DuckDB file" if isinstance(path, Path) else "DuckLake"
            message = f"{path} is a {kind} of another program: it has no schema_migrations table"
            raise StoreUnusable(message) from None
        return set()
    return {int(row[0]) for row in found}


def migrate(connection: duckdb.DuckDBPyConnection, path: Path, *, keep_copy: bool = True) -> None:
    """Migrate a file to the newest version; one short query if it is current.

    A store of an earlier version is first copied to `<name>.at-version-NNNN.duckdb` next to it; the newest three copies
    stay. An upgrade that continues an interrupted one has that one's copy. Raises ZkPipelineError, with the store
    unchanged, if there is no space for the copy or a migration fails.
    """
    version = read_version(connection, path)
    if version == newest_version():
        return
    upgrading = path.with_name(f"{path.name}.upgrading")
    if keep_copy and version and not _continues(upgrading, path, version):
        _keep_copy(connection, path, version, upgrading)
    apply_missing(connection, path)
    if keep_copy:
        upgrading.unlink(missing_ok=True)


def _continues(upgrading: Path, path: Path, version: int) -> bool:
    """True if an interrupted upgrade has left the store at this version, and its copy is still there."""
    try:
        begun_at, target = map(int, upgrading.read_text().split())
    except (OSError, ValueError):
        return False
    return begun_at < version < target and _copy_path(path, begun_at).exists()


def _copy_path(path: Path, version: int) -> Path:
    return path.with_name(f"{path.stem}.at-version-{version:04d}.duckdb")


def apply_missing(
    connection: duckdb.DuckDBPyConnection,
    name: object,
    *,
    comment_on_columns_of_views: bool = True,
    filled_from: str | None = None,
) -> None:
    """Apply the missing migrations to the store `name`, each in its own transaction; to a new store, all of them in
    one: a shared store takes 0.1 s of CPU for each commit.

    A new store that is to be `filled_from` another one rejects all processes from its first commit on.

    Raises ZkPipelineError if one fails, with the store as the transaction before left it.
    """
    applied = _applied(connection, name)
    missing = [one for one in migrations() if one[0] not in applied]
    for together in [[one] for one in missing] if applied else [missing]:
        _apply(connection, name, together, comment_on_columns_of_views, filled_from)


def copies_before_migration(path: Path) -> list[Path]:
    """Copies that earlier upgrades left next to the store, oldest first."""
    named = re.compile(re.escape(path.stem) + r"\.at-version-\d{4}\.duckdb")
    return sorted(one for one in path.absolute().parent.iterdir() if named.fullmatch(one.name))


def _keep_copy(connection: duckdb.DuckDBPyConnection, path: Path, version: int, upgrading: Path) -> None:
    """Copy the file, which this process has open under the exclusive lock: a checkpoint keeps it unchanged. Then note
    the versions of the upgrade in the file `upgrading`.
    """
    kept = _copy_path(path, version)
    try:
        for incomplete in path.absolute().parent.glob(f".{glob.escape(path.stem)}.at-version-*.part*"):
            incomplete.unlink()  # of a killed process: this one has the exclusive lock
        connection.execute("CHECKPOINT")
        with temporary_name(kept) as part:
            copy_file(path, part, lock=False)
            fsync_file(part)
            part.replace(kept)
        upgrading.write_text(f"{version} {newest_version()}")
    except (OSError, duckdb.Error, ZkPipelineError) as error:
        why = str(error).strip().splitlines()[0]
        raise ZkPipelineError(
            f"{path} was not upgraded from store version {version} to {newest_version()}, because the copy before the "
            f"upgrade failed: {why}"
        ) from error
    for old in copies_before_migration(path)[:-_COPIES_KEPT]:
        old.unlink()


def column_types(table: str) -> dict[str, str]:
    """Column → DuckDB type of a table at the newest version."""
    return tables_as_shipped()[table]


@cache
def tables_as_shipped() -> dict[str, dict[str, str]]:
    """Columns and types of each table at the newest version, from the migrations in an in-memory database.

    Takes 0.07 s the first time: do not call it under the store lock.
    """
    tables: dict[str, dict[str, str]] = {}
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute(_VERSIONS)
        for _, name in migrations():
            connection.execute(script(name))
        rows = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal ORDER BY column_index"
        ).fetchall()
    for table, column, kind in rows:
        tables.setdefault(table, {})[column] = kind
    return tables


def script(name: str) -> str:
    """The SQL of a migration."""
    return resources.files("zk_pipeline.store.schema.migrations").joinpath(name).read_text(encoding="utf-8")


def _apply(
    connection: duckdb.DuckDBPyConnection,
    name: object,
    together: Sequence[tuple[int, str]],
    comment_on_columns_of_views: bool,
    filled_from: str | None,
) -> None:
    """Apply the migrations in one transaction."""
    file = ""
    try:
        with transaction(connection):
            connection.execute(_VERSIONS)
            for number, file in together:
                connection.execute(script(file))
                connection.execute("INSERT INTO schema_migrations VALUES (?, ?, now())", [number, file])
            if read_version(connection, name) == newest_version():
                _write_comments(connection, comment_on_columns_of_views)
            if filled_from is not None:
                connection.execute("INSERT INTO schema_migrations VALUES (?, ?, now())", [FILLING, filled_from])
    except duckdb.Error as error:
        why = str(error).strip().splitlines()[0]
        raise ZkPipelineError(f"{name}: migration {file} failed and changed nothing: {why}") from error


@contextmanager
def transaction(
    connection: duckdb.DuckDBPyConnection, commit: Callable[[], object] | None = None, *, is_begun: bool = False
) -> Iterator[None]:
    """Begin a transaction unless `is_begun`, commit at the end (with `commit` of the engine, if given), roll back on
    any exception.
    """
    if not is_begun:
        connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    (commit or connection.commit)()


def _write_comments(connection: duckdb.DuckDBPyConnection, on_columns_of_views: bool) -> None:
    """Write the comments of the catalog, as literals: COMMENT takes no bound parameters."""
    for kind, catalog in (("TABLE", TABLES), ("VIEW", VIEWS)):
        for table, (text, columns) in catalog.items():
            connection.execute(f"COMMENT ON {kind} {table} IS {literal(text)}")
            if kind == "VIEW" and not on_columns_of_views:
                continue
            for column, meaning in columns.items():
                connection.execute(f'COMMENT ON COLUMN {table}."{column}" IS {literal(meaning)}')


def literal(text: str) -> str:
    """SQL literal, for statements that take no bound parameters."""
    return "'" + text.replace("'", "''") + "'"
