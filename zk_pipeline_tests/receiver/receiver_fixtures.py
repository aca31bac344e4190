"""The receiver served over HTTP on loopback, and short ways to send it requests as terminals do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from zk_pipeline.receiver.background import Intervals
from zk_pipeline.receiver.host_clock import HostClock
from zk_pipeline.receiver.receiver import Receiver
from zk_pipeline.server.receiver_server import make_receiver_server
from zk_pipeline.server.uvicorn_server import listen_on
from zk_pipeline.store.push.terminals import Contact
from zk_pipeline.store.store import Store
from zk_pipeline_tests.plain_http import NO_CERTIFICATES
from zk_pipeline_tests.waiting import until

SERIAL = "CQZ7230960001"
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
QUICK = Intervals(
    look=0.01, refresh=0.02, refresh_lake=0.02, sent=0.02, contacts=0.05, new_contacts=0.02, offsets=0.05, tick=0.05
)


@dataclass
class Host:
    """Clocks of a host, moved by hand."""

    now: datetime = NOON
    boot: float = 100.0
    has_ntp: bool = False

    def clock(self, *, is_trusted: bool = False) -> HostClock:
        return HostClock(lambda: self.now, is_trusted, elapsed=lambda: self.boot, is_synchronized=lambda: self.has_ntp)

    def pass_time(self, **by: float) -> None:
        span = timedelta(**by)
        self.now += span
        self.boot += span.total_seconds()


@dataclass(frozen=True)
class Served:
    """A running receiver."""

    receiver: Receiver
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **parameters: str) -> httpx.Response:
        return self.send("GET", path, b"", **parameters)

    def post(self, path: str, body: bytes = b"", **parameters: str) -> httpx.Response:
        return self.send("POST", path, body, **parameters)

    def send(self, method: str, path: str, body: bytes, *, prefix: str = "", **parameters: str) -> httpx.Response:
        """One request of the terminal SERIAL, on a connection of its own."""
        headers: dict[str, Any] = {"Connection": "close", "User-Agent": "iClock Proxy/1.09"}
        with httpx.Client(
            base_url=self.url, headers=headers, timeout=30, trust_env=False, verify=NO_CERTIFICATES
        ) as client:
            return client.request(method, f"{prefix}/iclock/{path}", params={"SN": SERIAL, **parameters}, content=body)


@contextmanager
def serve(receiver: Receiver, intervals: Intervals = QUICK) -> Iterator[Served]:
    listening = listen_on("127.0.0.1", 0)
    server = make_receiver_server(receiver, intervals)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="receiver")
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert thread.is_alive()
        yield Served(receiver, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive()


def receiver_of(store: Store, **more: Any) -> Receiver:
    """A receiver that trusts the clock of the store."""
    clock = HostClock(store.clock, is_trusted=True, elapsed=lambda: 0.0, is_synchronized=lambda: True)
    return Receiver(store.push, more.pop("host_clock", clock), **more)


def adopt(store: Store, serial: str = SERIAL, name: str = "Gate", *, zone: str = "UTC", **more: str) -> None:
    """Adopt a terminal that has connected once."""
    store.push.record_contacts([Contact(serial_number=serial, address="127.0.0.1", seen_at=store.clock())])
    store.push.adopt(serial, name, timezone=zone, default_timezone="UTC", site=None, by="test")
    if more:
        store.push.protect(name, **more)


def line(user_id: str, at: str) -> bytes:
    """A line of ATTLOG of push 2.2."""
    return f"{user_id}\t{at}\t0\t1\t\t0\t0\n".encode()


def punches(store: Store) -> list[tuple[str, str, str]]:
    """User, wall clock and device of all punches, in order."""
    with store.database.read("test") as connection:
        return connection.execute(
            "SELECT user_id, strftime(punched_at_local, '%Y-%m-%d %H:%M:%S'), device FROM raw_punches ORDER BY ALL"
        ).fetchall()


def quarantined(store: Store) -> list[tuple[str, bytes, str]]:
    """Format, bytes and reason of all quarantined records, in order."""
    with store.database.read("test") as connection:
        return connection.execute("SELECT record_format, raw, reason FROM quarantined_records ORDER BY ALL").fetchall()
