"""The HTTP server around the application: how long it waits for slow clients, and how it stops."""

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
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from zk_pipeline.errors import UsageError

HEADER_SECONDS = 10.0  # from the first byte of a request (or from connecting) to the end of its headers
LARGEST_HEADERS = 64 * 1024
MOST_CONNECTIONS = 500
_LINGER_SECONDS = 10.0


class HeaderTimeoutProtocol(HttpToolsProtocol):
    """uvicorn waits for ever for headers, and for a client to take the rest of an answer; this does not."""

    _patience: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.access_log = False  # it shows queries, which may hold a token, whoever has configured its logger

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._begin_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._patience is not None:
            self._header_bytes += len(data)
            if self._header_bytes > LARGEST_HEADERS + 64 * 1024:  # what came with them in one read may be body
                self.transport.abort()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._patience is None:
            self._begin_waiting()

    def on_headers_complete(self) -> None:
        self._end_waiting()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        body = json.dumps({"detail": msg}).encode()
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n"
        self.transport.write(head + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
        self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _begin_waiting(self) -> None:
        self._header_bytes = 0
        self._patience = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _end_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class Server(uvicorn.Server):
    """Tells the application at once that it is to stop, so that answers which wait for a run are given."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        stop = getattr(self.config.app, "state", None)
        if stop is not None:
            stop.stopping.set()
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # else it would die of the signal after having stopped in order
        if sig == signal.SIGINT and self.force_exit:
            logging.getLogger("zk_pipeline.api").warning("not waiting any longer")


def make_server(app: FastAPI) -> Server:
    """A server for `app` that has not begun; give it a socket by `serve`."""
    config = uvicorn.Config(
        app,
        http=HeaderTimeoutProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=15,
        backlog=512,
    )
    return Server(config)


def listen_on(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UsageError where there cannot be one."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(found[0], found[1])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror}; see --host and --port") from error
    return listening


def log_to_stderr(level: str = "INFO") -> None:
    """One line per entry: those of the access log are JSON objects, others are prefixed by their level."""

    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            text = super().format(record)
            return text if record.name == "zk_pipeline.api.access" else f"{record.levelname.lower()}: {text}"

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    for name in ("uvicorn", "zk_pipeline.api"):
        logger: Any = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
