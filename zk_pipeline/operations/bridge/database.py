"""Database of the Django bridge (`chrismotari/zkteco-f18-attendance-bridge`): one consistent snapshot, read only.

Source: the models, migrations 0001 to 0009 and `device_utils` of the published bridge. All instants are stored in UTC
(`USE_TZ`), SQLite has them as text. Its polls read the wall clock of a terminal in the zone of `core_device.timezone`;
before migration 0005 that column does not exist, and the zone is that of the setting `DEVICE_TIME_ZONE`. Passwords of
users are never read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from zk_pipeline.errors import UsageError, ZkPipelineError

_POSTGRES = ("postgresql://", "postgres://")
_TABLES = ("core_device", "core_rawattendance", "core_processedattendance")
_USER_TABLES = ("core_deviceuser", "core_user")  # renamed by migration 0004


class BridgeDevice(NamedTuple):
    """A row of `core_device`; `timezone` is None in a bridge without zones per device."""

    id: int
    name: str
    ip_address: str
    port: int
    enabled: bool
    timezone: str | None


class BridgePunch(NamedTuple):
    """A row of `core_rawattendance`. `at` and `created_at` (when it was polled) are instants in UTC."""

    id: int
    device_id: int
    user_id: str
    at: datetime
    status: int
    punch_state: int
    verify_type: int
    created_at: datetime


class BridgeUser(NamedTuple):
    """A row of `core_deviceuser`, without the password; `name` is the full name, if there is one."""

    device_id: int
    user_id: str
    name: str
    privilege: int
    card: str


class BridgeDay(NamedTuple):
    """A row of `core_processedattendance` that was delivered. Instants in UTC; `delivered_at` None: marked by hand."""

    device_id: int
    user_id: str
    date: date
    clock_in: datetime | None
    clock_out: datetime | None
    delivered_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class BridgeDatabase:
    """Content of the bridge. `undelivered`: number of days that it has not delivered."""

    name: str
    devices: list[BridgeDevice]
    punches: list[BridgePunch]
    users: list[BridgeUser]
    delivered: list[BridgeDay]
    undelivered: int


Rows = Callable[[str], Iterator[tuple[Any, ...]]]


@dataclass(frozen=True)
class _Connection:
    """An open snapshot: `columns` of a table (empty: no such table), and the rows of a query."""

    name: str
    columns: Callable[[str], set[str]]
    rows: Rows


def read_bridge(dsn: str) -> BridgeDatabase:
    """Read the database at a path of a SQLite file, or at a PostgreSQL address or connection string.

    Raises ZkPipelineError for a database that cannot be opened, and UsageError for one that is none of the bridge.
    """
    with _open(dsn) as connection:
        for table in _TABLES:
            if not connection.columns(table):
                raise UsageError(f"{connection.name}: it is no database of the Django bridge: it has no table {table}")
        return BridgeDatabase(
            connection.name,
            _devices(connection),
            _punches(connection),
            _users(connection),
            _delivered(connection),
            _undelivered(connection),
        )


@contextmanager
def _open(dsn: str) -> Iterator[_Connection]:
    if dsn.startswith(_POSTGRES) or ("=" in dsn and not Path(dsn).exists()):
        with _open_postgres(dsn) as connection:
            yield connection
    else:
        with _open_sqlite(Path(dsn.removeprefix("sqlite:///"))) as connection:
            yield connection


@contextmanager
def _open_sqlite(path: Path) -> Iterator[_Connection]:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; give the path of db.sqlite3 or a PostgreSQL address")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("BEGIN")

            def columns(table: str) -> set[str]:
                return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}

            yield _Connection(str(path), columns, lambda query: iter(connection.execute(query)))
    except sqlite3.Error as error:
        raise UsageError(f"{path}: it cannot be read as a SQLite database: {error}") from None


@contextmanager
def _open_postgres(dsn: str) -> Iterator[_Connection]:
    try:
        import psycopg2  # noqa: PLC0415 (an optional dependency)
    except ImportError:
        raise UsageError("a bridge in PostgreSQL needs `zk-pipeline[ducklake]` installed") from None
    try:
        with closing(psycopg2.connect(dsn, application_name="zk-pipeline import")) as connection:
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            parameters = connection.get_dsn_parameters()
            name = f"PostgreSQL database {parameters.get('dbname')} at {parameters.get('host', 'localhost')}"

            def rows(query: str) -> Iterator[tuple[Any, ...]]:
                with connection.cursor() as cursor:
                    cursor.execute(query)
                    yield from cursor.fetchall()

            def columns(table: str) -> set[str]:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s)", [table])
                    return {row[0] for row in cursor.fetchall()}

            yield _Connection(name, columns, rows)
    except psycopg2.Error as error:
        raise ZkPipelineError(f"the database of the bridge cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """First line of an error of PostgreSQL. Messages about a connection string may repeat parts of its password."""
    text = (str(error).strip().splitlines() or [""])[0]
    is_harmless = text.startswith(("connection to server", "permission denied"))
    return text if is_harmless else "check the address, the user and the password"


def _devices(connection: _Connection) -> list[BridgeDevice]:
    zone = "timezone" if "timezone" in connection.columns("core_device") else "NULL"
    query = f"SELECT id, name, ip_address, port, enabled, {zone} FROM core_device ORDER BY id"  # noqa: S608
    return [
        BridgeDevice(number, name, str(ip), port, bool(enabled), timezone)
        for number, name, ip, port, enabled, timezone in connection.rows(query)
    ]


def _punches(connection: _Connection) -> list[BridgePunch]:
    query = (
        'SELECT id, device_id, user_id, "timestamp", status, punch_state, verify_type, created_at '
        "FROM core_rawattendance ORDER BY id"
    )
    return [
        BridgePunch(number, device, user_id, _instant(at), status, state, verify_type, _instant(created_at))
        for number, device, user_id, at, status, state, verify_type, created_at in connection.rows(query)
    ]


def _users(connection: _Connection) -> list[BridgeUser]:
    table = next((one for one in _USER_TABLES if connection.columns(one)), None)
    if table is None:
        return []
    full_name = "coalesce(nullif(full_name, ''), name)" if "full_name" in connection.columns(table) else "name"
    query = f"SELECT device_id, user_id, {full_name}, privilege, card_no FROM {table} ORDER BY id"  # noqa: S608
    return [BridgeUser(*row) for row in connection.rows(query)]


def _delivered(connection: _Connection) -> list[BridgeDay]:
    query = (
        'SELECT device_id, user_id, "date", clock_in, clock_out, last_sync_attempt, created_at, updated_at '
        'FROM core_processedattendance WHERE synced_to_crm AND "date" IS NOT NULL ORDER BY id'
    )
    found = []
    for device, user_id, day, *instants, created_at, updated_at in connection.rows(query):
        clock_in, clock_out, delivered_at = (None if at is None else _instant(at) for at in instants)
        found.append(
            BridgeDay(
                device_id=device,
                user_id=user_id,
                date=_date(day),
                clock_in=clock_in,
                clock_out=clock_out,
                delivered_at=delivered_at,
                created_at=_instant(created_at),
                updated_at=_instant(updated_at),
            )
        )
    return found


def _undelivered(connection: _Connection) -> int:
    (row,) = connection.rows("SELECT count(*) FROM core_processedattendance WHERE NOT synced_to_crm")
    return int(row[0])


def _instant(value: datetime | str) -> datetime:
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _date(value: date | str) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


def punches_by_day(punches: Sequence[BridgePunch]) -> dict[tuple[int, str], list[BridgePunch]]:
    """Punches by device and user, in the order of their times."""
    found: dict[tuple[int, str], list[BridgePunch]] = {}
    for one in sorted(punches, key=lambda one: one.at):
        found.setdefault((one.device_id, one.user_id), []).append(one)
    return found
