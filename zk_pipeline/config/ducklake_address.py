"""Where a store on a shared engine is: `ducklake:postgres:<dsn>;data=<folder or s3://...>`, taken apart.

The password is kept apart from everything that is ever printed, logged or handed to DuckDB as part of an address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, unquote

PREFIX = "ducklake:postgres:"
_PAIR = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s']*))(?=\s|$)")


@dataclass(frozen=True)
class LakeAddress:
    """A DuckLake whose catalog is in PostgreSQL. `parameters`: what libpq connects by, without the password.

    `side`: how this host's own files about the store begin (counts of holds).
    """

    parameters: tuple[tuple[str, str], ...]
    data: str
    password: str | None = field(default=None, repr=False)
    endpoint: str | None = None  # of object storage that is not Amazon's
    side: Path = Path("data/shared-store")

    def __str__(self) -> str:
        """As given, without the password."""
        return f"{PREFIX}{self.dsn};data={self._data}"

    @property
    def _data(self) -> str:
        return f"{self.data}?endpoint={self.endpoint}" if self.endpoint else self.data

    @property
    def dsn(self) -> str:
        """For libpq; the password is missing."""
        return " ".join(f"{name}={_quoted(value)}" for name, value in self.parameters)

    @property
    def is_remote(self) -> bool:
        """Whether the Parquet files are in object storage."""
        return self.data.startswith("s3://")

    def below(self, home: Path) -> LakeAddress:
        """With folders that are relative taken to be in the home."""
        data = self.data if self.is_remote else str(home / Path(self.data).expanduser())
        return replace(self, data=data, side=home / self.side)

    def with_secret(self) -> str:
        """The whole address, for a child process of ours; never for people."""
        secret = "" if self.password is None else f" password={_quoted(self.password)}"
        return f"{PREFIX}{self.dsn}{secret};data={self._data}"

    def scrubbed(self, text: str) -> str:
        """A message of others without the password, should it be in there."""
        return text.replace(self.password, "***") if self.password else text


def parse_lake(text: str) -> LakeAddress:
    """Raises ValueError in words that repeat nothing of the address, since it may hold a password."""
    dsn, marker, data = text.removeprefix(PREFIX).strip().rpartition(";data=")
    if not marker or not data.strip() or not dsn.strip():
        raise ValueError("must be of the form ducklake:postgres:<dsn>;data=<folder or s3://bucket/path>")
    if re.match(r"\w+://", data.strip()) and not data.strip().startswith("s3://"):
        raise ValueError("data= must be a folder or begin with s3://")
    data, _, endpoint = data.strip().partition("?endpoint=")
    if endpoint and not (data.startswith("s3://") and re.fullmatch(r"https?://[^/@\s]+", endpoint)):
        raise ValueError("?endpoint= must be the http:// or https:// address of object storage, after s3://bucket/path")
    found = _of_url(dsn) if re.match(r"postgres(ql)?://", dsn) else _of_pairs(dsn)
    if "dbname" not in found:
        raise ValueError("the PostgreSQL address must name a database (dbname=... or postgresql://host/name)")
    password = found.pop("password", None)
    return LakeAddress(tuple(found.items()), data, password, endpoint or None)


def _of_url(dsn: str) -> dict[str, str]:
    """By hand, since libpq takes several hosts and the folder of a socket, which no URL parser does."""
    rest, _, query = dsn.partition("://")[2].partition("?")
    place, _, name = rest.partition("/")
    who, _, hosts = place.rpartition("@")
    user, _, password = who.partition(":")
    pairs = [host.rpartition(":") if re.search(r":\d*$", host) else (host, "", "") for host in hosts.split(",")]
    found = {
        "host": ",".join(unquote(host).strip("[]") for host, _, _ in pairs),
        "port": ",".join(port for _, _, port in pairs),
        "user": unquote(user), "password": unquote(password), "dbname": unquote(name),
    }  # fmt: skip
    return {name: value for name, value in {**found, **dict(parse_qsl(query))}.items() if value.strip(",")}


def _of_pairs(dsn: str) -> dict[str, str]:
    found, at = {}, 0
    while dsn[at:].strip():
        match = _PAIR.match(dsn, at)
        if not match:
            raise ValueError("the PostgreSQL address must be NAME=value pairs or a postgresql:// URL")
        found[match[1]] = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        at = match.end()
    return found


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w.,:/@%+-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
