"""UI_LOGIN_REQUIRED: Dagster's own application behind the login of the web admin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from zk_pipeline.config.settings import load_settings
from zk_pipeline.http import token_cache
from zk_pipeline.server.dagster_webserver import GuardedWebserver
from zk_pipeline.store.store import Store

QUESTION = {"query": "{ __typename }"}
PAGE = {"Accept": "text/html"}


@contextmanager
def serving() -> Iterator[TestClient]:
    with (
        dg.DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context,
        TestClient(
            GuardedWebserver(load_settings(), context).create_asgi_app(),
            "http://localhost",
            client=("127.0.0.1", 50000),
            follow_redirects=False,
        ) as client,
    ):
        yield client


@pytest.fixture
def login_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UI_LOGIN_REQUIRED", "true")
    return home


@pytest.fixture
def ui(login_home: Path) -> Iterator[TestClient]:
    assert login_home.exists()
    with serving() as client:
        yield client


def log_in(ui: TestClient, token: str, **form: str) -> str:
    """Where the login leads to."""
    answer = ui.post("/login", data={"token": token, **form})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def can_subscribe(ui: TestClient) -> bool:
    try:
        with ui.websocket_connect("/graphql", ["graphql-ws"]) as connection:
            connection.send_json({"type": "connection_init"})
            return bool(connection.receive_json() == {"type": "connection_ack"})
    except WebSocketDisconnect:
        return False


def test_without_login_no_endpoint_answers(ui: TestClient) -> None:
    routes = [route for route in ui.app.routes if isinstance(route, Route)]  # type: ignore[attr-defined]
    assert len(routes) > 10
    for route in routes:
        path = re.sub(r"{.*}", "x", route.path)
        for method in (route.methods or set()) - {"HEAD"}:
            assert ui.request(method, path).status_code == 401, (method, path)
    assert not can_subscribe(ui)
    to_login = ui.get("/runs/x?a=b", headers=PAGE)
    assert (to_login.status_code, to_login.headers["location"]) == (303, "/login?next=/runs/x%3Fa%3Db")
    login = ui.get("/login")
    assert login.status_code == 200
    for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', login.text):
        assert ui.get(address).status_code == 200, address


def test_an_admin_logs_in_uses_the_ui_and_logs_out(ui: TestClient, home_store: Store) -> None:
    assert log_in(ui, home_store.api_tokens.create("boss", "admin"), next="/runs?a=b") == "/runs?a=b"
    # The session of the web admin on the same host, at another port, has a cookie of its own.
    assert list(ui.cookies) == ["zk_ui_session"]
    assert ui.post("/graphql", json=QUESTION).status_code == 200
    assert "Dagster" in ui.get("/runs", headers=PAGE).text
    assert can_subscribe(ui)
    assert ui.get("/server_info", headers={"Host": "evil.test"}).status_code == 421
    assert ui.post("/graphql", json=QUESTION, headers={"Origin": "https://evil.test"}).status_code == 403
    assert ui.get("/graphql?query={__typename}").status_code == 405
    form = re.search(r'name="csrf_token" value="([^"]+)"', ui.get("/login").text)
    assert form is not None
    assert ui.post("/logout", data={"csrf_token": form[1]}).status_code == 303
    assert ui.post("/graphql", json=QUESTION).status_code == 401


def test_other_scopes_are_refused_with_a_page_that_logs_out(ui: TestClient, home_store: Store) -> None:
    log_in(ui, home_store.api_tokens.create("clerk", "operate"))
    assert ui.post("/graphql", json=QUESTION).status_code == 403
    assert not can_subscribe(ui)
    page = ui.get("/", headers=PAGE)
    assert page.status_code == 403
    assert "needs a token of scope admin" in page.text
    assert "Log out clerk" in page.text


def test_scripts_send_the_token_itself(ui: TestClient, home_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "MAX_AGE_SECONDS", 0.0)
    script = {"Authorization": f"Token {home_store.api_tokens.create('script', 'admin')}"}
    assert ui.post("/graphql", json=QUESTION, headers=script).status_code == 200
    home_store.api_tokens.revoke("script")
    assert ui.post("/graphql", json=QUESTION, headers=script).status_code == 401
    wrong = {"Authorization": "Bearer x"}
    assert [ui.post("/graphql", json=QUESTION, headers=wrong).status_code for _ in range(10)] == [401] * 9 + [429]


@pytest.mark.usefixtures("login_home")
def test_the_use_of_a_token_is_recorded(home_store: Store) -> None:
    with serving() as ui:
        log_in(ui, home_store.api_tokens.create("boss", "admin"))
    (token,) = home_store.api_tokens.all()
    assert token.last_used_at is not None
