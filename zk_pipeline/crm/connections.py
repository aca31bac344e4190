"""Connections of urllib3 that end at the deadline of a whole request, whatever they are waiting for.

Who sets the deadline is `transport`; urllib3 has no place to hand it to a connection or a response.
"""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from zk_pipeline.crm.resolve import resolve

MAX_CONNECT = 5.0  # seconds for the name, for TCP, and again for TLS: time for two lost packets
_SLICE = 0.5  # seconds a read waits before it looks whether its deadline was brought forward
_PIECE = 16 * 1024  # bytes handed to the socket at once, each with what is left of the time

# Seconds left of the request that this thread is making.
time_left: ContextVar[Callable[[], float]] = ContextVar("time_left")


def _left() -> float:
    left = time_left.get()()
    if left <= 0:
        raise TimeoutError("the deadline of the request has passed")
    return left


class _TimedReader(io.RawIOBase):
    """The receiving side of a socket, reading in slices until the deadline of the request."""

    def __init__(self, sock: socket.socket, owner: io.BufferedIOBase) -> None:
        self._sock = sock
        self._owner = owner  # keeps the socket open as long as the answer is being read
        self._remaining = time_left.get()
        self._has_read = False
        self.is_in_headers = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            left = self._remaining()
            if left <= 0:
                raise TimeoutError("the deadline of the request has passed")
            self._sock.settimeout(min(left, _SLICE))
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


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._reader = _TimedReader(sock, self.fp)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        super().begin()
        self._reader.is_in_headers = False


class _Timed(HTTPConnection):
    """Names, connecting and sending within the deadline."""

    response_class = _TimedResponse

    def _new_conn(self) -> socket.socket:
        try:
            addresses = resolve(self._dns_host, self.port or self.default_port, seconds=min(_left(), MAX_CONNECT))
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        problem: OSError = OSError("the name has no address")
        for address in addresses:
            try:
                timeout = min(_left(), MAX_CONNECT)
                return create_connection(address, timeout, socket_options=self.socket_options)
            except OSError as error:
                problem = error
        raise NewConnectionError(self, f"Failed to establish a new connection: {problem}") from problem

    def send(self, data: Any) -> None:
        if not isinstance(data, bytes):
            super().send(data)
            return
        for start in range(0, len(data), _PIECE):
            if self.sock is not None:
                self.sock.settimeout(_left())
            super().send(data[start : start + _PIECE])


class _TimedHTTPConnection(_Timed, HTTPConnection):
    pass


class _TimedHTTPSConnection(_Timed, HTTPSConnection):
    pass


class _TimedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _TimedHTTPConnection


class _TimedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection


class TimedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _TimedHTTPPool, "https": _TimedHTTPSPool}
