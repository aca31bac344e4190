"""HTTP/1.1 server of the emulated CRM: connections, TLS, requests, answers with injected faults.

Requests are handled in `application`.
"""

from __future__ import annotations

import http.server
import io
import json
import logging
import os
import socket
import socketserver
import ssl
import struct
import threading
from typing import Any

from zk_pipeline.simulator.crm.application import CrmApplication, Reply
from zk_pipeline.simulator.crm.faults import Fault

PATH = "/api/attendance/"
MAX_REQUEST = 8 * 1024 * 1024  # bytes
_IDLE = 60.0  # seconds a connection may be silent

logger = logging.getLogger(__name__)


class CrmServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """One thread per connection; `cut_connections` ends those that are still open."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], *, app: CrmApplication, context: ssl.SSLContext | None) -> None:
        self.app = app
        self.context = context
        self.accepted = 0
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer.server_bind resolves this machine's name by DNS

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self.context is not None:
            # The handshake is done in the connection's thread, so that a silent client does not block others.
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._connections.add(connection)
            self.accepted += 1
        return connection, address

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().close_request(request)

    def cut_connections(self) -> None:
        with self._lock:
            for connection in self._connections:
                try:
                    # The method of the plain socket: that of SSLSocket is not thread-safe.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
                except OSError:
                    logger.debug("connection was already gone")

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        logger.debug("connection from %s ended", client_address, exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: CrmServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "zk-pipeline-crm", ""
    timeout = _IDLE
    wbufsize = -1  # status line, headers and body leave in one packet
    disable_nagle_algorithm = True
    _is_dropped = False

    def setup(self) -> None:
        super().setup()
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()

    def finish(self) -> None:
        if not self._is_dropped:
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def do_POST(self) -> None:
        body = self._body()
        if body is None or not self._is_admitted():
            return
        app = self.server.app
        key = self.headers.get("Idempotency-Key")
        fault = app.fault_rule(app.received(key, body)) or Fault()
        if fault.drop == "before":
            self._drop()
        elif fault.status is not None:
            app.stopping.wait(fault.delay_before)
            self._send(fault.status, dict(fault.headers), fault.body, fault)
        else:
            reply = app.serve(key, body, fault)
            app.stopping.wait(fault.delay_after)
            if fault.drop == "after":
                self._drop()
            else:
                headers = {"Idempotent-Replay": "true"} if reply.is_replay else {}
                content = json.dumps(reply.content).encode() if fault.success_body is None else fault.success_body
                self._send(reply.status, headers | dict(fault.headers), content, fault)

    def do_OPTIONS(self) -> None:
        if self._is_admitted():
            self._send(204, {"Allow": "POST, GET, HEAD, OPTIONS"}, b"", Fault())

    def do_GET(self) -> None:
        if self._is_admitted():
            days = len(self.server.app.ledger)
            self._reply(Reply(status=200, content={"days": days}))

    do_HEAD = do_GET

    def _is_admitted(self) -> bool:
        app = self.server.app
        if not app.is_authorized(self.headers.get("Authorization")):
            self._reply(Reply.of(401, detail=f"credentials of the scheme {app.scheme} are required"))
            return False
        if self.path.partition("?")[0] != PATH:
            self._reply(Reply.of(404, detail="no such address"))
            return False
        return True

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_REQUEST:
            self.close_connection = True  # the body stays unread
            status = 413 if length.isdecimal() else 411
            self._reply(Reply.of(status, detail=f"a Content-Length up to {MAX_REQUEST} is required"))
            return None
        return self.rfile.read(int(length))

    def _reply(self, reply: Reply) -> None:
        self._send(reply.status, {}, json.dumps(reply.content).encode(), Fault())

    def _send(self, status: int, headers: dict[str, str], body: bytes, fault: Fault) -> None:
        output, self.wfile = self.wfile, io.BytesIO()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        if status == 401:
            self.send_header("WWW-Authenticate", self.server.app.scheme)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        answer = self.wfile.getvalue() + (b"" if self.command == "HEAD" else body)
        answer = fault.interim + answer + fault.extra
        self.wfile = output
        if fault.drip:
            for i in range(len(answer)):
                output.write(answer[i : i + 1])
                output.flush()
                if self.server.app.stopping.wait(fault.drip):
                    break
        else:
            output.write(answer[: fault.cut_after])
            output.flush()
        if fault.cut_after is not None:
            self._drop()

    def _drop(self) -> None:
        """Reset the connection without sending more."""
        self._is_dropped = self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        os.close(self.connection.detach())
