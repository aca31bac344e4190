"""Configuration of the reverse proxy in a real nginx, in front of a server that echoes requests."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from zk_pipeline_tests.deploy.deploy_files import DEPLOY
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.waiting import until

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
LOGIN = ("operator", "a long pass phrase")

pytestmark = [
    pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed"),
]


MIRROR_DATE = "Mon, 01 Jun 2026 12:00:00 GMT"


class Mirror(BaseHTTPRequestHandler):
    """Echo the headers and the path of the request."""

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002
        return MIRROR_DATE

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def behind() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def proxy(behind: int, tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Ports of a running nginx with the shipped configuration: plain and TLS."""
    plain, tls = free_port(), free_port()
    certificate, key, passwords = tmp_path / "proxy.pem", tmp_path / "proxy.key", tmp_path / "htpasswd"
    _run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=dagster.example.com",
         "-keyout", key, "-out", certificate)  # fmt: skip
    passwords.write_text(f"{LOGIN[0]}:{_run('openssl', 'passwd', '-apr1', LOGIN[1]).strip()}\n")
    changes = {
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;",
        "127.0.0.1:3000": f"127.0.0.1:{behind}",
        "127.0.0.1:8000": f"127.0.0.1:{behind}",
        "/etc/ssl/certs/zk-pipeline.pem": str(certificate),
        "/etc/ssl/private/zk-pipeline.key": str(key),
        "/etc/nginx/zk-pipeline.htpasswd": str(passwords),
    }
    with nginx("zk-pipeline.conf", changes, tmp_path):
        until(lambda: _listens(tls))
        yield plain, tls


@contextmanager
def nginx(name: str, changes: dict[str, str], folder: Path) -> Iterator[None]:
    """A running nginx with a shipped configuration, each key of `changes` replaced by its value."""
    ours = (DEPLOY / "nginx" / name).read_text()
    for theirs, here in {**changes, "/var/log/nginx": str(folder)}.items():
        assert theirs in ours
        ours = ours.replace(theirs, here)
    config = folder / "nginx.conf"
    folders = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi"))
    folders += "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""  # else nginx gives up the right to read what we made
    config.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n{user}"
        f"events {{}}\nhttp {{\n{folders}{ours}}}\n"
    )
    running = subprocess.Popen([NGINX, "-e", str(folder / "error.log"), "-c", str(config)])
    try:
        until(lambda: (folder / "pid").exists() or running.poll() is not None)
        assert running.poll() is None, (folder / "error.log").read_text()
        yield
    finally:
        running.terminate()
        running.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _run(*command: str | Path) -> str:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout


