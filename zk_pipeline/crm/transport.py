"""One HTTP request with an end: pooled connections, a total deadline, a bound on the answer's size.

Connections that keep to the deadline are in `timed_connections`; requests and the meaning of answers, in `client` and
`responses`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import requests

from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.responses import HttpResponse
from zk_pipeline.crm.timed_connections import MAX_CONNECT, TimedAdapter, time_left

MAX_BODY = 4 * 1024 * 1024  # bytes of an answer that are read; the rest is dropped with the connection


class Transport:
    """Requests to one endpoint: one connection per thread, no redirects, nothing taken from the environment.

    requests' own timeout is per read, so a server that sends a byte now and then holds it for ever. Here
    looking up the name, connecting, TLS, sending and every read of the answer, status line and headers included,
    end at the deadline of the whole request. Thread-safe.
    """

    def __init__(self, endpoint: CrmEndpoint, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._endpoint = endpoint
        self._monotonic = monotonic
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []
        self._not_after = float("inf")

    def send(
        self, method: str, *, headers: Mapping[str, str], body: bytes | None = None, url: str | None = None
    ) -> HttpResponse:
        """One request, to the endpoint unless `url` names another place of its server, and its answer.

        Raises what requests, urllib3, ssl and socket raise: see `transport_errors`.
        """
        endpoint = self._endpoint
        started = self._monotonic()

        def remaining() -> float:
            return min(started + endpoint.timeout, self._not_after) - self._monotonic()

        if remaining() <= 0:
            raise requests.ConnectTimeout("no time left to begin a request")
        accepted = {"Accept-Encoding": "gzip, deflate"}
        request = requests.Request(method, url or endpoint.url, headers=accepted | dict(headers), data=body).prepare()
        token = time_left.set(remaining)
        try:
            connect = min(remaining(), MAX_CONNECT)
            response = self._session().send(
                request, stream=True, allow_redirects=False, timeout=(connect, endpoint.timeout), proxies={}
            )
            with response:
                body = _bounded(response)
                return HttpResponse(
                    status=response.status_code,
                    headers=response.headers,
                    body=body[:MAX_BODY],
                    is_cut=len(body) > MAX_BODY,
                )
        finally:
            time_left.reset(token)

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
            adapter = TimedAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
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
    return bytes(body)
