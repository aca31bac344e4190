"""The API as its users meet it: served over HTTP on loopback, with tokens, until the test is over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from zk_pipeline.api.app import create_app
from zk_pipeline.api.server import Server, listen_on, make_server
from zk_pipeline.api.services import Parts, Services
from zk_pipeline.operations.terminals import terminal_gateway
from zk_pipeline.settings import Settings
from zk_pipeline.store.api_tokens import SCOPES, Scope
from zk_pipeline.store.store import Store
from zk_pipeline_tests.waiting import until


@dataclass(frozen=True)
class Served:
    """A running API. `tokens`: one for each scope."""

    url: str
    port: int
    server: Server
    services: Services
    tokens: dict[Scope, str]

    def client(self, scope: Scope | None = "admin", **more: Any) -> httpx.Client:
        headers = {"Authorization": f"Token {self.tokens[scope]}"} if scope else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **more)


@contextmanager
def serve(settings: Settings, store: Store, parts: Parts | None = None) -> Iterator[Served]:
    tokens = {scope: store.tokens.create(f"test {scope}", scope) for scope in SCOPES}
    app = create_app(settings, store, terminal_gateway(settings), parts=parts)
    listening = listen_on("127.0.0.1", 0)
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="api")
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        assert thread.is_alive()
        port = listening.getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", port, server, app.state.services, tokens)
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive()
