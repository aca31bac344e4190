"""A CRM of raw bytes: the test decides what is sent for each request, and when."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


def answer(
    body: bytes = b"{}", *, status: str = "201 Created", headers: bytes = b"", length: int | None = None
) -> bytes:
    """An answer in full; `length` for one whose Content-Length is not true."""
    size = len(body) if length is None else length
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s" % (
        status.encode(), size, headers, body
    )  # fmt: skip


Script = Callable[[socket.socket, bytes], None]  # what is done with the connection once a request was read


@dataclass
class RawCrm:
    script: Script
    greeting: bytes = b""  # sent to every new connection
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as incoming:
            try:
                if self.greeting:
                    connection.sendall(self.greeting)
                while request := _read(incoming):
                    self.requests.append(request)
                    self.script(connection, request)
            except OSError:
                pass  # the client has gone


def _read(incoming: object) -> bytes:
    head = b""
    while line := incoming.readline():  # type: ignore[attr-defined]
        head += line
        if line == b"\r\n":
            break
    lengths = [int(line.split(b":")[1]) for line in head.splitlines() if line.lower().startswith(b"content-length:")]
    return head + (incoming.read(lengths[0]) if lengths else b"")  # type: ignore[attr-defined]


@contextmanager
def raw_crm(script: Script, *, greeting: bytes = b"") -> Iterator[RawCrm]:
    crm = RawCrm(script, greeting)
    open_now: list[socket.socket] = []
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        crm.port = server.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                crm.connections += 1
                open_now.append(connection)
                threads.append(threading.Thread(target=crm.serve, args=(connection,)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield crm
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in open_now:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
