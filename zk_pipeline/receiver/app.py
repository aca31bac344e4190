"""ASGI application of `zk-pipeline receive`: reads requests within limits, and writes answers with an exact `Date`."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from zk_pipeline.devices.push.requests import PushRequest, RequestError, parse_request
from zk_pipeline.receiver.background import Background, Intervals
from zk_pipeline.receiver.limits import (
    MAX_BODY_BYTES,
    BytesInProgress,
    TooLarge,
    TooMuchInProgress,
    body_seconds,
)
from zk_pipeline.receiver.receiver import REFUSED, Answer, Receiver
from zk_pipeline.store.errors import is_store_failure

ACCESS_LOG = logging.getLogger("zk_pipeline.receiver.access")
_LOGGED_KINDS = ("upload", "querydata", "options", "photo", "devicecmd")
_log = logging.getLogger("zk_pipeline.receiver")


class ClientGone(Exception):
    """The client closed the connection before its body was complete."""


@dataclass
class ReceiverApp:
    """The application. Its lifespan runs the background tasks."""

    receiver: Receiver
    intervals: Intervals = field(default_factory=Intervals)
    bytes_in_progress: BytesInProgress = field(default_factory=BytesInProgress)
    _background: Background = field(init=False)

    def __post_init__(self) -> None:
        self._background = Background(self.receiver, self.intervals)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        exchange = _Exchange(scope, receive, self.bytes_in_progress)
        try:
            answer = await self._answer(exchange)
        except ClientGone:
            return
        except (TooLarge, TooMuchInProgress, TimeoutError) as error:
            answer = Answer(413) if isinstance(error, TooLarge) else REFUSED
        except Exception as error:
            answer = REFUSED
            if not is_store_failure(error):
                _log.exception("a request of a terminal failed")
        finally:
            exchange.close()
        await self._send(exchange, answer, send)
        exchange.log(answer)

    async def _answer(self, exchange: _Exchange) -> Answer:
        scope = exchange.scope
        if scope["path"].startswith("/health/"):
            return self._health(scope["path"])
        try:
            request = parse_request(scope["method"], scope["path"], scope["query_string"])
        except RequestError as error:
            self._log_bad_request(exchange.address, error)
            return Answer(error.status)
        if self._background.clock_problem is not None:
            return REFUSED
        found = self.receiver.admit(request, exchange.address)
        if found is None:
            return REFUSED
        terminal, session = found
        exchange.request, exchange.device = request, terminal.device
        try:
            body = await exchange.body()
        except TooLarge:
            self.receiver.note_refusal(terminal, session, f"its body has more than {MAX_BODY_BYTES // 2**20} MiB")
            raise
        return await self.receiver.answer(request, terminal, session, body)

    def _log_bad_request(self, address: str, error: RequestError) -> None:
        if self.receiver.complaints.allows(f"{address} {error.status}"):
            # The path of an unknown request may contain a secret.
            reason = "its path is none that terminals request" if error.status == 404 else str(error)
            _log.info("request from %s refused with status %d: %s", address, error.status, reason)

    def _health(self, path: str) -> Answer:
        if path.rstrip("/") == "/health/live":
            return Answer(200, "alive")
        if path.rstrip("/") != "/health/ready":
            return Answer(404)
        problem = self._background.problem
        return Answer(200, "ready") if problem is None else Answer(503, f"not ready: {problem}")

    async def _send(self, exchange: _Exchange, answer: Answer, send: Send) -> None:
        body = answer.text.encode()
        headers: list[tuple[bytes, bytes]] = [
            (b"content-type", b"text/plain;charset=UTF-8"),
            (b"content-length", str(len(body)).encode()),
        ]
        if self._background.clock_problem is None:  # without the header no terminal sets its clock
            headers.append((b"date", format_datetime(_in_utc(self.receiver.store.clock()), usegmt=True).encode()))
        if not exchange.is_complete or answer.status != 200:
            headers.append((b"connection", b"close"))  # what is left of the body is not read
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._background.start()
        except Exception as error:
            _log.exception("the receiver could not start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._background.stop()
        await send({"type": "lifespan.shutdown.complete"})


@dataclass
class _Exchange:
    """One request, read within limits, and its line of the access log."""

    scope: Scope
    receive: Receive
    bytes_in_progress: BytesInProgress
    request: PushRequest | None = None
    device: str | None = None
    is_complete: bool = field(init=False)
    _counted: int = 0  # bytes in `bytes_in_progress`
    _received: int = 0
    _began: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.is_complete = not any(
            (name == b"content-length" and value != b"0") or name == b"transfer-encoding"
            for name, value in self._headers
        )

    @property
    def address(self) -> str:
        """Address of the client, behind a trusted proxy the one that it forwards."""
        client = self.scope.get("client")
        return client[0] if client else ""

    async def body(self) -> bytes:
        """The whole body. Raises TooLarge, TooMuchInProgress, ClientGone, or TimeoutError for a slow client."""
        if self.is_complete:
            return b""
        length = self._length()
        if length > MAX_BODY_BYTES:
            raise TooLarge
        async with asyncio.timeout(body_seconds(length)):
            return await self._read()

    def close(self) -> None:
        """Release the bytes of the body."""
        self.bytes_in_progress.remove(self._counted)
        self._counted = 0

    def log(self, answer: Answer) -> None:
        """Write a line of the access log for an upload. It contains no path, which may contain a secret."""
        if self.request is None or self.request.kind not in _LOGGED_KINDS:
            return
        entry: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": self.address,
            "serial": self.request.serial,
            "device": self.device,
            "kind": self.request.kind,
            "table": self.request.table,
            "status": answer.status,
            "bytes": self._received,
            "ms": round((time.perf_counter() - self._began) * 1e3, 1),
        }
        if answer.stored is not None:
            stored = answer.stored
            entry |= {
                "lines": answer.lines,
                "new": stored.stored,
                "duplicates": stored.duplicates,
                "quarantined": stored.quarantined,
            }
        ACCESS_LOG.info("%s", json.dumps(entry))

    async def _read(self) -> bytes:
        parts: list[bytes] = []
        while True:
            message: Message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            if self._received + len(part) > MAX_BODY_BYTES:
                raise TooLarge
            self.bytes_in_progress.add(len(part))
            self._counted += len(part)
            self._received += len(part)
            parts.append(part)
            if not message.get("more_body", False):
                self.is_complete = True
                return b"".join(parts)

    def _length(self) -> int:
        for name, value in self._headers:
            if name == b"content-length" and value.isdigit():
                return int(value)
        return MAX_BODY_BYTES  # chunked

    @property
    def _headers(self) -> Sequence[tuple[bytes, bytes]]:
        headers: Sequence[tuple[bytes, bytes]] = self.scope["headers"]
        return headers


def _in_utc(at: datetime) -> datetime:
    return at.astimezone(UTC)
