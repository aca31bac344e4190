"""HTTP requests of an emulated pushing terminal over plain sockets, one connection each, with faults of the network.

Written with sockets because the faults need control over each byte: no client library sends half a body.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from zk_pipeline.errors import UsageError

T = TypeVar("T")

_BLOCK_BYTES = 65_536
_STATUS_LINE = re.compile(r"HTTP/\d\.\d (\d{3})(?: |$)")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Transmission of one request, with its faults.

    `body_share`: share of the body that is sent before the connection closes. `answer`: "read"; "lost" waits for the
    answer and discards it, so that the server has done its work; "unread" closes as soon as the request is sent.
    `bytes_per_second`: speed of a slow client, None for no limit.
    """

    http_version: Literal["1.0", "1.1"] = "1.1"
    body_share: float = 1.0
    answer: Literal["read", "lost", "unread"] = "read"
    bytes_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request. `target` is the path with its query, below the address of the receiver."""

    method: Literal["GET", "POST"]
    target: str
    body: bytes = b""
    agent: str = ""
    cookie: str = ""
    delivery: Delivery = field(default_factory=Delivery)


@dataclass(frozen=True)
class Answer:
    """Answer of the receiver; `status` 0 for none, then `error` has the reason. Names in `headers` are as sent."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""

    def header(self, name: str, *, with_case: bool = False) -> str:
        """Value of a header, empty if there is none; `with_case`: only if its name is spelled like this."""
        if with_case:
            return self.headers.get(name, "")
        return next((value for sent, value in self.headers.items() if sent.lower() == name.lower()), "")

    @property
    def is_success(self) -> bool:
        return self.status == 200

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


# A part of the protocol: yields requests, is sent their answers. It runs over blocking sockets or in an event loop.
Step: TypeAlias = Generator[Request, Answer, T]


@dataclass(frozen=True)
class ReceiverAddress:
    """Address typed into a terminal. `prefix` is the path before `/iclock`, without a slash at its end."""

    host: str
    port: int
    prefix: str = ""

    @classmethod
    def of(cls, url: str) -> ReceiverAddress:
        """Parse `http://host[:port][/prefix]`. Raises UsageError for any other address."""
        parts = urlsplit(url)
        try:
            port = parts.port or 80
        except ValueError as error:
            raise UsageError(f"receiver address {url!r}: {error}") from error
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(f"receiver address {url!r}: write it as http://HOST:PORT")
        return cls(parts.hostname, port, parts.path.rstrip("/"))


