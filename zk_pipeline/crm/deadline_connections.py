"""Connections of urllib3 that end at the deadline of a whole request and give each request its own answer.

HTTP/1.1 matches answers to requests by their order alone. So interim answers (1xx, RFC 9110, section 15.2) are read
until the final one, and a connection on which bytes arrived that belong to no request is never used again.

Who sets the deadline is `transport`; urllib3 has no place to hand it to a connection or a response.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from zk_pipeline.crm.dns import resolve

CONNECT_TIMEOUT_SECONDS = 5.0  # seconds for the name, for TCP, and again for TLS: time for two lost packets
_READ_SLICE_SECONDS = 0.5  # seconds a read waits before it looks whether its deadline was brought forward
_CHUNK_BYTES = 16 * 1024  # bytes handed to the socket at once, each with what is left of the time
MAX_INTERIM_RESPONSES = 20  # interim answers before the final one
MAX_INTERIM_BYTES = 64 * 1024  # of all their header lines together

# Seconds left of the request that this thread is making.
time_left: ContextVar[Callable[[], float]] = ContextVar("time_left")


def _remaining() -> float:
    left = time_left.get()()
    if left <= 0:
        raise TimeoutError("the deadline of the request has passed")
    return left


class _DeadlineReader(io.RawIOBase):
    """The receiving side of a socket, reading in slices until the deadline of the request."""

    def __init__(self, sock: socket.socket, owner: io.BufferedIOBase, early: bytes) -> None:
        self._sock = sock
        self._owner = owner  # keeps the socket open as long as the answer is being read
        self._early = early  # read from the socket before
        self._remaining = time_left.get()
        self._has_read = False
        self.is_in_headers = True
        self.is_at_end = False  # of the answer: nothing more is read from the socket

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._early:
            count = min(len(buffer), len(self._early))
            buffer[:count], self._early = self._early[:count], self._early[count:]
            self._has_read = True
            return count
        if self.is_at_end:
            return None
        while True:
            left = self._remaining()
            if left <= 0:
                raise TimeoutError("the deadline of the request has passed")
            self._sock.settimeout(min(left, _READ_SLICE_SECONDS))
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            if not count and self._has_read and self.is_in_headers:
                # http.client takes the end of the stream for the end of the headers, and TLS a reset for an end.
                raise ConnectionResetError("the answer was cut off in its headers")
            self._has_read |= bool(count)
            return count

    def close(self) -> None:
        if not self.closed:
            self._owner.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, connection: _DeadlineConnection, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._connection = connection
        self._reader = _DeadlineReader(sock, self.fp, connection.early)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        super().begin()
        self._reader.is_in_headers = False

    def _read_status(self) -> tuple[str, int, str]:
        """The status line of the final answer; `http.client` itself reads on only after 100."""
        size = 0
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 100 <= found[1] < 200:
                return found
            if found[1] == 101:
                raise http.client.HTTPException("the server switched to another protocol, which nobody asked for")
            while (line := self.fp.readline(MAX_INTERIM_BYTES)) not in (b"\r\n", b"\n", b""):
                size += len(line)
                if size >= MAX_INTERIM_BYTES:
                    raise http.client.HTTPException("interim answers are too long")
        raise http.client.HTTPException(f"more than {MAX_INTERIM_RESPONSES} interim answers and no final one")

    def _close_conn(self) -> None:
        self._reader.is_at_end = True
        if self.fp.peek(1):  # more than this answer was read with it
            self._connection.is_spoiled = True
        super()._close_conn()  # type: ignore[misc]


class _DeadlineConnection(HTTPConnection):
    """Names, connecting and sending within the deadline; an answer belongs to the request it follows."""

    early = b""  # what arrived before the request had been sent
    is_spoiled = False  # what belongs to no request has arrived

    def response_class(self, sock: socket.socket, *args: Any, **kwargs: Any) -> _DeadlineResponse:  # type: ignore[override]
        return _DeadlineResponse(self, sock, *args, **kwargs)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None and (self.is_spoiled or self._has_come()):
            self.close()
        if self.sock is None:
            self.connect()
            if self._has_come():
                self.close()
                raise NewConnectionError(self, "the server closed the connection or spoke before it was asked")
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        answer = super().getresponse()
        if self.early:
            self.early, self.is_spoiled = b"", True
            if answer.status < 400:  # a refusal may come that early, but nothing was applied before it was known
                self.close()
                raise http.client.HTTPException("the answer began before the request had been sent")
        return answer

    def close(self) -> None:
        super().close()
        self.early, self.is_spoiled = b"", False

    def _has_come(self) -> bool:
        """Whether bytes, or the end of the stream, have arrived by now."""
        try:
            return self._arrived() is not None
        except OSError:
            return True

    def _arrived(self) -> bytes | None:
        """The bytes that have arrived by now, none at the end of the stream; None where nothing has."""
        self.sock.setblocking(False)
        try:
            return bytes(self.sock.recv(_CHUNK_BYTES))
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def _new_conn(self) -> socket.socket:
        try:
            addresses = resolve(
                self._dns_host, self.port or self.default_port, seconds=min(_remaining(), CONNECT_TIMEOUT_SECONDS)
            )
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        problem: OSError = OSError("the name has no address")
        for address in addresses:
            try:
                timeout = min(_remaining(), CONNECT_TIMEOUT_SECONDS)
                return create_connection(address, timeout, socket_options=self.socket_options)
            except OSError as error:
                problem = error
        raise NewConnectionError(self, f"Failed to establish a new connection: {problem}") from problem

    def send(self, data: Any) -> None:
        if not isinstance(data, bytes):
            super().send(data)
            return
        for start in range(0, len(data), _CHUNK_BYTES):
            if self.sock is not None:
                with suppress(OSError):  # what is wrong with the connection shows in sending, or in reading
                    self.early += self._arrived() or b""
                self.sock.settimeout(_remaining())
            super().send(data[start : start + _CHUNK_BYTES])


class _DeadlineHTTPConnection(_DeadlineConnection, HTTPConnection):
    pass


class _DeadlineHTTPSConnection(_DeadlineConnection, HTTPSConnection):
    pass


class _DeadlineHTTPPool(HTTPConnectionPool):
    ConnectionCls = _DeadlineHTTPConnection


class _DeadlineHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _DeadlineHTTPSConnection


class DeadlineAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _DeadlineHTTPPool, "https": _DeadlineHTTPSPool}
