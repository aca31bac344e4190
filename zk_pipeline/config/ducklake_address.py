"""Address of a shared store: `ducklake:postgres:<dsn>;data=<folder or s3://...>`.

The password is a field of its own: it is never printed, logged or passed to DuckDB as part of an address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

PREFIX = "ducklake:postgres:"
_SHOWN_FIRST = ("host", "port", "user", "dbname")


@dataclass(frozen=True)
class LakeAddress:
    """A DuckLake whose catalog is in PostgreSQL. `parameters`: libpq's connection parameters, without the password.

    `side`: path prefix of this host's own files about the store (lock statistics).
    """

    parameters: tuple[tuple[str, str], ...]
    data: str
    password: str | None = field(default=None, repr=False)
    endpoint: str | None = None  # of object storage other than Amazon's
    side: Path = Path("data/shared-store")

    def __str__(self) -> str:
        """The address without the password."""
        return f"{PREFIX}{self.dsn};data={self._data}"

    @property
    def _data(self) -> str:
        return f"{self.data}?endpoint={self.endpoint}" if self.endpoint else self.data

    @property
    def dsn(self) -> str:
        """Connection string of libpq, without the password."""
        return _make_dsn(dict(self.parameters))

    @property
    def is_remote(self) -> bool:
        """Whether the Parquet files are in object storage."""
        return self.data.startswith("s3://")

    def below(self, home: Path) -> LakeAddress:
        """The address with relative folders resolved against the home."""
        data = self.data if self.is_remote else str(home / Path(self.data).expanduser())
        return replace(self, data=data, side=home / self.side)

    def scrubbed(self, text: str) -> str:
        """A foreign message with the password replaced by asterisks."""
        return text.replace(self.password, "***") if self.password else text


def parse_lake(text: str) -> LakeAddress:
    """Raises ValueError with a message that repeats no part of the address, since it may hold a password."""
    dsn, marker, data = text.removeprefix(PREFIX).strip().rpartition(";data=")
    if not marker or not data.strip() or not dsn.strip():
        raise ValueError("must be of the form ducklake:postgres:<dsn>;data=<folder or s3://bucket/path>")
    if re.match(r"\w+://", data.strip()) and not data.strip().startswith("s3://"):
        raise ValueError("data= must be a folder or begin with s3://")
    data, _, endpoint = data.strip().partition("?endpoint=")
    if endpoint and not (data.startswith("s3://") and re.fullmatch(r"https?://[^/@\s]+", endpoint)):
        raise ValueError("?endpoint= must be the http:// or https:// address of object storage, after s3://bucket/path")
    parameters = _parse_dsn(dsn.strip())
    if "dbname" not in parameters:
        raise ValueError("the PostgreSQL address must name a database (dbname=... or postgresql://host/name)")
    password = parameters.pop("password", None)
    return LakeAddress(tuple(parameters.items()), data, password, endpoint or None)


def _make_dsn(parameters: dict[str, str]) -> str:
    dsn: str = _psycopg2()[0].make_dsn(**parameters)
    return dsn


def _parse_dsn(dsn: str) -> dict[str, str]:
    """Connection parameters of a libpq connection string, without empty ones. Raises ValueError."""
    extensions, errors = _psycopg2()
    try:
        parsed: dict[str, str] = extensions.parse_dsn(dsn)
    except (errors, UnicodeError):  # whose message quotes the address
        raise ValueError(
            "the PostgreSQL address must be NAME=value pairs or a postgresql:// URL, with parameters that libpq has"
        ) from None
    names = [*_SHOWN_FIRST, *(name for name in parsed if name not in _SHOWN_FIRST)]
    return {name: parsed[name] for name in names if parsed.get(name)}


def _psycopg2() -> tuple[ModuleType, type[Exception]]:
    """The module of connection strings and its error class. Raises ValueError if psycopg2 is not installed."""
    try:
        import psycopg2.extensions  # noqa: PLC0415 (an optional dependency)
    except ImportError:
        raise ValueError("a shared store needs `zk-pipeline[ducklake]` installed") from None
    return psycopg2.extensions, psycopg2.Error
