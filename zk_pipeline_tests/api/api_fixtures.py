"""The API served over HTTP on loopback, with a token for each scope."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from zk_pipeline.config.settings import Settings
from zk_pipeline.http.run_workers import Action, ActionResult, perform
from zk_pipeline.http.services import Parts, Services
from zk_pipeline.operations.terminal_gateway import terminal_gateway
from zk_pipeline.server.app import create_app
from zk_pipeline.server.uvicorn_server import Server, listen_on, make_server
from zk_pipeline.store.api_tokens import SCOPES, Scope
from zk_pipeline.store.store import Store
from zk_pipeline_tests.plain_http import NO_CERTIFICATES
from zk_pipeline_tests.waiting import until


@dataclass
class Stopwatch:
    """Monotonic time, moved by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class NothingToDo:
    """Actions that end at once, for tests of everything except the actions."""

    def submit(self, action: Action) -> Future[ActionResult]:  # noqa: ARG002
        future: Future[ActionResult] = Future()
        future.set_result(ActionResult([], [], {}, {}))
        return future

    def find(self, run_id: str) -> Future[ActionResult] | None:  # noqa: ARG002
        return None

    def unfinished(self) -> list[Future[ActionResult]]:
        return []

    def stop(self, timeout: float) -> None:
        pass


class RunsInProcess:
    """Actions as Dagster runs in a thread of this process, which has imported Dagster; none may run at the end."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._futures: dict[str, Future[ActionResult]] = {}

    def submit(self, action: Action) -> Future[ActionResult]:
        self._futures[action.run_id] = self._pool.submit(perform, action, niceness=0)
        return self._futures[action.run_id]

    def find(self, run_id: str) -> Future[ActionResult] | None:
        return self._futures.get(run_id)

    def unfinished(self) -> list[Future[ActionResult]]:
        return [one for one in self._futures.values() if not one.done()]

    def stop(self, timeout: float) -> None:  # noqa: ARG002
        self._pool.shutdown()


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
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, verify=NO_CERTIFICATES, **more)

    @contextmanager
    def with_settings(self, **changes: Any) -> Iterator[None]:
        """Other settings for the requests of the block."""
        app: Any = self.server.config.app
        app.state.services = replace(self.services, settings=self.services.settings.model_copy(update=changes))
        try:
            yield
        finally:
            app.state.services = self.services


@contextmanager
def serve(settings: Settings, store: Store, parts: Parts | None = None) -> Iterator[Served]:
    tokens = {scope: store.api_tokens.create(f"test {scope}", scope) for scope in SCOPES}
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


def finished(client: httpx.Client, run_id: str, *, seconds: float = 110) -> dict[str, Any]:
    """The state of an action's run, once it has ended. Asked twice a second: each answer looks into Dagster."""
    deadline = time.monotonic() + seconds
    while True:
        state: dict[str, Any] = client.get(f"/api/runs/{run_id}/").json()
        if state["is_finished"]:
            return state
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
