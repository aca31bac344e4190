"""DuckDB instance of this process with the DuckLake attached; cached, because loading the extensions takes 0.3 s.

Nothing is downloaded: Python packages, pinned to DuckDB's version, contain the extensions.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from pathlib import Path

import duckdb

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.store.engine.engine import ONE_THREAD_BELOW
from zk_pipeline.store.errors import StoreUnreachable, StoreUnusable
from zk_pipeline.store.schema.migrations_runner import literal

CATALOG = "store"
# Writes of up to this many rows stay inlined in PostgreSQL until the clean-up flushes them: otherwise 50 terminals,
# polled every 15 minutes, would create some 20,000 files a day. From 1,000 rows, a file costs less CPU.
INLINED_ROWS = 100
# The progress bar would be printed to standard output, among the results of commands.
_SWITCHED_OFF = (
    "autoinstall_known_extensions",
    "autoload_known_extensions",
    "allow_persistent_secrets",
    "enable_progress_bar",
)

_instances: dict[tuple[int, LakeAddress], duckdb.DuckDBPyConnection] = {}  # by process id, as a fork must not reuse one
# Snapshot at which the store was found to be of a version.
_current: dict[tuple[int, LakeAddress], tuple[int, int]] = {}
_guard = threading.Lock()


def lake_connection(
    address: LakeAddress, *, create: bool
) -> tuple[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection]:
    """This process's instance, and a new connection to it. The lake is created only if `create` is set.

    Raises StoreUnusable, StoreUnreachable.
    """
    with _guard:
        key = (os.getpid(), address)
        if key not in _instances:
            _instances[key] = _attached(address, create=create)
        instance = _instances[key]
        connection = instance.cursor()
    connection.execute("SET enable_progress_bar = false")
    return instance, connection


def forget_instance(address: LakeAddress, failed: duckdb.DuckDBPyConnection | None = None) -> None:
    """Attach again at the next use, after the server was away.

    With `failed`, only that instance is forgotten, since another thread may have attached a working one in the
    meantime; connections of other threads stay open. Without it, all connections of this process are closed.
    """
    key = (os.getpid(), address)
    with _guard:
        if failed is not None and _instances.get(key) is not failed:
            return
        instance = _instances.pop(key, None)
        _current.pop(key, None)
    if instance is not None and failed is None:
        instance.close()  # and with it each connection made from it


def is_attached(address: LakeAddress) -> bool:
    with _guard:
        return (os.getpid(), address) in _instances


def snapshot_of(connection: duckdb.DuckDBPyConnection) -> int:
    """Number of the state that the transaction of the connection sees."""
    row = connection.execute(f"FROM ducklake_current_snapshot('{CATALOG}')").fetchone()
    assert row is not None
    return int(row[0])


def is_known_as_current(address: LakeAddress, state: tuple[int, int]) -> bool:
    """True if `note_current` was called for this snapshot and version. The rows of a snapshot never change."""
    with _guard:
        return _current.get((os.getpid(), address)) == state


def note_current(address: LakeAddress, state: tuple[int, int]) -> None:
    """Remember, for as long as the store is attached, that it has this version at this snapshot."""
    with _guard:
        if (os.getpid(), address) in _instances:
            _current[os.getpid(), address] = state


def load_extension(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension from its Python package. Raises StoreUnusable if that is missing or of another version."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    version = f"v{duckdb.__version__}"
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [Path(folder) / "extensions" / version / f"{name}.duckdb_extension" for folder in folders]
    file = next((one for one in files if one.is_file()), None)
    if file is None:
        extra = "ducklake-s3" if name in ("httpfs", "aws") else "ducklake"
        raise StoreUnusable(
            f"ZK_PIPELINE_DATABASE: this store needs DuckDB's extension {name} for {version}: install "
            f"`zk-pipeline[{extra}]`"
        )
    connection.execute(f"LOAD {literal(str(file))}")


def attach(connection: duckdb.DuckDBPyConnection, address: LakeAddress, name: str, *, create: bool) -> None:
    """Attach the DuckLake as `name`. The password is a DuckDB secret of the connection, not part of an address."""
    for extension in ("postgres_scanner", "ducklake", *(("httpfs", "aws") if address.is_remote else ())):
        load_extension(connection, extension)
    # A commit that is not based on the newest snapshot fails; it must not be retried on data that it has not read.
    connection.execute("SET GLOBAL ducklake_max_retry_count = 0")
    # Also without a password, which libpq then looks for. Without a secret, DuckDB looks for persistent ones, and fails
    # because they are switched off.
    password = f", PASSWORD {literal(address.password)}" if address.password else ""
    connection.execute(f"CREATE SECRET (TYPE postgres{password})")
    if address.is_remote:
        connection.execute(f"CREATE SECRET (TYPE s3, PROVIDER credential_chain{_elsewhere(address)})")
    connection.execute(
        f"ATTACH {literal('ducklake:postgres:' + address.dsn)} AS {name} (DATA_PATH {literal(address.data)}, "
        f"DATA_INLINING_ROW_LIMIT {INLINED_ROWS}, CREATE_IF_NOT_EXISTS {str(create).lower()})"
    )


def size_of_files(connection: duckdb.DuckDBPyConnection) -> int:
    """Bytes of the attached DuckLake's files."""
    sum_of_sizes = "SELECT coalesce(sum(file_size_bytes + delete_file_size_bytes), 0) FROM ducklake_table_info(?)"
    row = connection.execute(sum_of_sizes, [CATALOG]).fetchone()
    assert row is not None
    return int(row[0])


def unusable(address: LakeAddress, error: Exception) -> StoreUnusable | StoreUnreachable:
    """A DuckDB error as one line without secrets."""
    text = " ".join(address.scrubbed(str(error)).split())
    if any(part in text for part in ("Unable to connect to Postgres", "server closed the connection", "SSL SYSCALL")):
        return StoreUnreachable(f"the PostgreSQL server of {address} cannot be used: {text}")
    return StoreUnusable(f"{address} cannot be used as a store: {text}")


def _elsewhere(address: LakeAddress) -> str:
    """Options for object storage outside AWS: endpoint and URL style."""
    if not address.endpoint:
        return ""
    scheme, _, host = address.endpoint.partition("://")
    return f", ENDPOINT {literal(host)}, URL_STYLE 'path', USE_SSL {str(scheme == 'https').lower()}"


def _attached(address: LakeAddress, *, create: bool) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    try:
        for name in _SWITCHED_OFF:
            connection.execute(f"SET {name} = false")
        attach(connection, address, CATALOG, create=create)
        if size_of_files(connection) < ONE_THREAD_BELOW:
            connection.execute("SET threads = 1")
    except duckdb.Error as error:
        connection.close()
        raise unusable(address, error) from None
    except BaseException:
        connection.close()
        raise
    return connection
