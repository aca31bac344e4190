"""The compose file of `deploy/container`, run by a container engine (`.ci/image`).

The files alone are checked in `test_deploy_commands.py`, the image in `test_deploy_image.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from zk_pipeline_tests.deploy.containers import COMPOSE, ENGINE, NEEDS_ENGINE, run
from zk_pipeline_tests.deploy.deploy_files import DEPLOY
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.waiting import until

PROXY_IMAGE = os.environ.get("ZK_PIPELINE_PROXY_IMAGE")
UI, API = "dagster.example.com", "attendance.example.com"
LOGIN = ("operator", "a long pass phrase")
START_SECONDS = 240

pytestmark = [*NEEDS_ENGINE, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]


@dataclass(frozen=True)
class Deployment:
    """Running containers of the compose file: its command with its options, and the ports on loopback."""

    compose: list[str]
    project: str
    https: int
    push: int

    def engine(self, verb: str, service: str, *arguments: str) -> str:
        return run(*ENGINE, *verb.split(), self.container(service), *arguments)

    def container(self, service: str) -> str:
        labels = [f"--filter=label=com.docker.compose.{key}={value}"
                  for key, value in (("project", self.project), ("service", service))]  # fmt: skip
        (found,) = run(*ENGINE, "ps", "--all", "--quiet", *labels).split()
        return found

    def wait_until_healthy(self) -> None:
        """Return when the UI responds and `zk-pipeline watchdog`, the health check of the image, succeeds."""
        until(lambda: self.get(UI, "/server_info", LOGIN) == 200, seconds=START_SECONDS, every=1)
        watchdog = [*ENGINE, "exec", self.container("pipeline"), "zk-pipeline", "watchdog"]
        until(
            lambda: subprocess.run(watchdog, capture_output=True, check=False, timeout=120).returncode == 0,
            seconds=START_SECONDS,
            every=1,
        )

    def get(self, host: str, path: str, login: tuple[str, str] | None = None) -> int:
        """HTTP status of a page behind the proxy; 0 without a response."""
        try:
            return requests.get(
                f"https://127.0.0.1:{self.https}{path}", headers={"Host": host}, auth=login, verify=False, timeout=30
            ).status_code
        except requests.ConnectionError:
            return 0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The compose file, started as `docs/deployment.md` has it, on free ports of loopback."""
    top = tmp_path_factory.mktemp("compose")
    folder = Path(shutil.copytree(DEPLOY / "container", top / "deploy" / "container"))
    shutil.copytree(DEPLOY / "nginx", top / "deploy" / "nginx")
    (top / ".env").write_text("ZK_PIPELINE_UI_URL=https://dagster.example.com\n")
    proxy = folder / "proxy"
    proxy.mkdir()
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=dagster.example.com",
        "-keyout", str(proxy / "zk-pipeline.key"), "-out", str(proxy / "zk-pipeline.pem"))  # fmt: skip
    passwords = proxy / "htpasswd"
    passwords.write_text(f"{LOGIN[0]}:{run('openssl', 'passwd', '-apr1', LOGIN[1]).strip()}\n")
    passwords.chmod(0o644)  # nginx reads it as a user of its own
    file = folder / "compose.yaml"
    ports = adapt(file)
    project = f"zk-pipeline-test-{os.getpid()}"
    compose = [*COMPOSE, "--project-name", project, "--profile", "receiver", "--file", str(file)]
    with started(compose):
        yield Deployment(compose, project, ports[443], ports[8080])


def adapt(file: Path) -> dict[int, int]:
    """Publish the ports of a compose file on free ports of loopback, and return them; name the proxy's image."""
    composed = yaml.safe_load(file.read_text())
    ports = {int(published.partition(":")[2]): free_port() for published in composed["services"]["network"]["ports"]}
    composed["services"]["network"]["ports"] = [f"127.0.0.1:{here}:{there}" for there, here in ports.items()]
    if PROXY_IMAGE:
        composed["services"]["proxy"]["image"] = PROXY_IMAGE
    file.write_text(yaml.safe_dump(composed, sort_keys=False))
    return ports


@contextmanager
def started(compose: list[str]) -> Iterator[None]:
    try:
        run(*compose, "up", "--detach", "--no-build")
        yield
    finally:
        run(*compose, "down", "--volumes", "--timeout", "1")


def test_the_containers_become_healthy(deployment: Deployment) -> None:
    began = time.monotonic()
    deployment.wait_until_healthy()
    print(f"healthy after {time.monotonic() - began:.0f} s")  # noqa: T201


def test_the_proxy_passes_on_the_login_the_api_and_pushing_terminals(deployment: Deployment) -> None:
    until(lambda: deployment.get(UI, "/server_info", LOGIN) == 200, seconds=START_SECONDS, every=1)
    until(lambda: deployment.get(API, "/health/live") == 200, seconds=START_SECONDS, every=1)
    assert deployment.get(UI, "/server_info") == 401
    hello = requests.get(f"http://127.0.0.1:{deployment.push}/iclock/cdata?SN=CEXA1&options=all", timeout=30)
    assert hello.status_code == 503  # it waits to be adopted
    pending = ("exec", "pipeline", "zk-pipeline", "device", "pending")
    until(lambda: "CEXA1" in deployment.engine(*pending), seconds=60, every=1)


def test_a_backup_is_restored_while_the_pipeline_is_stopped_and_the_others_stay_reachable(
    deployment: Deployment,
) -> None:
    until(lambda: deployment.get(API, "/health/live") == 200, seconds=START_SECONDS, every=1)
    deployment.engine("exec", "pipeline", "zk-pipeline", "device", "add", "Gate", "192.0.2.1", "--timezone", "UTC")
    deployment.engine("exec", "pipeline", "zk-pipeline", "backup", "-o", "/var/lib/zk-pipeline/backup.duckdb")
    deployment.engine("stop --time 60", "pipeline")
    assert deployment.engine("inspect --format {{.State.ExitCode}}", "pipeline").strip() in {"0", "130", "143"}
    assert deployment.get(UI, "/server_info", LOGIN) == 502
    assert deployment.get(API, "/health/live") == 200
    restored = deployment.engine("exec", "api", "zk-pipeline", "restore", "/var/lib/zk-pipeline/backup.duckdb", "--yes")
    assert "Gate" in deployment.engine("exec", "api", "zk-pipeline", "device", "list"), restored
    deployment.engine("start", "pipeline")
    deployment.wait_until_healthy()
    assert deployment.get(API, "/health/live") == 200


def test_the_ports_of_the_ui_and_the_api_are_not_published(deployment: Deployment) -> None:
    published = deployment.engine("port", "network")
    assert sorted(re.findall(r"^(\d+)/tcp", published, re.MULTILINE), key=int) == ["80", "443", "8080", "8443"]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", deployment.https)) == 0
