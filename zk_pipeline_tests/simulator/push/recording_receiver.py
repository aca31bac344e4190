"""A minimal receiver for tests of the emulated pushing terminals: records requests, answers from a table."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

OPTIONS = "Delay=10\nErrorDelay=30\nRealtime=1\nTransFlag=TransData AttLog\tOpLog\tEnrollUser\n"
CONFIGURATION = "ServerVersion=3.1.2\nErrorDelay=30\nRequestDelay=5\nRealtime=1\nSessionID=S1\nTimeoutSec=10\n"


class Received(NamedTuple):
    """One request. `parameters` are as sent, `length` is its Content-Length (of a half body: of the whole)."""

    method: str
    path: str
    parameters: dict[str, str]
    body: bytes
    headers: dict[str, str]
    version: str
    length: int

    @property
    def endpoint(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def lines(self) -> list[bytes]:
        return self.body.splitlines()


class RecordingReceiver:
    """Accepts everything: an option block without stamps, `OK: n`, queued `commands`, registration of family C.

    `answer` may replace the answer of a request: status and body, or None for the usual one. `options` follow the
    first line of the option block. `date` replaces the `Date` header.
    """

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.commands: list[str] = []
        self.options = OPTIONS
        self.date = ""
        self.answer: Callable[[Received], tuple[int, str] | None] = lambda _: None
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def uploads(self, table: str = "ATTLOG") -> list[Received]:
        return [one for one in self.requests if one.parameters.get("table") == table]

    def at(self, endpoint: str) -> list[Received]:
        return [one for one in self.requests if one.endpoint == endpoint]

    def usual_answer(self, request: Received) -> tuple[int, str]:
        table = request.parameters.get("tablename", "")
        answers = {
            "registry": "RegistryCode=R1",
            "push": CONFIGURATION,
            "getrequest": "".join(f"{line}\n" for line in self.commands) or "OK",
            "querydata": f"{table}={len(request.lines)}",
        }
        if request.endpoint == "getrequest":
            self.commands.clear()
        if request.endpoint in answers:
            return 200, answers[request.endpoint]
        if request.method == "GET" and "options" in request.parameters:
            is_security = "DeviceType" in request.parameters
            return 200, "OK" if is_security else f"GET OPTION FROM: {request.parameters['SN']}\n{self.options}"
        return 200, f"{table}={len(request.lines)}" if table else f"OK: {len(request.lines)}"

    def __enter__(self) -> RecordingReceiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256


def _handler(receiver: RecordingReceiver) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", "0"))
            headers = {name.lower(): value for name, value in self.headers.items()}
            parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
            body = self.rfile.read(length)
            request = Received(
                self.command, parts.path, parameters, body, headers, self.request_version, length
            )  # fmt: skip
            receiver.requests.append(request)
            if len(body) == length:
                self._answer(*(receiver.answer(request) or receiver.usual_answer(request)))

        do_POST = do_GET

        def date_time_string(self, timestamp: float | None = None) -> str:
            return receiver.date or super().date_time_string(timestamp)

        def log_message(self, format: str, *args: object) -> None:  # the base class's names
            pass

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

    return Handler
