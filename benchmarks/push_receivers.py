"""Receivers of pushing terminals in processes of their own, for benchmarks/push.py. No measurement."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zk_pipeline.simulator.push.wire import ReceiverAddress, Request, exchange
from zk_pipeline.store.push.terminals import Contact
from zk_pipeline.store.store import Store, utc_now
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.simulator.push.independent_receiver import DATABASE, independent_receiver
from zk_pipeline_tests.waiting import until

_START_SECONDS = 60.0


@dataclass(frozen=True)
class Running:
    """A receiver that accepts the terminals of the benchmark."""

    url: str
    pid: int


class Receiver(Protocol):
    """A receiver that can be started on an empty folder."""

    @property
    def name(self) -> str: ...

    def running(self, folder: Path, serial_numbers: Sequence[str]) -> AbstractContextManager[Running]:
        """Start it with these terminals adopted; stop it at the end."""

    def count(self, folder: Path) -> int:
        """Number of stored punches, of a receiver that runs or has ended."""


class Independent:
    """The receiver of django-fingerprint-attendance with SQLite, which accepts every terminal."""

    name = "django-fingerprint-attendance"

    @contextmanager
    def running(self, folder: Path, serial_numbers: Sequence[str]) -> Iterator[Running]:  # noqa: ARG002
        with independent_receiver(folder) as receiver:
            yield Running(receiver.url, receiver.pid)

    def count(self, folder: Path) -> int:
        with closing(sqlite3.connect(folder / DATABASE)) as connection:
            (found,) = connection.execute("SELECT count(*) FROM fingerprint_attendance_punch").fetchone()
        return int(found)


@dataclass(frozen=True)
class Own:
    """`command` with a store on a file; `{port}` is replaced. By default `zk-pipeline receive`."""

    command: str = f"{shlex.quote(sys.executable)} -m zk_pipeline receive --port {{port}} --trust-clock"
    name: str = "zk_pipeline"

    @contextmanager
    def running(self, folder: Path, serial_numbers: Sequence[str]) -> Iterator[Running]:
        adopt(Store.at(_store_path(folder)), serial_numbers)
        with self.started(folder, str(_store_path(folder))) as running:
            yield running

    @contextmanager
    def started(self, home: Path, database: str) -> Iterator[Running]:
        """Start it in its home, with a store in which its terminals are adopted."""
        port = free_port()
        command = [part.replace("{port}", str(port)) for part in shlex.split(self.command)]
        environment = {"ZK_PIPELINE_HOME": str(home), "ZK_PIPELINE_DATABASE": database}
        log = home / "receiver.log"
        with (
            log.open("wb") as stream,
            subprocess.Popen(command, env={**os.environ, **environment}, stdout=stream, stderr=stream) as process,  # noqa: S603
        ):
            try:
                until(lambda: process.poll() is not None or _answers(port), seconds=_START_SECONDS, every=0.1)
                assert process.poll() is None, f"the receiver ended: {log.read_text()[-500:]}"
                yield Running(f"http://127.0.0.1:{port}", process.pid)
            finally:
                process.terminate()

    def count(self, folder: Path) -> int:
        return count_punches(Store.at(_store_path(folder)))


def count_punches(store: Store) -> int:
    with store.database.read("count punches") as connection:
        row = connection.execute("SELECT count(*) FROM raw_punches").fetchone()
    assert row is not None
    return int(row[0])


def adopt(store: Store, serial_numbers: Sequence[str]) -> None:
    push, now = store.push, utc_now()
    push.record_contacts([Contact(serial_number=one, address="127.0.0.1", seen_at=now) for one in serial_numbers])
    for one in serial_numbers:
        push.adopt(one, f"Gate {one}", timezone=None, default_timezone="Africa/Nairobi", site=None, by="benchmark")


def _store_path(folder: Path) -> Path:
    return folder / "store.duckdb"


def _answers(port: int) -> bool:
    request = Request(method="GET", target="/iclock/ping?SN=none")
    return exchange(request, ReceiverAddress("127.0.0.1", port), 1).status != 0