def encode(request: Request, address: ReceiverAddress) -> tuple[bytes, bytes]:
    """Head and body of a request as bytes. HTTP/1.0 has neither `Host` nor `Connection`."""
    version = request.delivery.http_version
    lines = [f"{request.method} {address.prefix}{request.target} HTTP/{version}"]
    if version == "1.1":
        lines += [f"Host: {address.host}:{address.port}", "Connection: close"]
    lines += ["Accept: application/push", "Accept-Charset: UTF-8"]
    if request.agent:
        lines.append(f"User-Agent: {request.agent}")
    if request.cookie:
        lines.append(f"Cookie: {request.cookie}")
    if request.method == "POST":
        lines += ["Content-Type: application/push;charset=UTF-8", f"Content-Length: {len(request.body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), request.body


def parse_answer(data: bytes, *, at_end: bool) -> Answer | None:
    """The answer in `data`; None while it is incomplete. Raises ValueError for data that is no HTTP answer."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        if at_end:
            raise ValueError("connection closed before the end of the headers")
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    status = _STATUS_LINE.match(first)
    if status is None:
        raise ValueError(f"{first[:40]!r} is no status line")
    pairs = (line.partition(":") for line in lines)
    answer = Answer(int(status[1]), {name.strip(): value.strip() for name, _, value in pairs})
    body = _body(rest, answer, at_end=at_end)
    return None if body is None else replace(answer, body=body)


def exchange(request: Request, address: ReceiverAddress, timeout_seconds: float) -> Answer:
    """Send one request over a blocking socket and read its answer."""
    try:
        with socket.create_connection((address.host, address.port), timeout_seconds) as connection:
            return _exchange_on(connection, request, address)
    except (OSError, ValueError) as error:
        return Answer(0, error=f"{type(error).__name__}: {error}")


async def exchange_async(request: Request, address: ReceiverAddress, timeout_seconds: float) -> Answer:
    """The same in an event loop."""
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            try:
                return await _exchange_over(reader, writer, request, address)
            finally:
                writer.close()
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        return Answer(0, error=f"{type(error).__name__}: {error}")


def run(step: Step[T], address: ReceiverAddress, timeout_seconds: float) -> T:
    """Run a step to its end over blocking sockets; returns its result."""
    try:
        request = next(step)
        while True:
            request = step.send(exchange(request, address, timeout_seconds))
    except StopIteration as end:
        result: T = end.value
        return result


async def run_async(step: Step[T], address: ReceiverAddress, timeout_seconds: float) -> T:
    """The same in an event loop."""
    try:
        request = next(step)
        while True:
            request = step.send(await exchange_async(request, address, timeout_seconds))
    except StopIteration as end:
        result: T = end.value
        return result


def _exchange_on(connection: socket.socket, request: Request, address: ReceiverAddress) -> Answer:
    for part, pause_seconds in _parts(request, address):
        connection.sendall(part)
        time.sleep(pause_seconds)
    if (unread := _unread(request.delivery)) is not None:
        return unread
    data = b""
    while (answer := parse_answer(data, at_end=False)) is None:
        block = connection.recv(_BLOCK_BYTES)
        data += block
        if not block:
            answer = parse_answer(data, at_end=True)
            break
    return _delivered(answer, request.delivery)


async def _exchange_over(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request, address: ReceiverAddress
) -> Answer:
    for part, pause_seconds in _parts(request, address):
        writer.write(part)
        await writer.drain()
        if pause_seconds:
            await asyncio.sleep(pause_seconds)
    if (unread := _unread(request.delivery)) is not None:
        return unread
    data = b""
    while (answer := parse_answer(data, at_end=False)) is None:
        block = await reader.read(_BLOCK_BYTES)
        data += block
        if not block:
            answer = parse_answer(data, at_end=True)
            break
    return _delivered(answer, request.delivery)


def _parts(request: Request, address: ReceiverAddress) -> list[tuple[bytes, float]]:
    """Bytes to send, each with the seconds to wait afterwards."""
    head, body = encode(request, address)
    delivery = request.delivery
    data = head + body[: int(len(body) * delivery.body_share)]
    if delivery.bytes_per_second is None:
        return [(data, 0.0)]
    return [(data[n : n + 1], 1 / delivery.bytes_per_second) for n in range(len(data))]


def _unread(delivery: Delivery) -> Answer | None:
    if delivery.body_share < 1:
        return Answer(0, error="connection closed within the body")
    return Answer(0, error="connection closed before the answer") if delivery.answer == "unread" else None


def _delivered(answer: Answer | None, delivery: Delivery) -> Answer:
    if answer is None:
        raise ValueError("connection closed within the answer")
    return Answer(0, error="answer lost") if delivery.answer == "lost" else answer


def _body(rest: bytes, answer: Answer, *, at_end: bool) -> bytes | None:
    if answer.header("Transfer-Encoding").lower() == "chunked":
        return _chunks(rest)
    if text := answer.header("Content-Length"):
        length = int(text)
        return rest[:length] if len(rest) >= length else None
    return rest if at_end else None


def _chunks(rest: bytes) -> bytes | None:
    body = b""
    while True:
        size_line, separator, rest = rest.partition(b"\r\n")
        if not separator:
            return None
        size = int(size_line.split(b";")[0], 16)
        if size == 0:
            return body if rest.startswith(b"\r\n") else None
        if len(rest) < size + 2:
            return None
        body += rest[:size]
        rest = rest[size + 2 :]
