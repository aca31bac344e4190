"""What every request passes through first and every answer last: limits, headers, the access log. Plain ASGI."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zk_pipeline.http.errors import unexpected
from zk_pipeline.http.request_metrics import RequestMetrics

MAX_BODY_BYTES = 256 * 1024
BODY_SECONDS = 20.0  # for the whole of it
SEND_SECONDS = 30.0  # for the client to take a piece of an answer
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ACCESS = logging.getLogger("zk_pipeline.api.access")

# Styles and scripts come from our own files only; a page that needs either inline is a bug.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: browsers then send `Origin: null` with our own forms, too.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_TOKEN = re.compile(r"zkp_[0-9A-Za-z_-]+")
_UNSLASHED = ("/api/docs", "/api/openapi.json")


@dataclass(frozen=True)
class Guard:
    """`any_host` is False where no token is asked for: then only names of this machine are answered to, since a foreign
    web page may have its own name point here.
    """

    app: ASGIApp
    requests: RequestMetrics
    any_host: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        _add_slash(scope)
        refusal = self._refusal(scope)
        try:
            if refusal is not None:
                await refusal(scope, exchange.receive, exchange.send)
            else:
                await self.app(scope, exchange.receive, exchange.send)
        except Exception as error:
            if exchange.is_answered:
                raise  # the server hangs up
            await unexpected(Request(scope), error)(scope, exchange.receive, exchange.send)
        finally:
            exchange.finish(self.requests)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if "host" in headers and not _is_host(headers["host"]):
            return _refuse(400, "the Host header is no host")
        if not self.any_host and not is_loopback_name(headers.get("host", "")):
            return _refuse(403, "without tokens only the names of this machine are answered to, such as localhost")
        if scope["method"] not in SAFE_METHODS and "authorization" not in headers and not _is_from_here(headers):
            return _refuse(403, "this request comes from a page of another site")
        names = [name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)]
        if scope["path"].startswith("/api/") and len(names) != len(set(names)):
            return _refuse(400, "a parameter is given more than once")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            return _refuse(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        return None


class _Exchange:
    """One request and its answer, with limits on both ways."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._began = time.perf_counter()
        self._received, self._sent, self._status = 0, 0, 0
        self._is_complete = _has_no_body(Headers(scope=scope))

    async def receive(self) -> Message:
        if self._is_complete:
            return await self._receive()  # waits for the client to hang up: no limit
        left = self._began + BODY_SECONDS - time.perf_counter()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.01, left))
        except asyncio.TimeoutError:
            raise HTTPException(408, f"the body did not arrive within {BODY_SECONDS:.0f} s") from None
        self._is_complete = not message.get("more_body", False)
        self._received += len(message.get("body", b""))
        if self._received > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            _add_headers(MutableHeaders(scope=message), self._scope)
            if not self._is_complete and self._status >= 400:
                MutableHeaders(scope=message)["connection"] = "close"  # whatever else the client has to say
        self._sent += len(message.get("body", b""))
        try:
            await asyncio.wait_for(self._send(message), SEND_SECONDS)
        except asyncio.TimeoutError:
            raise ConnectionError("the client does not take the answer") from None

    @property
    def is_answered(self) -> bool:
        return self._status != 0

    def finish(self, requests: RequestMetrics) -> None:
        """Count the request and write its line of the access log."""
        seconds = time.perf_counter() - self._began
        route = getattr(self._scope.get("route"), "path", "(none)")
        method = self._scope["method"] if self._scope["method"] in METHODS else "(other)"
        requests.record(method, route, self._status, seconds)
        client = self._scope.get("client")
        # Without the query: somebody may have put a token there.
        entry: dict[str, Any] = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "client": client[0] if client else None,
            "who": self._scope.get("state", {}).get("who"),
            "method": method,
            "path": _TOKEN.sub("zkp_…", self._scope["path"])[:300],
            "status": self._status,
            "bytes": self._sent,
            "ms": round(seconds * 1e3, 1),
        }
        ACCESS.info("%s", json.dumps(entry))


def is_loopback_name(host: str) -> bool:
    """Whether a Host header (or a name by itself) is one of this machine's own."""
    name = urlsplit(f"//{host}").hostname or "" if _is_host(host) else ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_host(text: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?", text, re.ASCII))


def _is_from_here(headers: Headers) -> bool:
    """What is not from a browser, or from a page of ours. Browsers cannot be made to leave both headers out."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""
    return site in (None, "same-origin", "none")


def _has_no_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers


def _add_slash(scope: Scope) -> None:
    path: str = scope["path"]
    if path.startswith("/api/") and not path.endswith("/") and path not in _UNSLASHED:
        scope["path"] = f"{path}/"


def _add_headers(headers: MutableHeaders, scope: Scope) -> None:
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    if not scope["path"].startswith("/static/"):
        headers.setdefault("cache-control", "no-store")
    if scope["scheme"] == "https":
        headers.setdefault("strict-transport-security", "max-age=31536000")


def _refuse(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
