"""The engine of a test run's stores: DuckDB files, or with `--engine ducklake` lakes on a real PostgreSQL.

There a lake stands for each path that a test takes for a store, so that the tests are the same for both.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from zk_pipeline.config.ducklake_address import PREFIX, LakeAddress, parse_lake
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.engine.ducklake import LakeEngine
from zk_pipeline_tests.kept_open import close_store
from zk_pipeline_tests.postgres import Postgres, postgres_server

ENGINES = ("file", "ducklake")


@dataclass
class Lakes:
    """Lakes of one server, each with a database and a folder of its own."""

    server: Postgres
    by_path: dict[Path, LakeAddress] = field(default_factory=dict)
    made: list[LakeAddress] = field(default_factory=list)

    def fresh(self, folder: Path) -> LakeAddress:
        """An address that has nothing yet."""
        return self._at(self.server.fresh_database(), folder)

    def copy(self, template: LakeAddress, folder: Path) -> LakeAddress:
        """A lake that begins as `template`, which this process closes first."""
        LakeEngine(template).forget()
        address = self._at(self.server.fresh_database(_name(template)), folder)
        if Path(template.data).exists():
            shutil.copytree(template.data, address.data)
        sql = f"UPDATE ducklake_metadata SET value = '{address.data}/' WHERE key = 'data_path'"
        self.server.run(sql, _name(address))
        return address

    def standing_for(self, path: Path) -> LakeAddress:
        path = path.absolute()
        if path not in self.by_path:
            self.by_path[path] = self.fresh(path.with_name(f"{path.name}.lake"))
        return self.by_path[path]

    def drop(self, address: LakeAddress) -> None:
        LakeEngine(address).forget()
        self.server.run(f"DROP DATABASE IF EXISTS {_name(address)} WITH (FORCE)")
        self.by_path = {path: one for path, one in self.by_path.items() if one != address}
        self.made.remove(address)

    def _at(self, url: str, folder: Path) -> LakeAddress:
        address = parse_lake(f"{PREFIX}{url};data=lake").below(folder)
        self.made.append(address)
        return address


_running = ExitStack()
_lakes: Lakes | None = None


def lakes() -> Lakes:
    """This process's, with a server that ends with it. Raises NoPostgres."""
    global _lakes  # noqa: PLW0603 (one server for a process)
    if _lakes is None:
        _lakes = Lakes(_running.enter_context(postgres_server()))
    return _lakes


def end_lakes() -> None:
    global _lakes  # noqa: PLW0603
    _lakes = None
    _running.close()


@dataclass
class _Chosen:
    engine: str = "file"


chosen = _Chosen()


@contextmanager
def on_engine(name: str) -> Iterator[None]:
    """Databases that paths stand for inside the context."""
    before, chosen.engine = chosen.engine, name
    try:
        yield
    finally:
        chosen.engine = before


def place(path: Path) -> Where:
    """Where the store is that a test calls by this path."""
    return path if chosen.engine == "file" else lakes().standing_for(path)


def empty_store(path: Path) -> Where:
    """A new database without open connections."""
    at = place(path)
    with Database(at).read("make an empty store"):
        pass
    if isinstance(at, LakeAddress):
        LakeEngine(at).forget()
    return at


def copy_store(template: Where, path: Path) -> Where:
    """The database that stands for `path`: a copy of `template`, which has no open connections."""
    if isinstance(template, Path):
        for one in (template, path):
            close_store(one)
        return Path(shutil.copyfile(template, path))
    copied = lakes().copy(template, path.with_name(f"{path.name}.lake"))
    lakes().by_path[path.absolute()] = copied
    return copied


@contextmanager
def lakes_dropped() -> Iterator[None]:
    """Drop the lakes created inside the context and close this process's connections: a server accepts 100."""
    before = list(_lakes.made) if _lakes else []
    yield
    for address in list(_lakes.made) if _lakes else []:
        if address in before:
            LakeEngine(address).forget()
        else:
            lakes().drop(address)


def argument(at: Where) -> str:
    """For a child process; `where` makes a place of it again."""
    return str(at) if isinstance(at, Path) else with_password(at)


def with_password(address: LakeAddress) -> str:
    """The address as a setting has it, with its password."""
    from psycopg2.extensions import make_dsn

    secret = {} if address.password is None else {"password": address.password}
    dsn = make_dsn(**dict(address.parameters) | secret)
    return f"{PREFIX}{dsn};data={str(address).rpartition(';data=')[2]}"


def where(text: str) -> Where:
    if not text.startswith(PREFIX):
        return Path(text)
    address = parse_lake(text)
    return replace(address, side=Path(address.data).parent / address.side)


def _name(address: LakeAddress) -> str:
    return dict(address.parameters)["dbname"]
