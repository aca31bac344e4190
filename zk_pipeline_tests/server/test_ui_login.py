"""UI_LOGIN_REQUIRED: Dagster's own application behind the login of the web admin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import dagster as dg
import httpx
import pytest
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from starlette.routing import Route
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from zk_pipeline.config.settings import load_settings
from zk_pipeline.http import token_cache
from zk_pipeline.server.dagster_webserver import GuardedWebserver
from zk_pipeline.server.uvicorn_server import listen_on
from zk_pipeline.store.store import Store
from zk_pipeline_tests.plain_http import NO_CERTIFICATES
from zk_pipeline_tests.waiting import until

QUESTION = {"query": "{ __typename }"}
PAGE = {"Accept": "text/html"}


@dataclass(frozen=True)
class Served:
    """The application in this process, and a client that keeps cookies."""

    client: httpx.Client
    routes: list[Route]

    def socket_status(self) -> int:
        """Status of the handshake of the web socket."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())
        address = f"{self.client.base_url}/graphql".replace("http", "ws")
        try:
            with connect(
                address, subprotocols=[Subprotocol("graphql-ws")], additional_headers={"Cookie": cookies}, proxy=None
            ) as connection:
                assert connection.response is not None
                return connection.response.status_code
        except InvalidStatus as refused:
            return refused.response.status_code


@contextmanager
def serving() -> Iterator[Served]:
    with (
        dg.DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context,
        closing(listen_on("127.0.0.1", 0)) as listening,
    ):
        app = GuardedWebserver(load_settings(), context).create_asgi_app()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            with httpx.Client(
                base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=30, verify=NO_CERTIFICATES
            ) as client:
                yield Served(client, [route for route in app.routes if isinstance(route, Route)])
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture
def login_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UI_LOGIN_REQUIRED", "true")
    return home


@pytest.fixture
def ui(login_home: Path) -> Iterator[Served]:
    assert login_home.exists()
    with serving() as served:
        yield served


def log_in(ui: Served, token: str, **form: str) -> str:
    """Where the login leads to."""
    answer = ui.client.post("/login", data={"token": token, **form})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_without_login_no_endpoint_answers(ui: Served) -> None:
    assert len(ui.routes) > 10
    for route in ui.routes:
        path = re.sub(r"{.*}", "x", route.path)
        for method in (route.methods or set()) - {"HEAD"}:
            assert ui.client.request(method, path).status_code == 401, (method, path)
    assert ui.socket_status() == 401
    to_login = ui.client.get("/runs/x?a=b", headers=PAGE)
    assert (to_login.status_code, to_login.headers["location"]) == (303, "/login?next=/runs/x%3Fa%3Db")
    login = ui.client.get("/login")
    assert login.status_code == 200
    for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', login.text):
        assert ui.client.get(address).status_code == 200, address


def test_an_admin_logs_in_uses_the_ui_and_logs_out(ui: Served, home_store: Store) -> None:
    assert log_in(ui, home_store.api_tokens.create("boss", "admin"), next="/runs?a=b") == "/runs?a=b"
    # The session of the web admin on the same host, at another port, has a cookie of its own.
    assert list(ui.client.cookies) == ["zk_ui_session"]
    assert ui.client.post("/graphql", json=QUESTION).status_code == 200
    assert "Dagster" in ui.client.get("/runs", headers=PAGE).text
    assert ui.socket_status() == 101
    assert ui.client.get("/server_info", headers={"Host": "evil.test"}).status_code == 421
    assert ui.client.post("/graphql", json=QUESTION, headers={"Origin": "https://evil.test"}).status_code == 403
    assert ui.client.get("/graphql?query={__typename}").status_code == 405
    form = re.search(r'name="csrf_token" value="([^"]+)"', ui.client.get("/login").text)
    assert form is not None
    assert ui.client.post("/logout", data={"csrf_token": form[1]}).status_code == 303
    assert ui.client.post("/graphql", json=QUESTION).status_code == 401


def test_other_scopes_are_refused_with_a_page_that_logs_out(ui: Served, home_store: Store) -> None:
    log_in(ui, home_store.api_tokens.create("clerk", "operate"))
    assert ui.client.post("/graphql", json=QUESTION).status_code == 403
    assert ui.socket_status() == 403
    page = ui.client.get("/", headers=PAGE)
    assert page.status_code == 403
    assert "needs a token of scope admin" in page.text
    assert "Log out clerk" in page.text


def test_scripts_send_the_token_itself(ui: Served, home_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "MAX_AGE_SECONDS", 0.0)
    monkeypatch.setattr(token_cache, "MAX_AGE_WHILE_LOCKED_SECONDS", -1.0)
    script = {"Authorization": f"Token {home_store.api_tokens.create('script', 'admin')}"}
    assert ui.client.post("/graphql", json=QUESTION, headers=script).status_code == 200
    home_store.api_tokens.revoke("script")
    assert ui.client.post("/graphql", json=QUESTION, headers=script).status_code == 401
    wrong = {"Authorization": "Bearer x"}
    statuses = [ui.client.post("/graphql", json=QUESTION, headers=wrong).status_code for _ in range(10)]
    assert statuses == [401] * 9 + [429]


@pytest.mark.usefixtures("login_home")
def test_the_use_of_a_token_is_recorded(home_store: Store) -> None:
    with serving() as ui:
        log_in(ui, home_store.api_tokens.create("boss", "admin"))
    (token,) = home_store.api_tokens.all()
    assert token.last_used_at is not None
