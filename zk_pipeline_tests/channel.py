"""An HTTP server that people's alerts go to, by a URL that holds a secret."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHANNEL_SECRET = "channel-secret-of-the-team"


class Channel:
    """What arrived, in order, and what is answered."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200
        channel = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                channel.paths.append(self.path)
                channel.alerts.append(json.loads(body))
                self.send_response(channel.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return self.at("alerts")

    def at(self, path: str) -> str:
        return f"json://ops:{CHANNEL_SECRET}@127.0.0.1:{self.server.server_port}/{path}"

    @property
    def titles(self) -> list[str]:
        return [alert["title"] for alert in self.alerts]

    @property
    def bodies(self) -> list[str]:
        return [alert["message"] for alert in self.alerts]


@contextmanager
def listening() -> Iterator[Channel]:
    channel = Channel()
    thread = threading.Thread(target=channel.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield channel
    finally:
        channel.server.shutdown()
        channel.server.server_close()
        thread.join()
