"""Authentication and authorization: tokens, scopes, revocation, browser sessions."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.http.services import Parts
from zk_pipeline.store.api_tokens import SCOPES
from zk_pipeline.store.locks.file_lock import StoreFileLock
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import NothingToDo, Served, Stopwatch, serve


def csrf_of(client: httpx.Client) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
    assert found is not None
    return found[1]


def log_in(served: Served, client: httpx.Client, **more: str) -> httpx.Response:
    return client.post("/login", data={"token": served.tokens["admin"]} | more)


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "token", "BEARER"])
def test_both_schemes_are_understood(served: Served, stranger: httpx.Client, scheme: str) -> None:
    answer = stranger.get("/api/devices/", headers={"Authorization": f"{scheme} {served.tokens['read']}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("header", [None, "", "Token", "Token x", "Basic YTpi", "zkp_0_0", "Token zkp_{}_{}"])
def test_without_a_good_token_there_is_nothing_to_see(stranger: httpx.Client, header: str | None) -> None:
    for path in ("/api/devices/", "/api/raw-attendance", "/api/processed-attendance/stats/", "/api/runs/", "/metrics"):
        answer = stranger.get(path, headers={} if header is None else {"Authorization": header})
        assert answer.status_code in (401, 429)
        assert answer.json().keys() == {"detail"}
        assert answer.status_code == 429 or answer.headers["www-authenticate"] == "Token"


def test_each_scope_may_do_what_it_says_and_no_more(served: Served) -> None:
    changes = [
        ("POST", "/api/devices/", "admin"),
        ("PATCH", "/api/devices/999/", "admin"),
        ("PUT", "/api/devices/999/", "admin"),
        ("DELETE", "/api/devices/999/", "admin"),
        ("POST", "/api/devices/999/poll/", "operate"),
        ("POST", "/api/devices/poll_all/", "operate"),
        ("POST", "/api/devices/999/set-clock/", "admin"),
        ("POST", "/api/processed-attendance/process/?date=2999-01-01", "operate"),
        ("POST", "/api/processed-attendance/sync/", "operate"),
        ("POST", "/api/processed-attendance/999999/retry/", "operate"),
        ("POST", "/api/punch-requests/", "request"),
        ("POST", "/api/punch-requests/999/approve/", "approve"),
        ("POST", "/api/punch-requests/999/reject/", "approve"),
        ("POST", "/api/punch-requests/999/withdraw/", "approve"),
        ("GET", "/api/punch-requests/", "read"),
        ("POST", "/api/leaves/", "approve"),
        ("DELETE", "/api/leaves/999/", "approve"),
        ("GET", "/api/leaves/", "read"),
        ("GET", "/api/devices/999/", "read"),
        ("GET", "/metrics", "read"),
    ]
    corrects = ("read", "request", "approve")
    for scope in SCOPES:
        with served.client(scope) as client:
            for method, path, needed in changes:
                status = client.request(method, path).status_code
                if scope in corrects:
                    is_allowed = needed in corrects[: corrects.index(scope) + 1]
                else:
                    is_allowed = scope == "admin" or needed in ("read", "operate")
                assert (status != 403) == is_allowed, (scope, method, path, status)


def test_health_needs_no_token(stranger: httpx.Client) -> None:
    assert stranger.get("/health/live").json() == {"status": "alive"}
    ready = stranger.get("/health/ready")
    assert (ready.status_code, ready.json()["store"]) == (503, "ok")
    assert ready.json()["daemon"].startswith("no heartbeat yet")


def test_a_revoked_token_is_refused_within_seconds_and_its_sessions_end(
    served: Served, stranger: httpx.Client, watch: Stopwatch
) -> None:
    tokens = served.services.store.api_tokens
    header = {"Authorization": f"Token {(secret := tokens.create('passing', 'admin'))}"}
    watch.now += 3
    assert stranger.get("/api/devices/", headers=header).status_code == 200
    assert stranger.post("/login", data={"token": secret}).status_code == 303
    assert stranger.get("/").status_code == 200
    tokens.revoke("passing")
    watch.now += 11
    assert stranger.get("/").status_code == 303
    assert stranger.get("/api/devices/", headers=header).status_code == 401


def test_requests_do_not_wait_for_a_writer_to_check_their_token_and_do_once_the_check_is_too_old(
    served: Served, watch: Stopwatch
) -> None:
    cache = served.services.tokens
    token = served.tokens["read"]
    assert cache.verify(token) is not None
    database = served.services.store.database
    with StoreFileLock(database.path).hold("exclusive", "a backfill", wait_seconds=10):
        watch.now += 29
        assert cache.verify(token) is not None
        watch.now += 2
        waiting = ThreadPoolExecutor(1).submit(cache.verify, token)
        with pytest.raises(TimeoutError):
            waiting.result(0.1)
    assert waiting.result(20) is not None


def test_the_last_use_of_a_token_is_noted_without_a_write_for_each(
    served: Served, stranger: httpx.Client, watch: Stopwatch
) -> None:
    tokens = served.services.store.api_tokens
    header = {"Authorization": f"Token {tokens.create('seldom', 'read')}"}
    watch.now += 3

    def noted() -> object:
        assert stranger.get("/api/devices/", headers=header).status_code == 200
        served.services.tokens.write_last_used()
        (one,) = [one for one in tokens.all() if one.name == "seldom"]
        return one.last_used_at

    first = noted()
    assert first is not None
    assert noted() == first


def test_a_browser_logs_in_and_out(served: Served, stranger: httpx.Client) -> None:
    to_login = stranger.get("/?x=1")
    assert (to_login.status_code, to_login.headers["location"]) == (303, "/login?next=/%3Fx%3D1")
    logged_in = log_in(served, stranger, next="/?x=1")
    assert (logged_in.status_code, logged_in.headers["location"]) == (303, "/?x=1")
    cookie = logged_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert stranger.get("/api/devices/").status_code == 200
    assert stranger.post("/logout", data={"csrf_token": csrf_of(stranger)}).status_code == 303
    stranger.cookies.set("zk_session", cookie.partition("=")[2].partition(";")[0])  # the cookie, kept by a thief
    assert stranger.get("/api/devices/").status_code == 401


def test_wrong_tokens_lock_no_valid_token_out_of_the_login(served: Served, stranger: httpx.Client) -> None:
    statuses = [stranger.post("/login", data={"token": "zkp_x_y"}).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert log_in(served, stranger).status_code == 303
    assert stranger.post("/login", data={"token": "zkp_x_y"}).status_code == 429


def test_behind_https_the_cookie_is_secure_and_bound_to_the_host(served: Served, stranger: httpx.Client) -> None:
    answer = stranger.post(
        "/login", data={"token": served.tokens["read"]}, headers={"X-Forwarded-Proto": "https", "Host": "a.example"}
    )
    assert answer.headers["set-cookie"].startswith("__Host-zk_session=")
    assert "; Secure" in answer.headers["set-cookie"]
    assert answer.headers["strict-transport-security"]


def test_sessions_end_by_themselves(served: Served, stranger: httpx.Client, watch: Stopwatch) -> None:
    log_in(served, stranger)
    for hours, status in ((7, 200), (7, 200), (9, 303)):
        watch.now += hours * 3600
        assert stranger.get("/").status_code == status
    log_in(served, stranger)
    for _ in range(4):
        watch.now += 7 * 3600
        last = stranger.get("/").status_code
    assert last == 303  # in use all the time, but for longer than a day


def test_without_tokens_everybody_on_this_machine_may_do_everything_and_nobody_else(
    home: Path, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.exists()
    monkeypatch.setenv("API_TOKENS_REQUIRED", "false")
    with serve(load_settings(), home_store, Parts(actions=NothingToDo())) as own, own.client(None) as anybody:
        new = {"name": "Gate", "ip_address": "192.0.2.10"}
        assert anybody.post("/api/devices/", json=new).status_code == 201
        # A foreign page whose name points here (DNS rebinding), and one that posts across.
        assert anybody.get("/api/devices/", headers={"Host": "evil.example"}).status_code == 403
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            assert anybody.post("/api/devices/", json=new, headers=headers).status_code == 403
