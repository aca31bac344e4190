"""One HTTP request with an end: pooled connections, a total deadline, a bound on the answer's size.

What is sent and what an answer means is in `client` and `answers`.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from zk_pipeline.crm.answers import HttpAnswer
from zk_pipeline.crm.endpoint import CrmEndpoint

MAX_BODY = 4 * 1024 * 1024  # bytes of an answer that are read; the rest is dropped with the connection
MAX_CONNECT = 5.0  # seconds for TCP, and again for TLS: time for two lost packets
_SLICE = 0.5  # seconds a read waits before it looks whether its deadline was brought forward


class Transport:
    """Requests to one endpoint: one connection per thread, no redirects, nothing taken from the environment.

    requests' own timeout is per read, so a server that sends a byte now and then holds it for ever. Here
    every read of the answer, status line and headers included, ends at the deadline of the whole request;
    only looking up the name is left to the system's resolver. Thread-safe.
    """

    def __init__(self, endpoint: CrmEndpoint, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._endpoint = endpoint
        self._monotonic = monotonic
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []
        self._not_after = float("inf")

    def send(self, method: str, *, headers: Mapping[str, str], body: bytes | None = None) -> HttpAnswer:
        """One request and its answer. Raises what requests, urllib3, ssl and socket raise: see `failures`."""
        endpoint = self._endpoint
        started = self._monotonic()

        def remaining() -> float:
            return min(started + endpoint.timeout, self._not_after) - self._monotonic()

        if remaining() <= 0:
            raise requests.ConnectTimeout("no time left to begin a request")
        request = requests.Request(method, endpoint.url, headers=dict(headers), data=body).prepare()
        token = _remaining.set(remaining)
        try:
            connect = min(remaining(), MAX_CONNECT)
            response = self._session().send(
                request, stream=True, allow_redirects=False, timeout=(connect, endpoint.timeout), proxies={}
            )
            with response:
                return HttpAnswer(status=response.status_code, headers=response.headers, body=_bounded(response))
        finally:
            _remaining.reset(token)

    def finish_within(self, seconds: float) -> None:
        """Bring every deadline forward, for requests under way and to come: the run is being ended."""
        self._not_after = min(self._not_after, self._monotonic() + seconds)

    def close(self) -> None:
        """Close all connections. Not for use while requests are under way."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
            self._local = threading.local()
        for session in sessions:
            session.close()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False
            session.verify = str(self._endpoint.ca_bundle) if self._endpoint.ca_bundle else True
            adapter = _Adapter(pool_connections=1, pool_maxsize=1, max_retries=0)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session


def _bounded(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(16 * 1024):
        body += chunk
        if len(body) > MAX_BODY:
            break  # leaving the response unfinished makes urllib3 drop the connection
    return bytes(body[:MAX_BODY])


# The time left of the request that this thread is making; urllib3 has no place to hand it to a response.
_remaining: ContextVar[Callable[[], float]] = ContextVar("_remaining")


class _TimedReader(io.RawIOBase):
    """The receiving side of a socket, reading in slices until the deadline of the request."""

    def __init__(self, sock: socket.socket, owner: io.BufferedIOBase) -> None:
        self._sock = sock
        self._owner = owner  # keeps the socket open as long as the answer is being read
        self._remaining = _remaining.get()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            left = self._remaining()
            if left <= 0:
                raise TimeoutError("the deadline of the request has passed")
            self._sock.settimeout(min(left, _SLICE))
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                continue

    def close(self) -> None:
        if not self.closed:
            self._owner.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedReader(sock, self.fp))


class _TimedHTTPConnection(HTTPConnection):
    response_class = _TimedResponse


class _TimedHTTPSConnection(HTTPSConnection):
    response_class = _TimedResponse


class _TimedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _TimedHTTPConnection


class _TimedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _TimedHTTPPool, "https": _TimedHTTPSPool}
