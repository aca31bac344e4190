"""HTTP server: uvicorn with timeouts for slow clients, a connection limit and an orderly stop."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from zk_pipeline.errors import UsageError

HEADER_TIMEOUT_SECONDS = 10.0  # from the connection or the first byte of a request to the end of its headers
MAX_HEADER_BYTES = 64 * 1024
MAX_CONNECTIONS = 500
_LINGER_SECONDS = 10.0


class HeaderTimeoutProtocol(HttpToolsProtocol):
    """HTTP protocol with timeouts for headers and for the last bytes of a response, which uvicorn lacks."""

    max_connections = MAX_CONNECTIONS
    _header_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.access_log = False  # it would log query strings, which may contain a token

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_header_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._header_timer is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES + 64 * 1024:  # one read may contain part of the body, too
                self.transport.abort()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._header_timer is None:
            self._start_header_timer()

    def on_headers_complete(self) -> None:
        self._cancel_header_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        body = json.dumps({"detail": msg}).encode()
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
        self.transport.write(head + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
        self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _start_header_timer(self) -> None:
        self._header_bytes = 0
        self._header_timer = self.loop.call_later(HEADER_TIMEOUT_SECONDS, self.transport.abort)

    def _cancel_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class Server(uvicorn.Server):
    """Sets `app.state.stopping` at the first signal, so that responses that wait for a run are sent."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        state = getattr(self.config.app, "state", None)
        if state is not None:
            state.stopping.set()
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # else uvicorn would raise the signal again after its orderly stop
        if sig == signal.SIGINT and self.force_exit:
            logging.getLogger("zk_pipeline.api").warning("stopping without waiting for requests")


def make_server(
    app: ASGIApp, *, protocol: type[HeaderTimeoutProtocol] = HeaderTimeoutProtocol, date_header: bool = True
) -> Server:
    """A server for `app`, not started yet; pass its socket to `serve` or `run`."""
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=date_header,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=15,
        backlog=512,
    )
    return Server(config)


def listen_on(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UsageError if the address cannot be used."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(found[0], found[1])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror}; see --host and --port") from error
    return listening


def log_to_stderr(level: str = "INFO") -> None:
    """One line per entry: JSON objects of the access log; others with their level as prefix."""

    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = super().format(record)
            return text if record.name.endswith(".access") else f"{record.levelname.lower()}: {text}"

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    for name in ("uvicorn", "zk_pipeline.api", "zk_pipeline.receiver"):
        logger: Any = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
