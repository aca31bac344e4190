"""HTTP server of the receiver: the server of this package with a limit on connections per address."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any, ClassVar

from zk_pipeline.config.settings import Settings
from zk_pipeline.receiver.app import ReceiverApp
from zk_pipeline.receiver.background import Intervals
from zk_pipeline.receiver.host_clock import HostClock
from zk_pipeline.receiver.receiver import Receiver
from zk_pipeline.receiver.reconciliation import Reconciliation
from zk_pipeline.server.uvicorn_server import HeaderTimeoutProtocol, Server, make_server
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.store import Store

# Terminals wait 10 to 60 s for an answer, and keep their punches without one.
STORE_WAIT_SECONDS = 8.0
MAX_CONNECTIONS = 2000
MAX_CONNECTIONS_PER_ADDRESS = 256  # terminals behind one address; a proxy on this host has no limit


_CONTINUE = b"HTTP/1.1 100 "
_HEADER_NAME = re.compile(rb"(?m)^[a-z][a-z-]*(?=:)")


class TitleCaseTransport:
    """A transport that writes names of response headers as `Date`: uvicorn writes `date`, and the push client in
    firmware of 2013 compares them with case, so that its clock would never be set.

    Headers are written together with the body that follows: one system call, and one segment for a client that reads
    once.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if data.startswith(b"HTTP/"):
            head, end, body = data.partition(b"\r\n\r\n")
            data = _HEADER_NAME.sub(lambda name: name[0].title(), head) + end + body
            if not body and not data.startswith(_CONTINUE):
                self._head = data
                return
        self._transport.write(self._head + data)
        self._head = b""

    def close(self) -> None:
        if self._head:  # the answer to HEAD has no body
            self.write(b"")
        self._transport.close()


class ReceiverProtocol(HeaderTimeoutProtocol):
    """HTTP protocol with limits for many terminals."""

    max_connections = MAX_CONNECTIONS
    max_per_address = MAX_CONNECTIONS_PER_ADDRESS
    unlimited = ("127.0.0.1", "::1")
    _per_address: ClassVar[Counter[str]] = Counter()
    _address: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(TitleCaseTransport(transport))  # type: ignore[arg-type]
        peer = transport.get_extra_info("peername")
        if peer and peer[0] not in self.unlimited:
            self._address = str(peer[0])
            self._per_address[self._address] += 1
            if self._per_address[self._address] > self.max_per_address:
                transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address is not None:
            self._per_address[self._address] -= 1
            if self._per_address[self._address] <= 0:
                del self._per_address[self._address]
        super().connection_lost(exc)


def receiver_store(settings: Settings) -> Store:
    """The store of the settings, with a wait for its lock that is shorter than the terminals wait."""
    return Store(Database(settings.store, wait_seconds=STORE_WAIT_SECONDS, foreign_wait_seconds=STORE_WAIT_SECONDS))


def create_receiver(settings: Settings, store: Store, *, trusts_clock: bool = False) -> Receiver:
    """The receiver on a store, with the settings."""
    return Receiver(
        store.push,
        HostClock(store.clock, is_trusted=trusts_clock),
        punch_events=settings.receiver_punch_events,
        on_tick=Reconciliation(store.push).tick,
    )


def make_receiver_server(receiver: Receiver, intervals: Intervals | None = None) -> Server:
    """A server for the receiver, not started yet; pass its socket to `serve` or `run`."""
    app = ReceiverApp(receiver, intervals or Intervals())
    return make_server(app, protocol=ReceiverProtocol, date_header=False)
