"""urllib3 connections with a total deadline per request, and a strict match of responses to requests.

HTTP/1.1 matches responses to requests only by their order. So interim responses (1xx, RFC 9110, section 15.2) are
skipped until the final one, and a connection with unexpected bytes is never reused.

`transport` sets the deadline in a context variable, because urllib3 cannot pass it to a connection.
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

CONNECT_TIMEOUT_SECONDS = 5.0  # each for DNS, TCP and TLS: time for two lost packets
_READ_SLICE_SECONDS = 0.5  # a read checks after this time if its deadline was moved forward
_CHUNK_BYTES = 16 * 1024  # bytes per send, each with the remaining time as timeout
MAX_INTERIM_RESPONSES = 20  # before the final response
MAX_INTERIM_BYTES = 64 * 1024  # of all their header lines together

# Seconds left for the current request of this thread.
time_left: ContextVar[Callable[[], float]] = ContextVar("time_left")


def _remaining() -> float:
    left = time_left.get()()
    if left <= 0:
        raise TimeoutError("the deadline of the request has passed")
    return left


class _DeadlineReader(io.RawIOBase):
    """Reader of a socket until the request's deadline, in slices."""

    def __init__(self, sock: socket.socket, owner: io.BufferedIOBase, early: bytes) -> None:
        self._sock = sock
        self._owner = owner  # keeps the socket open while the response is being read
        self._early = early  # bytes already read from the socket
        self._remaining = time_left.get()
        self._has_read = False
        self.is_in_headers = True
        self.is_at_end = False  # end of the response: the socket is not read any further

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
                # http.client treats the end of the stream as the end of the headers, and TLS a reset as an end.
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
        """The status line of the final response; `http.client` itself skips only a 100."""
        size = 0
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 100 <= found[1] < 200:
                return found
            if found[1] == 101:
                raise http.client.HTTPException("the server switched to another protocol without a request for it")
            while (line := self.fp.readline(MAX_INTERIM_BYTES)) not in (b"\r\n", b"\n", b""):
                size += len(line)
                if size >= MAX_INTERIM_BYTES:
                    raise http.client.HTTPException("interim responses are too long")
        raise http.client.HTTPException(f"more than {MAX_INTERIM_RESPONSES} interim responses and no final one")

    def _close_conn(self) -> None:
        self._reader.is_at_end = True
        if self.fp.peek(1):  # bytes after this response
            self._connection.is_spoiled = True
        super()._close_conn()  # type: ignore[misc]


class _DeadlineConnection(HTTPConnection):
    """DNS, connecting and sending within the deadline; a response must follow its request."""

    early = b""  # bytes that arrived before the request had been sent
    is_spoiled = False  # bytes arrived that belong to no request

    def response_class(self, sock: socket.socket, *args: Any, **kwargs: Any) -> _DeadlineResponse:  # type: ignore[override]
        return _DeadlineResponse(self, sock, *args, **kwargs)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None and (self.is_spoiled or self._has_data()):
            self.close()
        if self.sock is None:
            self.connect()
            if self._has_data():
                self.close()
                raise NewConnectionError(self, "the server closed the connection or sent data before the request")
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        answer = super().getresponse()
        if self.early:
            self.early, self.is_spoiled = b"", True
            if answer.status < 400:  # a rejection may be that early; an applied record cannot
                self.close()
                raise http.client.HTTPException("the answer began before the request had been sent")
        return answer

    def close(self) -> None:
        super().close()
        self.early, self.is_spoiled = b"", False

    def _has_data(self) -> bool:
        """Whether bytes, or the end of the stream, have arrived."""
        try:
            return self._arrived() is not None
        except OSError:
            return True

    def _arrived(self) -> bytes | None:
        """The bytes that have arrived, empty at the end of the stream; None without any."""
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
                with suppress(OSError):  # a broken connection shows in sending or reading
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
