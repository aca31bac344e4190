"""A minimal CRM in its own process: TLS, fixed latency, counted keys, no storage.

asyncio on bare protocols, several times as fast as any of the clients, so that it does not limit them.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

TOKEN = "benchmark-token"  # noqa: S105 (of this benchmark only)
_OK = b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"applied":1}'


@dataclass(frozen=True)
class Counts:
    """Counts since the previous call: requests, distinct keys, and CPU seconds of the server."""

    requests: int
    keys: int
    cpu: float


@dataclass(frozen=True)
class Crm:
    url: str
    port: int
    pipe: Connection

    def counts(self) -> Counts:
        self.pipe.send("counts")
        counts: Counts = self.pipe.recv()
        return counts


@contextmanager
def serving(chain: Path, key: Path, *, latency: float) -> Iterator[Crm]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, chain, key, latency))
    process.start()
    port = here.recv()
    try:
        yield Crm(f"https://127.0.0.1:{port}/api/attendance/", port, here)
    finally:
        here.send("end")
        process.join()


def _serve(pipe: Connection, chain: Path, key: Path, latency: float) -> None:
    asyncio.run(_Server(pipe, latency).run(chain, key))


class _Server:
    def __init__(self, pipe: Connection, latency: float) -> None:
        self.pipe, self.latency = pipe, latency
        self.keys: set[bytes] = set()
        self.requests, self.cpu = 0, time.process_time()

    async def run(self, chain: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Exchange(self), "127.0.0.1", 0, ssl=context, backlog=256)
        ended = loop.create_future()
        loop.add_reader(self.pipe.fileno(), self._on_command, ended)
        self.pipe.send(server.sockets[0].getsockname()[1])
        await ended
        os._exit(0)  # without waiting for connections that clients keep open

    def _on_command(self, ended: asyncio.Future[None]) -> None:
        if self.pipe.recv() == "end":
            ended.set_result(None)
            return
        cpu = time.process_time()
        self.pipe.send(Counts(self.requests, len(self.keys), cpu - self.cpu))
        self.keys, self.requests, self.cpu = set(), 0, cpu


class _Exchange(asyncio.Protocol):
    """One connection: reads a complete request and answers after the latency."""

    def __init__(self, server: _Server) -> None:
        self.server = server
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if len(body) < int(headers[b"content-length"]):
            return
        self.received = b""
        self.server.requests += 1
        answer = _OK
        if body.startswith(b"["):
            keys = [record["idempotency_key"] for record in json.loads(body)]
            results = json.dumps({"results": [{"idempotency_key": key, "status": 201} for key in keys]}).encode()
            answer = b"HTTP/1.1 207 Multi-Status\r\nContent-Type: application/json\r\n"
            answer += b"Content-Length: %d\r\n\r\n" % len(results) + results
            self.server.keys.update(key.encode() for key in keys)
        else:
            self.server.keys.add(headers[b"idempotency-key"])
        asyncio.get_running_loop().call_later(self.server.latency, self.transport.write, answer)
