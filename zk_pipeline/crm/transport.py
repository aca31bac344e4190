"""HTTP transport: pooled connections, a total deadline per request, a size limit of responses; transport errors.

Connections with a deadline are in `deadline_connections`; `classify_exception` classifies requests without a response,
`responses` those with one.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping

import requests
import urllib3

from zk_pipeline.crm.deadline_connections import CONNECT_TIMEOUT_SECONDS, DeadlineAdapter, time_left
from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.responses import DeliveryResult, HttpResponse, ResponseClass
from zk_pipeline.crm.sanitize import sanitize_line

MAX_BODY_BYTES = 4 * 1024 * 1024  # size limit of a response; the rest is dropped with the connection


class Transport:
    """Requests to one endpoint: one connection per thread, no redirects, no proxies from the environment. Thread-safe.

    The timeout of `requests` is per read, so a server that sends single bytes could block it without limit. Here DNS,
    connecting, TLS, sending and every read of the response, status line and headers included, end at the deadline of
    the whole request.
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
        """Send one request to the endpoint, or to `url` on the same server, and return the response.

        Raises exceptions of requests, urllib3, ssl and socket: see `classify_exception`.
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
            connect = min(remaining(), CONNECT_TIMEOUT_SECONDS)
            response = self._session().send(
                request, stream=True, allow_redirects=False, timeout=(connect, endpoint.timeout), proxies={}
            )
            with response:
                body = _read_bounded(response)
                return HttpResponse(
                    status=response.status_code,
                    headers=response.headers,
                    body=body[:MAX_BODY_BYTES],
                    is_cut=len(body) > MAX_BODY_BYTES,
                )
        finally:
            time_left.reset(token)

    def finish_within(self, seconds: float) -> None:
        """Limit every deadline, of requests in progress and later ones, to `seconds` from now, as the run is ending."""
        self._not_after = min(self._not_after, self._monotonic() + seconds)

    def close(self) -> None:
        """Close all connections. Must not be called with requests in progress."""
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
            adapter = DeadlineAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session


def _read_bounded(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(16 * 1024):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            break  # leaving the response unfinished makes urllib3 drop the connection
    return bytes(body)


_NEVER_CONNECTED = (
    requests.ConnectTimeout,
    urllib3.exceptions.NewConnectionError,
    ConnectionRefusedError,
    socket.gaierror,
)
# The peer closed the connection during the TLS handshake: a network failure, not one of trust.
_TLS_INTERRUPTED = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def classify_exception(error: BaseException, endpoint: CrmEndpoint, *, secrets: Collection[str] = ()) -> DeliveryResult:
    """Classify an exception of requests, urllib3, ssl or socket; the message has no queries or secrets.

    An untrusted certificate or a name that does not exist is MISCONFIGURED, a failed connection UNAVAILABLE; after a
    connection was made, the record may have been applied: UNKNOWN.
    """
    causes = list(_causes(error))
    for cause in causes:
        problem = misconfiguration(cause, endpoint)
        if problem:
            return DeliveryResult(meaning=ResponseClass.MISCONFIGURED, error=sanitize_line(problem, secrets=secrets))
    never_connected = any(isinstance(c, _NEVER_CONNECTED) for c in causes)
    where = f"{endpoint.host}:{endpoint.port}"
    if never_connected:
        text = f"cannot connect to {where}: {_reason(causes)}"
        return DeliveryResult(meaning=ResponseClass.UNAVAILABLE, error=sanitize_line(text, secrets=secrets))
    text = f"no complete answer from {where}: {_reason(causes)}"
    return DeliveryResult(meaning=ResponseClass.UNKNOWN, error=sanitize_line(text, secrets=secrets))


def misconfiguration(cause: BaseException, endpoint: CrmEndpoint) -> str | None:
    """Setting to change if `cause` (one link of an exception chain) is caused by wrong settings; else None."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {endpoint.host} is not trusted ({cause.verify_message}): "
            "renew it, correct the name in CRM_API_URL, or name a private authority in CRM_CA_BUNDLE"
        )
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, _TLS_INTERRUPTED):
        where = f"{endpoint.host}:{endpoint.port}"
        return f"no TLS with {where} ({cause.reason}): check the scheme and port of CRM_API_URL"
    if isinstance(cause, socket.gaierror) and cause.errno in (socket.EAI_NONAME, socket.EAI_FAMILY):
        return f"the name {endpoint.host} does not exist: check CRM_API_URL"
    if isinstance(cause, requests.exceptions.InvalidURL | urllib3.exceptions.LocationValueError):
        return "CRM_API_URL is not a valid address"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Every exception in `error`'s chain, also those in `reason` and arguments (urllib3, requests)."""
    seen: set[int] = set()
    queue = [error]
    while queue:
        link = queue.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        queue += [getattr(link, "reason", None), *link.args, link.__cause__, link.__context__]


def _reason(causes: list[BaseException]) -> str:
    # Innermost first: outer exceptions repeat it with addresses and object names.
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    if any(isinstance(c, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError) for c in causes):
        return "timeout"
    return str(causes[-1]) or type(causes[-1]).__name__
