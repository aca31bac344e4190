"""The attack list: each is tried over HTTP against a running API, and none works. Printed at the end of a run."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest

from zk_pipeline.http import middleware
from zk_pipeline.http.middleware import SECURITY_HEADERS
from zk_pipeline.server import uvicorn_server
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.api.test_api_auth import csrf_of, log_in
from zk_pipeline_tests.attacks import ATTACK
from zk_pipeline_tests.gates import gate, switch_on
from zk_pipeline_tests.store.store_fixtures import execute, rows
from zk_pipeline_tests.waiting import until

INJECTIONS = [
    "'", '"', "1 OR 1=1", "'; DROP TABLE raw_punches; --", "1); ATTACH '/etc/passwd'; --", "x' UNION SELECT 1 --",
    "$user_id", "?", "%27%20OR%201=1", "\\", "{{7*7}}", "${jndi:ldap://x}", "a\r\nSet-Cookie: x=1", "\u0000", "\u202e",
    "-" * 150, "../../../../etc/passwd", "read_text('/etc/passwd')",
]  # fmt: skip
XSS = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def attack(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    record_property(ATTACK, request.node.originalname)


def raw(served: Served, request: bytes, *, seconds: float = 15.0) -> bytes:
    """Everything the server says to these bytes until it hangs up."""
    answer = b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=seconds) as connection:
        connection.sendall(request)
        try:
            while piece := connection.recv(65536):
                answer += piece
        except (ConnectionResetError, TimeoutError):
            pass
    return answer


def try_injections(admin: httpx.Client, store: Store, *, each: int) -> None:
    """Texts in query parameters and in fields of a device: `each` of them in every one."""
    document = admin.get("/api/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        for parameter in methods.get("get", {}).get("parameters", []):
            if parameter["in"] != "query":
                continue
            for number in range(each):
                text = INJECTIONS[(tried + number * 7) % len(INJECTIONS)]
                url = path.replace("{device_id}", "1").replace("{day_id}", "1")
                answer = admin.get(url, params={parameter["name"]: text})
                assert answer.status_code in (200, 400, 404), (path, parameter["name"], text, answer.text)
                assert "set-cookie" not in answer.headers
                if answer.status_code == 200 and parameter["name"] == "user_id":
                    assert answer.json()["count"] == 0
            tried += 1
    assert tried > 40
    for text in INJECTIONS:
        assert admin.get("/api/devices/" + quote(text, safe="")).status_code in (404, 400)
    for start, field in enumerate(("name", "ip_address", "timezone", "site", "comm_key_env", "encoding", "protocol")):
        for number in range(each):
            text = INJECTIONS[(start + number * 7) % len(INJECTIONS)]
            body = {"name": "New", "ip_address": "192.0.2.1"} | {field: text}
            status = admin.post("/api/devices/", json=body).status_code
            assert status in (201, 400)
            if status == 201:  # a name may look like anything that a file may be called
                assert field in ("name", "site")
                store.devices.remove(body["name"])
    assert rows(store, "SELECT count(*) FROM raw_punches") == [(120,)]
    assert rows(store, "SELECT database_name FROM duckdb_databases() WHERE NOT internal ORDER BY 1") == [
        ("memory",),
        ("store",),
    ]


def test_sql_and_header_injection_in_every_parameter(served: Served, admin: httpx.Client) -> None:
    try_injections(admin, served.services.store, each=2)


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_every_injection_in_every_parameter(served: Served, admin: httpx.Client) -> None:
    try_injections(admin, served.services.store, each=len(INJECTIONS))


@pytest.mark.parametrize(
    "path",
    ["/static/../../settings.py", "/static/%2e%2e/%2e%2e/settings.py", "/static/..%2f..%2fsettings.py",
     "/static//etc/passwd", "/static/%00", "/api/../../etc/passwd", "/api/%2e%2e/%2e%2e/.env", "//evil.example/",
     "/api/devices/..%2f..%2f", "/.env", "/data/attendance.duckdb", "/static/..\\..\\config/settings.py"],
)  # fmt: skip
def test_path_tricks(served: Served, path: str) -> None:
    answer = raw(
        served,
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Authorization: Token {served.tokens['admin']}\r\n\r\n".encode(),
    )
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.1 403")), answer[:300]
    assert b"root:" not in answer
    assert b"import" not in answer


def test_csrf(served: Served, stranger: httpx.Client) -> None:
    log_in(served, stranger)
    new = {"name": "Signed", "ip_address": "192.0.2.10"}
    assert stranger.post("/api/devices/", json=new).status_code == 403  # the cookie alone, as another page sends it
    assert stranger.post("/api/devices/", json=new, headers={"X-CSRF-Token": "guess"}).status_code == 403
    assert stranger.post("/logout", data={"a": "b"}).status_code == 403
    assert stranger.post("/logout", data={"csrf_token": "guess"}).status_code == 403
    token = csrf_of(stranger)
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        refused = stranger.post("/api/devices/", json=new, headers=headers | {"X-CSRF-Token": token})
        assert refused.status_code == 403
        assert stranger.post("/login", data={"token": served.tokens["read"]}, headers=headers).status_code == 403
    plain = {"Content-Type": "text/plain", "X-CSRF-Token": token}  # what a form of another site can send
    assert stranger.post("/api/devices/", content=json.dumps(new), headers=plain).status_code == 400
    assert stranger.post("/api/devices/", json=new, headers={"X-CSRF-Token": token}).status_code == 201
    served.services.store.devices.remove("Signed")


def test_brute_force(served: Served, stranger: httpx.Client) -> None:
    statuses = [stranger.post("/login", data={"token": f"zkp_{n:012x}_{'A' * 43}"}).status_code for n in range(14)]
    assert statuses == [401] * 10 + [429] * 4
    refused = stranger.post("/login", data={"token": "wrong"})
    assert (refused.status_code, int(refused.headers["retry-after"]) > 600) == (429, True)
    wrong = stranger.get("/api/devices/", headers={"Authorization": "Token wrong"})
    assert wrong.status_code == 429
    with served.client("read") as good:  # must not be locked out by others behind the same proxy
        assert good.get("/api/devices/").status_code == 200
    assert log_in(served, stranger).status_code == 303


def test_a_token_in_the_log(served: Served, stranger: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    secret = served.tokens["admin"]
    with caplog.at_level(logging.DEBUG):
        stranger.get(f"/api/presence/?token={secret}", headers={"Authorization": f"Token {secret}"})
        stranger.get(f"/api/{secret}/")
        stranger.post("/login", data={"token": secret, "next": f"/{secret}"})
        stranger.get("/api/devices/%0a%1b[31m{fake}/")

        def logged() -> list[str]:
            return [record.getMessage() for record in caplog.records if record.name == middleware.ACCESS_LOG.name]

        # an answer is there before its line is, and a line of the test before may still come
        paths = {"/api/presence/", "/api/zkp_…/", "/login", "/api/devices/\n\x1b[31m{fake}/"}
        until(lambda: paths <= {json.loads(line)["path"] for line in logged()})
    ours = "".join(one.getMessage() for one in caplog.records if one.name.startswith(("uvicorn", "zk_pipeline")))
    assert secret.split("_", 2)[2] not in ours
    for line in logged():
        assert json.loads(line)["status"] in (200, 303, 400, 404)  # one line, whatever the path holds
        assert "\n" not in line


def test_xss_through_names_and_error_texts(filled: Store, own: Served) -> None:
    execute(filled, "UPDATE crm_deliveries SET state = 'failed', last_error = ?", [XSS])
    execute(filled, "UPDATE raw_punches SET user_id = ?", [XSS])
    with own.client() as admin:
        for path in ("/api/raw-attendance/", "/api/processed-attendance/", f"/api/devices/?{XSS}", f"/api/{XSS}/"):
            answer = admin.get(path)
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
    with own.client(None) as browser:
        for page in (f"/login?next={XSS}", f"/{XSS}", "/api/docs", f"/login?next=/%22%3E{XSS}"):
            answer = browser.get(page)
            assert XSS not in answer.text
            policy = answer.headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "/\r\nX: y", "a", "/\t/x"]
)
def test_open_redirect(served: Served, stranger: httpx.Client, target: str) -> None:
    assert log_in(served, stranger, next=target).headers["location"] == "/"


def test_every_answer_has_the_security_headers(served: Served, admin: httpx.Client, stranger: httpx.Client) -> None:
    answers = [
        admin.get("/api/devices/"), stranger.get("/api/devices/"), stranger.get("/"), stranger.get("/login"),
        stranger.get("/nothing"), stranger.get("/static/style.css"),
        admin.post("/api/devices/", content=b"x" * 300_000),
        admin.request("TRACE", "/api/devices/"), stranger.get("/health/live"), admin.get("/metrics"),
    ]  # fmt: skip
    for answer in answers:
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, answer.url
        assert "server" not in answer.headers
    assert served.server.started


@pytest.mark.closed_stores
def test_errors_without_internals(own: Served, home_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret of the inside")

    with monkeypatch.context() as patch:
        patch.setattr("zk_pipeline.store.terminals.devices.DeviceRegistry.all", broken)
        with own.client() as admin:
            answer = admin.get("/api/devices/")
    assert (answer.status_code, answer.json()) == (500, {"detail": "internal error; see the log of the API"})
    assert answer.headers["content-security-policy"]
    path = home_store.database.path
    kept = path.read_bytes()
    path.write_bytes(b"this is no database" * 1000)
    try:
        with own.client() as admin:
            unusable = admin.get("/api/devices/")
    finally:
        path.write_bytes(kept)
    assert unusable.status_code == 503
    assert str(path) not in unusable.text
    assert own.server.started


def test_no_secret_in_any_answer(own: Served, fleet: Fleet, home_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_KEY", "4711471147")
    monkeypatch.setenv("CRM_API_TOKEN", "crm-secret")
    switch_on(fleet, home_store, gate("North", comm_key=1), comm_key_env="GATE_KEY")
    with own.client() as admin:
        answers = [admin.get(f"/api/devices/{rest}") for rest in ("", "1/", "1/info/", "1/users/")]
        answers += [admin.get("/metrics"), admin.get("/health/ready")]
    for answer in answers:
        assert "4711471147" not in answer.text
        assert "crm-secret" not in answer.text
        assert all(token not in answer.text for token in own.tokens.values())


def test_oversized_bodies(served: Served, admin: httpx.Client) -> None:
    assert admin.post("/api/devices/", content=b"x" * (middleware.MAX_BODY_BYTES + 1)).status_code == 413
    endless = (b"x" * 65536 for _ in range(100))  # without a length
    assert admin.post("/api/devices/", content=endless).status_code == 413
    deep = b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert admin.post("/api/devices/", content=deep, headers={"Content-Type": "application/json"}).status_code == 400
    header = raw(served, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 400_000)
    assert header == b"" or header.startswith(b"HTTP/1.1 4")
    assert admin.get("/health/live").status_code == 200


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits on slowness, shortened."""
    monkeypatch.setattr(uvicorn_server, "HEADER_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(middleware, "BODY_TIMEOUT_SECONDS", 1.0)


@pytest.mark.usefixtures("hurried")
def test_slow_loris(served: Served, admin: httpx.Client) -> None:
    began = time.monotonic()
    lines = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
    slow = [socket.create_connection(("127.0.0.1", served.port), timeout=20) for _ in range(100)]
    for number, connection in enumerate(slow):
        connection.sendall(lines[: number % len(lines)])
    assert admin.get("/health/live").status_code == 200
    for connection in slow:  # each is hung up on, though a byte comes every now and then
        with connection:
            try:
                connection.sendall(b"X")
                while connection.recv(1):
                    pass
            except ConnectionError:
                pass
    body = raw(served, b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
               b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken=")  # fmt: skip
    assert body.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 60


def test_a_body_that_the_client_breaks_off_is_no_error_of_the_server(
    served: Served, admin: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    def seen() -> float:
        text = admin.get("/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines() if 'status="400"' in line and "POST" in line)

    before = seen()
    forms = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
    for path, content_type in (
        ("/login", forms[0]),
        ("/holidays/import", forms[1]),
        ("/api/devices/", "application/json"),
    ):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {served.tokens['admin']}\r\n"
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
            connection.sendall(f"{head}Content-Type: {content_type}\r\nContent-Length: 1000\r\n\r\n--x".encode())
            time.sleep(0.2)  # the server waits for the rest
    until(lambda: seen() >= before + 2)
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


def test_a_client_that_does_not_take_its_answers(
    served: Served, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "SEND_TIMEOUT_SECONDS", 1.0)
    connections = served.server.server_state.connections
    assert admin.get("/health/live").status_code == 200
    others = len(connections)
    with socket.create_connection(("127.0.0.1", served.port)) as greedy:
        greedy.sendall(b"GET /api/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 150)  # more than buffers hold
        until(lambda: len(connections) > others)
        until(lambda: len(connections) <= others)  # hung up on
    assert admin.get("/health/live").status_code == 200


def test_http_smuggling(served: Served) -> None:
    both = raw(served, b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n"
               b"\r\n0\r\n\r\nGET /api/devices/ HTTP/1.1\r\nHost: x\r\n\r\n", seconds=3)  # fmt: skip
    assert both.startswith(b"HTTP/1.1 400")
    assert both.count(b"HTTP/1.1") == 1
    bad_host = raw(served, b"GET /login HTTP/1.1\r\nHost: a/b?c@d\r\nConnection: close\r\n\r\n")
    assert bad_host.startswith(b"HTTP/1.1 400")
