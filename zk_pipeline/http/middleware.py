"""ASGI middleware of all requests: size and time limits, host and origin checks, security headers, access log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zk_pipeline.http.errors import error_response, unexpected_error_response
from zk_pipeline.http.origin import SAFE_METHODS, is_host, is_loopback_name, is_same_origin
from zk_pipeline.http.request_metrics import RequestMetrics
from zk_pipeline.store.engine.read_copy import ReadCopy, Reader, reader

MAX_BODY_BYTES = 256 * 1024
MAX_PUNCH_FILE_BYTES = 4 * 1024 * 1024  # 100,000 punches: the log of a terminal
_PUNCH_FILES = re.compile(r"/devices/\d+/import")
BODY_TIMEOUT_SECONDS = 20.0  # for the whole body
SEND_TIMEOUT_SECONDS = 30.0  # for the client to receive one chunk of a response
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
ACCESS_LOG = logging.getLogger("zk_pipeline.api.access")

# Styles and scripts come from own files only; a page that needs either inline is a bug.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: browsers would then send `Origin: null` with own forms, too.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_TOKEN = re.compile(r"zkp_[0-9A-Za-z_-]+")
_UNSLASHED = ("/api/docs", "/api/openapi.json")


@dataclass(frozen=True)
class RequestGuard:
    """The middleware. With `any_host` False (no tokens required), only loopback names are accepted as Host, against DNS
    rebinding by foreign web pages.
    """

    app: ASGIApp
    requests: RequestMetrics
    any_host: bool
    read_copy: ReadCopy | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self.read_copy)
        _add_slash(scope)
        refusal = self._refusal(scope)
        try:
            if refusal is not None:
                await refusal(scope, exchange.receive, exchange.send)
            else:
                await self.app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:  # in the middle of its body; the response is for the log and the metrics
            if not exchange.is_answered:
                await _reject(400, "the body is not complete")(scope, exchange.receive, exchange.send)
        except Exception as error:
            if exchange.is_answered:
                raise  # the server closes the connection
            await unexpected_error_response(Request(scope), error)(scope, exchange.receive, exchange.send)
        finally:
            exchange.finish(self.requests)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if "host" in headers and not is_host(headers["host"]):
            return _reject(400, "the Host header is not a host name")
        if not self.any_host and not is_loopback_name(headers.get("host", "")):
            return _reject(403, "without tokens, only names of this machine are accepted as Host, such as localhost")
        if scope["method"] not in SAFE_METHODS and "authorization" not in headers and not is_same_origin(headers):
            return _reject(403, "this request comes from a page of another origin")
        names = [name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)]
        if scope["path"].startswith("/api/") and len(names) != len(set(names)):
            return _reject(400, "a parameter is given more than once")
        length, most = headers.get("content-length", "0"), max_body_bytes(scope)
        if length.isdigit() and int(length) > most:
            return error_response(Request(scope), 413, {"detail": _too_large(scope, most)})
        return None


class _Exchange:
    """One request and its response, with limits on both."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, read_copy: ReadCopy | None) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._read_copy = read_copy
        self._reader = Reader(may_use_copy=scope["method"] in SAFE_METHODS)
        reader.set(self._reader)  # of this request: each one has a task of its own
        self._began = time.perf_counter()
        self._received, self._sent, self._status = 0, 0, 0
        self._is_complete = _has_no_body(Headers(scope=scope))
        self._most = max_body_bytes(scope)

    async def receive(self) -> Message:
        if self._is_complete:
            return await self._receive()  # waits until the client disconnects: no limit
        left = self._began + BODY_TIMEOUT_SECONDS - time.perf_counter()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.01, left))
        except TimeoutError:
            raise HTTPException(408, f"the body did not arrive within {BODY_TIMEOUT_SECONDS:.0f} s") from None
        self._is_complete = not message.get("more_body", False)
        self._received += len(message.get("body", b""))
        if self._received > self._most:
            raise HTTPException(413, _too_large(self._scope, self._most))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            _add_headers(MutableHeaders(scope=message), self._scope)
            self._note_reads_and_changes(MutableHeaders(scope=message))
            if not self._is_complete and self._status >= 400:
                MutableHeaders(scope=message)["connection"] = "close"  # the rest of the body is not read
        self._sent += len(message.get("body", b""))
        try:
            await asyncio.wait_for(self._send(message), SEND_TIMEOUT_SECONDS)
        except TimeoutError:
            raise ConnectionError("the client does not receive the response") from None

    def _note_reads_and_changes(self, headers: MutableHeaders) -> None:
        """Before the client can send its next request, which must see its own changes."""
        if self._reader.age_seconds is not None:
            headers["age"] = str(int(self._reader.age_seconds))
        if self._read_copy is not None and self._reader.name is not None and not self._reader.may_use_copy:
            self._read_copy.note_change(self._reader.name)

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
        # Without the query string: a client may have put a token there.
        entry: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": client[0] if client else None,
            "who": self._scope.get("state", {}).get("who"),
            "method": method,
            "path": _TOKEN.sub("zkp_…", self._scope["path"])[:300],
            "status": self._status,
            "bytes": self._sent,
            "ms": round(seconds * 1e3, 1),
        }
        ACCESS_LOG.info("%s", json.dumps(entry))


def max_body_bytes(scope: Scope) -> int:
    """Size limit of a request's body. Handlers read no body before they have checked the identity."""
    return MAX_PUNCH_FILE_BYTES if _PUNCH_FILES.fullmatch(scope["path"]) else MAX_BODY_BYTES


def _too_large(scope: Scope, most: int) -> str:
    if _PUNCH_FILES.fullmatch(scope["path"]):
        return f"the file is larger than {most >> 20} MB: import it with the command `zk-pipeline import punches`"
    return f"the body is larger than {most} bytes"


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


def _reject(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
