"""Commands in the documentation: each is run in a fresh home with terminals and a CRM, or listed here with a reason."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import click
import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from zk_pipeline.cli.main import COMMANDS, cli
from zk_pipeline.devices.models import Device
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.channel import listening
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.docs.pages import PAGES, code_in_text, files_of, lines_of
from zk_pipeline_tests.gates import MONDAY, gate, present
from zk_pipeline_tests.operations.bridge.bridge_fixtures import sqlite_bridge
from zk_pipeline_tests.store.push.push_fixtures import contact
from zk_pipeline_tests.store.store_fixtures import ingest, process

NOT_RUN = {
    "systemctl": "needs systemd as process 1; the units are tested in deploy/",
    "useradd": "changes the users of the machine",
    "install": "writes to /var/lib as another user",
    "cp": "writes to /etc",
    "mkdir": "creates a folder for secrets in the checkout",
    "git": "fetches from the remote of the checkout",
    "cd": "belongs to git",
    "nginx": "tested by deploy/test_deploy_proxy.py, with another prefix",
    "printf": "asks for a password",
    "kubectl": "needs a cluster; the names are compared with the manifests by deploy/test_deploy_kubernetes.py",
    "docker": "needs an engine; compose file and image are tested by deploy/test_deploy_container.py, run by .ci/image",
    "pip": "installs a wheel; run by .ci/package",
    "uv": "installs a wheel; run by .ci/package",
    "python3": "creates the environment of this test",
    ".uv/bin/pip": "belongs to python3",
    ".uv/bin/uv": "belongs to python3",
    "dg": "run by defs/test_component.py, in a project, and by docs/test_docs_embedding.py",
    "export": "names the folders of docs/test_docs_embedding.py",
    "dagster": "docs/test_docs_embedding.py loads the same code locations in its process",
    "dagster-webserver": "runs until interrupted",
    "dagster-daemon": "runs until interrupted",
    "dbt": "run by docs/test_docs_embedding.py, where dbt is installed",
    "python": "run by defs/test_snapshot.py, with a published copy",
    ".venv/bin/pytest": "runs this test",
    ".venv/bin/ruff": "changes the files of the checkout; run by .ci/run",
    ".venv/bin/mypy": "run by .ci/run",
}
ENDLESS = {"demo", "up", "worker", "simulate", "live", "api", "receive"}  # run until interrupted; tests elsewhere
TERMINALS = {"Main Office": "192.0.2.10", "Back Gate": "192.0.2.11"}


@pytest.fixture
def zk(home: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:  # noqa: ARG001 (clears the variables)
    return CommandLine(capsys)


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Loopback port of the emulated terminal for each documented address."""
    with Fleet() as fleet:
        yield {address: fleet.add(gate(name, *present(MONDAY))) for name, address in TERMINALS.items()}


@pytest.fixture(scope="module")
def monday_home(empty_home: Path, ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with both terminals, a pending one, processed punches of a Monday and a daemon heartbeat, to be copied."""
    home = tmp_path_factory.mktemp("monday") / "home"
    shutil.copytree(empty_home, home)
    store = Store.at(home / "data" / "attendance.duckdb")
    for name, address in TERMINALS.items():
        store.devices.add(Device(name=name, ip_address="127.0.0.1", port=ports[address], site="headquarters"))
    ingest(store, "Main Office", *present(MONDAY))
    process(store, MONDAY)
    contact(store, "CJ0V212560123")  # pushes, and waits for adoption
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), kind, "id", []))
    return home


@pytest.fixture
def documented_home(home: Path, tmp_path: Path, monday_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`home` as a copy of `monday_home`, with an alert channel."""
    shutil.rmtree(home)
    shutil.copytree(monday_home, home)
    monkeypatch.chdir(tmp_path)
    sqlite_bridge(tmp_path).device(1, "Old gate", "192.0.2.12", enabled=False)
    (tmp_path / "deploy").symlink_to(Path(__file__).parents[2] / "deploy")
    with listening() as channel:
        monkeypatch.setenv("ALERT_URLS", channel.url)
        yield home


def commands_of(line: str) -> list[list[str]]:
    """The commands of a line, in order."""
    return [shlex.split(part) for part in re.split(r"&&|\|(?=\s)", line)]


def programs() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for line in lines_of(page):
            for program, *_ in commands_of(line):
                found.setdefault(program, set()).add(page)
    return found


def test_exactly_the_commands_that_are_not_run_are_listed_with_a_reason() -> None:
    assert set(programs()) - {"zk-pipeline"} == set(NOT_RUN)


def own_commands(page: str) -> list[list[str]]:
    return [
        command_line[1:]
        for line in lines_of(page)
        for command_line in commands_of(line)
        if command_line[0] == "zk-pipeline"
    ]


@pytest.mark.usefixtures("crm", "documented_home")
@pytest.mark.parametrize("page", [page for page in PAGES if own_commands(page)])
def test_the_commands_of_a_page_work_in_their_order(
    page: str, zk: CommandLine, ports: dict[str, int], home: Path, empty_home: Path
) -> None:
    for name, content in files_of(page).items():
        for address, port in ports.items():
            content = content.replace(f"ip: {address}", f"ip: 127.0.0.1, port: {port}")  # noqa: PLW2901
        Path(name).write_text(content, encoding="utf-8")
    commands = own_commands(page)
    if ["device", "add"] in [command_line[:2] for command_line in commands]:
        shutil.copy(empty_home / "data" / "attendance.duckdb", home / "data")
    for command_line in commands:
        if command_line[0] in ENDLESS:
            assert is_accepted(command_line)
            continue
        arguments = [one for word in command_line for one in _loopback(word, ports)]
        result = zk(*arguments)
        assert result.code == 0, f"{page}: zk-pipeline {shlex.join(command_line)}\n{result.out}\n{result.err}"


def _loopback(word: str, ports: dict[str, int]) -> list[str]:
    return ["127.0.0.1", "--port", str(ports[word])] if word in ports else [word]


def is_accepted(command_line: list[str]) -> bool:
    command = cli.get_command(click.Context(cli), command_line[0])
    assert command is not None
    return bool(command.make_context(command_line[0], command_line[1:]))


def mentions() -> Iterator[tuple[str, str]]:
    """Page and command line of each command in running text, with or without `zk-pipeline`."""
    for page in PAGES:
        for code in code_in_text(page):
            command_line = code.split()
            if command_line[0] == "zk-pipeline" and len(command_line) > 1:
                yield page, " ".join(command_line[1:])
            elif command_line[0] in COMMANDS and len(command_line) > 1 and not code.endswith((".py", "()")):
                yield page, code


@pytest.mark.parametrize(("page", "command_line"), sorted(set(mentions())))
def test_a_command_in_the_text_exists_with_its_options(page: str, command_line: str) -> None:
    name, *rest = command_line.split()
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, page
    if isinstance(command, click.Group):
        named = [sub for sub in rest[0].split("|") if sub != "…"] if rest else []
        subs = [command.get_command(click.Context(command), sub) for sub in named]
        assert None not in subs, f"{page}: {command_line}"
        command = subs[0] if subs else command
    options = {word for word in rest if word.startswith("-")}
    assert command is not None
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    assert options <= known | {"--help"}, f"{page}: {command_line}"
