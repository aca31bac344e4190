"""The webserver that `up` starts: attacks of foreign pages, over HTTP and in Chromium; scripts and the UI work."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from dagster_graphql import DagsterGraphQLClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from zk_pipeline_tests.chromium import chromium_page, needs_chromium
from zk_pipeline_tests.demo.backfills import materialize
from zk_pipeline_tests.demo.dagster_ui import Ui, answers
from zk_pipeline_tests.demo.demo_fixtures import environ, processes_of
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.waiting import until

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

ATTACK_SCRIPT = Path(__file__).with_name("attack_page.js")
PUBLIC_NAME = "dagster.example.com"
INSTANCE = """
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
telemetry: {enabled: false}
nux: {enabled: false}
"""
LOCATION = """
import dagster as dg

@dg.asset(partitions_def=dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-01-04"),
          backfill_policy=dg.BackfillPolicy.single_run())
def daily(): ...

@dg.asset
def plain(): ...

defs = dg.Definitions([daily, plain], jobs=[dg.define_asset_job("plain_job", ["plain"])],
                      executor=dg.in_process_executor)
"""
MUTATION = (
    'mutation { launchRun(executionParams: {selector: {repositoryLocationName: "location.py", '
    'repositoryName: "__repository__", jobName: "plain_job"}}) { __typename } }'
)
EFFECTS = """
{ runsOrError { ... on Runs { count } }
  assetsOrError { ... on AssetConnection { nodes { key { path } } } } }
