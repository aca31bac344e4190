"""A real PostgreSQL for tests, from Debian's package: its own data folder, loopback only, a free port, a password.

It runs as an unprivileged user where we are root (which PostgreSQL refuses), and ends with the process that started
it, however that ends. Nothing of it lasts: it writes nothing through to the disk.
"""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.waiting import until

USER = "zk"
_UNPRIVILEGED = "postgres"  # the user that Debian's package makes
_SETTINGS = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "32MB",
    "max_connections": "100", "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
    "jit": "off", "max_parallel_workers": "0", "autovacuum_naptime": "10min", "log_min_messages": "warning",
}  # fmt: skip


class NoPostgres(Exception):
    """Why there is none here."""


@dataclass(frozen=True)
class Postgres:
    """A server that runs. Databases get names of their own; they are as short-lived as the server."""

    port: int
    password: str = field(repr=False)
    pid: int
    log: Path
    _numbers: itertools.count[int] = field(default_factory=itertools.count, repr=False)

    def fresh_database(self, template: str = "template1") -> str:
        """The URL of a new database, an empty one or a copy: `postgresql://zk:<password>@127.0.0.1:<port>/<name>`."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
        return self.url(name)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def run(self, sql: str, database: str = "postgres") -> str:
        """What `psql` prints for one statement, unaligned and without headers."""
        command = [str(_binaries() / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", sql]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server for as long as the context lasts. Raises NoPostgres, saying what is missing."""
    binaries, user = _binaries(), _runs_as()
    folder = Path(tempfile.mkdtemp(prefix="zk-postgres-"))
    try:
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        password = secrets.token_hex(12)
        _init(binaries, folder, user, password)
        with _running(binaries, folder, user, password) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise NoPostgres("PostgreSQL is not installed (Debian: `apt-get install postgresql`)")
    return found[-1].parent


def _runs_as() -> pwd.struct_passwd | None:
    """Whose server it is to be; None for our own user's."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise NoPostgres(f"PostgreSQL does not run as root, and there is no user {_UNPRIVILEGED}") from None


def _as(user: pwd.struct_passwd | None) -> list[str | Path]:
    """The kernel ends the server at once when the thread that started it dies."""
    command: list[str | Path] = ["setpriv", "--pdeathsig", "SIGQUIT"]
    return [*command, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if user else command


def _init(binaries: Path, folder: Path, user: pwd.struct_passwd | None, password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    if user:
        os.chown(secret, user.pw_uid, user.pw_gid)
    # md5: the hashing of SCRAM is 3 ms of CPU for each connection, a third of its cost, and Dagster opens thousands.
    command = [
        *_as(user), binaries / "initdb", "-D", folder / "data", "-U", USER, f"--pwfile={secret}", "--no-sync",
        "--auth=md5", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
    ]  # fmt: skip
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoPostgres(f"initdb failed: {(done.stderr.strip().splitlines() or ['no words'])[-1]}")


@contextmanager
def _running(binaries: Path, folder: Path, user: pwd.struct_passwd | None, password: str) -> Iterator[Postgres]:
    log, port = folder / "log", free_port()
    settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    command = [*_as(user), binaries / "postgres", "-D", folder / "data", "-p", str(port), *settings]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd="/", stdout=output, stderr=output)
    server = Postgres(port, password, process.pid, log)
    try:
        until(lambda: _answers(binaries, port) or process.poll() is not None, seconds=60, every=0.05)
        assert process.poll() is None, log.read_text(errors="replace")
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)  # at once, connections or not
        process.wait(30)


def _answers(binaries: Path, port: int) -> bool:
    command = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(command, check=False).returncode == 0