def ask(
    port: int,
    host: str,
    path: str = "/runs?x=1",
    method: str = "GET",
    auth: tuple[str, str] | None = None,
    **headers: str,
) -> requests.Response:
    """The answer over TLS; underscores in the names of `headers` stand for hyphens."""
    with requests.Session() as session:
        session.trust_env = False
        named = {"Host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
        return session.request(
            method, f"https://127.0.0.1:{port}{path}", headers=named, auth=auth, verify=False, timeout=10
        )


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_the_dagster_ui_needs_the_login_and_never_receives_it(proxy: tuple[int, int]) -> None:
    _, tls = proxy
    assert ask(tls, "dagster.example.com").status_code == 401
    assert ask(tls, "dagster.example.com", auth=("operator", "guess")).status_code == 401
    seen = ask(tls, "dagster.example.com", auth=LOGIN, Upgrade="websocket")
    assert seen.status_code == 200
    said = seen.json()
    assert "authorization" not in said
    # GraphQL subscriptions, with which the UI shows a run's events, are web sockets.
    assert (said["path"], said["upgrade"], said["connection"]) == ("/runs?x=1", "websocket", "upgrade")


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_the_api_has_its_own_login_and_gets_the_client_address(proxy: tuple[int, int]) -> None:
    _, tls = proxy
    seen = ask(tls, "attendance.example.com", Authorization="Token abc", X_Forwarded_For="198.51.100.7")
    said = seen.json()
    assert (said["authorization"], said["x-forwarded-for"], said["x-forwarded-proto"]) == (
        "Token abc",
        "127.0.0.1",
        "https",
    )
    assert "upgrade" not in said


OWN, FOREIGN = "https://dagster.example.com", "https://evil.example"
JSON, HTML = "application/json", "text/html,application/xhtml+xml"
GRAPHQL = "/graphql?query=mutation"


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_the_proxy_refuses_what_the_webserver_refuses(proxy: tuple[int, int]) -> None:
    _, tls = proxy
    cases: list[tuple[int, str, str, dict[str, str]]] = [
        (200, "POST", "/graphql", {"Content_Type": JSON, "Origin": OWN, "Sec_Fetch_Site": "same-origin"}),
        (200, "POST", "/graphql", {"Content_Type": f"{JSON}; charset=utf-8"}),
        (200, "GET", "/graphql", {"Accept": HTML, "Sec_Fetch_Site": "cross-site"}),
        (200, "GET", "/graphql", {"Upgrade": "websocket", "Origin": OWN}),
        (200, "GET", "/graphql", {"Upgrade": "websocket"}),
        (200, "GET", "/runs", {"Sec_Fetch_Site": "cross-site"}),
        (200, "POST", "/report_asset_materialization/a", {}),
        (405, "GET", GRAPHQL, {"Accept": "*/*"}),
        (405, "GET", f"/./graph%71l{GRAPHQL[8:]}", {"Accept": "image/*"}),
        *((405, "POST", GRAPHQL, {"Content_Type": kind}) for kind in ("text/plain", f"text/plain; {JSON}", "a/b", "")),
        *(
            (403, "POST", "/graphql", {"Content_Type": JSON, "Origin": origin})
            for origin in (FOREIGN, "null", f"{OWN}:1", OWN.replace("https", "http"))
        ),
        (403, "POST", "/graphql", {"Content_Type": JSON, "Origin": OWN, "Sec_Fetch_Site": "same-site"}),
        (403, "POST", "/graphql", {"Content_Type": JSON, "Sec_Fetch_Site": "cross-site"}),
        (403, "GET", "/graphql", {"Upgrade": "websocket", "Origin": FOREIGN}),
        (403, "POST", "/report_asset_check/a?passed=true", {"Origin": FOREIGN}),
    ]
    for status, method, path, headers in cases:
        answer = ask(tls, "dagster.example.com", path, method, LOGIN, **headers)
        assert answer.status_code == status, (method, path, headers)
    assert ask(tls, "evil.example", auth=LOGIN).status_code == 421
    with_port = ask(tls, "dagster.example.com:8443", "/runs", "POST", LOGIN, Origin=f"{OWN}:8443")
    assert (with_port.status_code, with_port.json()["host"]) == (200, "dagster.example.com:8443")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_plain_http_is_sent_to_https_and_old_tls_is_refused(proxy: tuple[int, int]) -> None:
    plain, tls = proxy
    answer = requests.get(
        f"http://127.0.0.1:{plain}/runs", headers={"Host": "dagster.example.com"}, allow_redirects=False, timeout=10
    )
    assert (answer.status_code, answer.headers["Location"]) == (301, "https://dagster.example.com/runs")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", tls)) as plain_socket, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain_socket)


def test_terminals_reach_the_receiver_with_their_address_and_its_date(behind: int, tmp_path: Path) -> None:
    port = free_port()
    changes = {
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "    listen 8443 ssl;\n": "",
        "    ssl_certificate     /etc/ssl/certs/zk-pipeline.pem;\n": "",
        "    ssl_certificate_key /etc/ssl/private/zk-pipeline.key;\n": "",
        "127.0.0.1:8081": f"127.0.0.1:{behind}",
    }
    with nginx("zk-pipeline-receiver.conf", changes, tmp_path), requests.Session() as session:
        session.trust_env = False
        until(lambda: _listens(port))
        url = f"http://127.0.0.1:{port}/s3cret/iclock/getrequest?SN=1"
        seen = session.get(url, headers={"X-Forwarded-For": "198.51.100.7"}, timeout=10)
        assert (seen.json()["path"], seen.json()["x-forwarded-for"]) == ("/s3cret/iclock/getrequest?SN=1", "127.0.0.1")
        assert seen.headers["Date"] == MIRROR_DATE
        assert session.get(f"http://127.0.0.1:{port}/health/ready", timeout=10).status_code == 404
    logs = "".join(one.read_text() for one in tmp_path.glob("*.log"))
    assert "s3cret" not in logs