"""
SENT = 13  # requests of the attack page without JSON and the web socket
REPORTS = ("report_asset_materialization", "report_asset_observation", "report_asset_check")
FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.test"},
    {"Origin": "null"},
    {"Origin": "http://localhost:8000"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "{own}"},
    {"Sec-Fetch-Site": "cross-site", "Authorization": "Basic b3BlcmF0b3I6eA=="},
]


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    home = tmp_path_factory.mktemp("home")
    (home / "dagster.yaml").write_text(INSTANCE)
    (home / "location.py").write_text(LOCATION)
    port, output = free_port(), home / "output.log"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "zk_pipeline.server.dagster_webserver", "-p", str(port), "-f", "location.py",
             "--dagster-log-level", "warning", "--code-server-log-level", "warning"],
            cwd=home,
            env=environ(home, DAGSTER_HOME=str(home), ZK_PIPELINE_UI_URL=f"https://{PUBLIC_NAME}"),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        until(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}"), seconds=60, every=0.1)
        assert process.poll() is None, output.read_text()
        yield Ui(home, f"http://127.0.0.1:{port}", process, output)
    finally:
        for pid in processes_of(home):
            os.kill(pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def no_effect(ui: Ui) -> Iterator[None]:
    """Fails the test if it starts a run or reports something about an asset."""
    before = ui.ask(EFFECTS)
    yield
    assert ui.ask(EFFECTS) == before


def port_of(ui: Ui) -> int:
    return int(ui.url.rpartition(":")[2])


@pytest.mark.parametrize(
    "host",
    ["evil.test", "evil.test:{port}", "127.0.0.1.evil.test", "localhost.evil.test", "[::]", "a b", f"x.{PUBLIC_NAME}"],
)
@pytest.mark.usefixtures("no_effect")
def test_unknown_host_names_are_refused_everywhere(ui: Ui, host: str) -> None:
    headers = {"Host": host.format(port=port_of(ui))}
    for path in ("", "server_info", "graphql", "logs/a/b.out", "download_debug/a"):
        assert requests.get(f"{ui.url}/{path}", headers=headers, timeout=30).status_code == 421, path
    headers |= {"Origin": f"http://{headers['Host']}", "Sec-Fetch-Site": "same-origin"}
    assert requests.post(f"{ui.url}/graphql", json={"query": MUTATION}, headers=headers, timeout=30).status_code == 421


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:{port}", "[::1]:{port}", PUBLIC_NAME, f"{PUBLIC_NAME.upper()}:8443"]
)
def test_names_of_this_machine_and_the_address_of_the_settings_are_accepted(ui: Ui, host: str) -> None:
    headers = {"Host": host.format(port=port_of(ui))}
    page = requests.get(ui.url, headers=headers, timeout=30)
    assert page.status_code == 200
    assert (page.headers["x-frame-options"], page.headers["content-security-policy"][:8]) == ("SAMEORIGIN", "base-uri")
    headers["Origin"] = f"https://{headers['Host']}"
    asked = requests.post(f"{ui.url}/graphql", json={"query": "{ version }"}, headers=headers, timeout=30)
    assert asked.json()["data"]["version"]


@pytest.mark.parametrize(
    ("method", "media_type", "body", "status"),
    [
        ("GET", None, None, 405),
        ("HEAD", None, None, 405),
        ("PUT", "application/json", {"query": MUTATION}, 405),
        ("POST", None, None, 415),
        ("POST", "application/x-www-form-urlencoded", "a=b", 415),
        ("POST", "multipart/form-data; boundary=x", "--x--", 415),
        ("POST", "text/plain", json.dumps({"query": MUTATION}), 415),
        ("POST", "text/plain; charset=application/json", json.dumps({"query": MUTATION}), 415),
        ("POST", "application/graphql", MUTATION, 415),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_effect")
def test_graphql_is_json_by_post_and_nothing_else(
    ui: Ui, method: str, media_type: str | None, body: Any, status: int
) -> None:
    data = json.dumps(body) if isinstance(body, dict) else body
    headers = {"Content-Type": media_type} if media_type else {}
    address = f"{ui.url}/graphql?query={quote(MUTATION)}"
    assert requests.request(method, address, data=data, headers=headers, timeout=30).status_code == status


@pytest.mark.usefixtures("no_effect")
def test_by_get_graphql_shows_graphiql_and_executes_nothing(ui: Ui) -> None:
    page = requests.get(f"{ui.url}/graphql?query={quote(MUTATION)}", headers={"Accept": "text/html"}, timeout=30)
    assert "<title>GraphiQL</title>" in page.text


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.usefixtures("no_effect")
def test_pages_of_other_origins_change_nothing(ui: Ui, headers: dict[str, str]) -> None:
    headers = {name: value.format(own=ui.url) for name, value in headers.items()}
    asked = requests.post(f"{ui.url}/graphql", json={"query": MUTATION}, headers=headers, timeout=30)
    assert asked.status_code == 403
    for report in REPORTS:
        asked = requests.post(f"{ui.url}/{report}/reported?check_name=a&passed=true", headers=headers, timeout=30)
        assert asked.status_code == 403, report


def test_web_sockets_are_for_pages_of_this_origin_and_for_scripts(ui: Ui) -> None:
    assert subscribed(ui, None) == subscribed(ui, f"http://localhost:{port_of(ui)}") == "connection_ack"
    for origin in ("https://evil.test", "null", "http://localhost:8000"):
        with pytest.raises(InvalidStatus) as refused:
            subscribed(ui, origin)
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as refused:
        subscribed(ui, "http://evil.test", host="evil.test")
    assert refused.value.response.status_code == 421


def subscribed(ui: Ui, origin: str | None, *, host: str = "localhost") -> str:
    """The first answer of the socket of GraphQL subscriptions."""
    with (
        socket.create_connection(("127.0.0.1", port_of(ui))) as stream,
        connect(
            f"ws://{host}:{port_of(ui)}/graphql",
            sock=stream,
            origin=Origin(origin) if origin else None,
            subprotocols=[Subprotocol("graphql-ws")],
        ) as connection,
    ):
        connection.send('{"type": "connection_init"}')
        return str(json.loads(connection.recv(10))["type"])


def test_scripts_use_graphql_and_report_assets_as_before(ui: Ui) -> None:
    client = DagsterGraphQLClient("127.0.0.1", port_number=port_of(ui))
    run_id = client.submit_job_execution(
        "plain_job", repository_location_name="location.py", repository_name="__repository__"
    )
    until(lambda: client.get_run_status(run_id).value == "SUCCESS", seconds=60, every=0.2)
    for report in REPORTS[:2]:
        asked = requests.post(f"{ui.url}/{report}/from_a_script?data_version=1", timeout=30)
        assert (asked.status_code, asked.json()) == (200, {})


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium_page("--host-resolver-rules=MAP *.test 127.0.0.1") as opened:
        yield opened


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    """Port of another web site on this machine."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<body><script>{ATTACK_SCRIPT.read_text()}</script>".encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.browser
@needs_chromium
@pytest.mark.usefixtures("no_effect")
@pytest.mark.parametrize(("site", "target"), [("evil.test", "127.0.0.1"), ("localhost", "localhost")])
def test_a_foreign_page_in_a_browser_achieves_nothing(
    ui: Ui, page: Page, foreign_port: int, site: str, target: str
) -> None:
    hidden: list[str] = []  # requests whose response the browser withholds, because the webserver says so

    def see(failed: Request) -> None:
        if "ERR_BLOCKED_BY_RESPONSE" in str(failed.failure):
            hidden.append(f"{failed.method} {failed.resource_type}")

    page.on("requestfailed", see)
    page.goto(f"http://{site}:{foreign_port}/?target=http://{target}:{port_of(ui)}&query={quote(MUTATION)}")
    outcomes = page.evaluate("attack()")
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "failed"} == {"socket": "refused"}
    for _ in range(100):
        if len(hidden) < SENT:
            page.wait_for_timeout(100)
    page.remove_listener("requestfailed", see)
    assert len(hidden) == SENT, sorted(hidden)


@pytest.mark.browser
@needs_chromium
def test_a_name_rebound_to_this_machine_shows_nothing(ui: Ui, page: Page) -> None:
    shown = page.goto(f"http://evil.test:{port_of(ui)}/runs")
    assert shown is not None
    assert shown.status == 421
    assert "unknown host name" in page.content()


@pytest.mark.browser
@needs_chromium
def test_the_ui_launches_runs_and_backfills_and_follows_them(ui: Ui, page: Page) -> None:
    received: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(str(frame))))
    page.goto(f"{ui.url}/assets/plain")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_role("button", name="View", exact=True).or_(page.get_by_role("link", name="View", exact=True)).click()
    page.get_by_text("Success", exact=True).first.wait_for()
    page.get_by_text("STEP_SUCCESS").first.wait_for()
    assert any("STEP_SUCCESS" in frame or "ExecutionStepSuccessEvent" in frame for frame in received), received[:5]
    assert materialize(page, ui, "daily", "2026-01-01", "2026-01-03", partitions=3)
