"""Image and compose file of `deploy/container`, run by a container engine.

`.ci/image` builds the image and sets ZK_PIPELINE_ENGINE and ZK_PIPELINE_COMPOSE, the commands of the engine. The files
alone are checked in `test_deploy_commands.py`.
"""

from __future__ import annotations

import os
import re
import shlex
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

from zk_pipeline.store.schema.migrations_runner import copies_before_migration
from zk_pipeline_tests.deploy.deploy_files import DEPLOY
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.store.schema.test_store_migrations import EARLIER_PUNCHES, VERSIONS, earlier_stores  # noqa: F401
from zk_pipeline_tests.waiting import until

ENGINE = shlex.split(os.environ.get("ZK_PIPELINE_ENGINE", ""))
COMPOSE = shlex.split(os.environ.get("ZK_PIPELINE_COMPOSE", ""))
IMAGE, PROXY_IMAGE = "zk-pipeline", os.environ.get("ZK_PIPELINE_PROXY_IMAGE")
USER = 10001
LOGIN = ("operator", "a long pass phrase")
START_SECONDS = 240

pytestmark = [
    pytest.mark.stress,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not ENGINE or not COMPOSE, reason="ZK_PIPELINE_ENGINE is not set: run .ci/image"),
]

PROGRAM = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())["x-program"]
RESTRICTIONS = [
    *("--read-only" for _ in [0] if PROGRAM["read_only"]),
    *(f"--tmpfs={path}" for path in PROGRAM["tmpfs"]),
    *(f"--cap-drop={name}" for name in PROGRAM["cap_drop"]),
    *(f"--security-opt={option.removesuffix(':true')}" for option in PROGRAM["security_opt"]),
    *("--init" for _ in [0] if PROGRAM["init"]),
]


def run(*command: str) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def in_image(*arguments: str, home: Path, entrypoint: str | None = None) -> str:
    """Output of a command in a new container with the restrictions of the compose file and `home` as its volume."""
    options = [f"--entrypoint={entrypoint}"] if entrypoint else []
    mount = f"--volume={home}:/var/lib/zk-pipeline"
    return run(*ENGINE, "run", "--rm", "--network=none", *RESTRICTIONS, *options, mount, IMAGE, *arguments)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Empty folder that belongs to the user of the image."""
    folder = tmp_path / "home"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


def test_the_program_runs_without_root_and_writes_only_to_its_home(home: Path) -> None:
    written = "/opt/x /usr/x /etc/x /tmp/x /var/lib/zk-pipeline/x"
    script = f"id -u; touch {written} 2>&1; grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status"
    out = in_image("-c", script, home=home, entrypoint="sh")
    assert out.splitlines()[0] == str(USER)
    assert out.count("Read-only file system") == 3
    assert re.findall(r"(?:CapBnd|NoNewPrivs):\s+(\w+)", out) == ["0" * 16, "1"]
    assert [path.name for path in home.iterdir()] == ["x"]


def test_the_demo_recounts_everything(home: Path) -> None:
    out = in_image("demo", "--employees", "20", "--days", "7", "--no-ui", home=home)
    print(out)  # noqa: T201
    assert len(re.findall(r"^ok  ", out, re.MULTILINE)) == 3


def test_an_earlier_home_is_upgraded_and_its_backup_restored(home: Path, earlier_stores: dict[int, Path]) -> None:  # noqa: F811
    data = home / "data"
    data.mkdir()
    shutil.copyfile(earlier_stores[VERSIONS[0]], data / "attendance.duckdb")
    for path in (data, data / "attendance.duckdb"):
        os.chown(path, USER, USER)
    status = in_image("status", "--json", home=home)
    assert yaml.safe_load(status)["punches"] == EARLIER_PUNCHES
    (backup,) = copies_before_migration(data / "attendance.duckdb")
    in_image("restore", f"/var/lib/zk-pipeline/{backup.relative_to(home)}", "--yes", home=home)
    assert yaml.safe_load(in_image("status", "--json", home=home))["punches"] == EARLIER_PUNCHES


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

    def is_healthy(self) -> bool:
        """Result of `zk-pipeline watchdog`, the health check of the image, within `pipeline`."""
        command = [*ENGINE, "exec", self.container("pipeline"), "zk-pipeline", "watchdog"]
        return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0

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
        run(*compose, "down", "--volumes")


def test_the_containers_become_healthy(deployment: Deployment) -> None:
    began = time.monotonic()
    until(deployment.is_healthy, seconds=START_SECONDS, every=1)
    print(f"healthy after {time.monotonic() - began:.0f} s")  # noqa: T201


def test_the_proxy_passes_on_the_login_the_api_and_pushing_terminals(deployment: Deployment) -> None:
    until(lambda: deployment.get("dagster.example.com", "/server_info", LOGIN) == 200, seconds=START_SECONDS, every=1)
    until(lambda: deployment.get("attendance.example.com", "/health/live") == 200, seconds=START_SECONDS, every=1)
    assert deployment.get("dagster.example.com", "/server_info") == 401
    hello = requests.get(f"http://127.0.0.1:{deployment.push}/iclock/cdata?SN=CEXA1&options=all", timeout=30)
    assert hello.status_code == 503  # it waits to be adopted
    pending = ("exec", "pipeline", "zk-pipeline", "device", "pending")
    until(lambda: "CEXA1" in deployment.engine(*pending), seconds=60, every=1)


def test_a_restart_of_one_container_leaves_the_others_reachable(deployment: Deployment) -> None:
    deployment.engine("restart --time 60", "pipeline")
    until(lambda: deployment.get("dagster.example.com", "/server_info", LOGIN) == 200, seconds=START_SECONDS, every=1)
    assert deployment.get("attendance.example.com", "/health/live") == 200


def test_a_backup_is_restored_while_the_pipeline_is_stopped(deployment: Deployment) -> None:
    deployment.engine("exec", "pipeline", "zk-pipeline", "device", "add", "Gate", "192.0.2.1", "--timezone", "UTC")
    deployment.engine("exec", "pipeline", "zk-pipeline", "backup", "-o", "/var/lib/zk-pipeline/backup.duckdb")
    deployment.engine("stop --time 60", "pipeline")
    assert deployment.engine("inspect --format {{.State.ExitCode}}", "pipeline").strip() in {"0", "130", "143"}
    restored = deployment.engine("exec", "api", "zk-pipeline", "restore", "/var/lib/zk-pipeline/backup.duckdb", "--yes")
    assert "Gate" in deployment.engine("exec", "api", "zk-pipeline", "device", "list"), restored
    deployment.engine("start", "pipeline")
    until(deployment.is_healthy, seconds=START_SECONDS, every=1)


def test_the_ports_of_the_ui_and_the_api_are_not_published(deployment: Deployment) -> None:
    published = deployment.engine("port", "network")
    assert sorted(re.findall(r"^(\d+)/tcp", published, re.MULTILINE), key=int) == ["80", "443", "8080", "8443"]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", deployment.https)) == 0
