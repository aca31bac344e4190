"""Every command of every page is run as it stands, in a fresh home with terminals and a CRM, or is listed here with a
reason.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import click
import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from zk_pipeline.cli.main import COMMANDS, cli
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.channel import listening
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.docs.pages import PAGES, code_in_text, files_of, lines_of
from zk_pipeline_tests.gates import MONDAY, gate, present
from zk_pipeline_tests.store.store_fixtures import ingest, process

NOT_RUN = {
    "systemctl": "asks systemd, which is process 1 where there is one; the units are held by deploy/",
    "useradd": "changes the machine's users",
    "install": "writes to /var/lib as another user",
    "cp": "writes to /etc",
    "mkdir": "makes a folder of the checkout for secrets",
    "git": "fetches from wherever the checkout came from",
    "cd": "goes with git",
    "nginx": "held by deploy/test_deploy_proxy.py, with another prefix",
    "printf": "asks for a password",
    "docker": "needs an engine; compose file and image are held by deploy/test_deploy_commands.py",
    "python3": "makes the environment that this test runs in",
    ".uv/bin/pip": "goes with python3",
    ".uv/bin/uv": "goes with python3",
    "python": "run by defs/test_snapshot.py, beside a published copy",
    ".venv/bin/pytest": "this is one of its tests",
    ".venv/bin/ruff": "changes the files of the checkout; run by .ci/run",
    ".venv/bin/mypy": "run by .ci/run",
}
GO_ON = {"demo", "up", "worker", "simulate", "live", "api"}  # until they are interrupted: run by demo/, cli/ and api/
TERMINALS = {"Main Office": "192.0.2.10", "Back Gate": "192.0.2.11"}


@pytest.fixture
def zk(home: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:  # noqa: ARG001 (clears the variables)
    return CommandLine(capsys)


@pytest.fixture
def ports(fleet: Fleet) -> dict[str, int]:
    """Documented address → loopback port of an emulated terminal that stands for it."""
    return {address: fleet.add(gate(name, *present(MONDAY))) for name, address in TERMINALS.items()}


@pytest.fixture
def place(
    home: Path, tmp_path: Path, ports: dict[str, int], zk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A home with both terminals, punches of a Monday and a CRM; a channel hears alerts and a daemon beats."""
    for name, address in TERMINALS.items():
        where = ["127.0.0.1", "--port", str(ports[address]), "--site", "headquarters"]
        assert zk("device", "add", name, *where).code == 0
    with dg.DagsterInstance.get() as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), kind, "id", []))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy").symlink_to(Path(__file__).parents[2] / "deploy")
    with listening() as channel:
        monkeypatch.setenv("ALERT_URLS", channel.url)
        yield home


def commands_of(line: str) -> list[list[str]]:
    """The commands of a line, one after the other."""
    return [shlex.split(part) for part in re.split(r"&&|\|(?=\s)", line)]


def programs() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for page in PAGES:
        for line in lines_of(page):
            for program, *_ in commands_of(line):
                found.setdefault(program, set()).add(page)
    return found


def test_what_is_not_run_is_listed_with_a_reason_and_nothing_else_is() -> None:
    assert set(programs()) - {"zk-pipeline"} == set(NOT_RUN)


def ours(page: str) -> list[list[str]]:
    return [words[1:] for line in lines_of(page) for words in commands_of(line) if words[0] == "zk-pipeline"]


@pytest.mark.usefixtures("crm", "place")
@pytest.mark.parametrize("page", [page for page in PAGES if ours(page)])
def test_the_commands_of_a_page_work_in_their_order(
    page: str, zk: CommandLine, ports: dict[str, int], home_store: Store, tmp_path: Path
) -> None:
    for name, content in files_of(page).items():
        for address, port in ports.items():
            content = content.replace(f"ip: {address}", f"ip: 127.0.0.1, port: {port}")  # noqa: PLW2901
        (tmp_path / name).write_text(content, encoding="utf-8")
    commands = ours(page)
    if ["device", "add"] in [words[:2] for words in commands]:
        for name in TERMINALS:
            home_store.devices.remove(name)
    else:
        ingest(home_store, "Main Office", *present(MONDAY))
        process(home_store, MONDAY)
    for words in commands:
        if words[0] in GO_ON:
            assert understood(words)
            continue
        arguments = [one for word in words for one in _loopback(word, ports)]
        said = zk(*arguments)
        assert said.code == 0, f"{page}: zk-pipeline {shlex.join(words)}\n{said.out}\n{said.err}"


def _loopback(word: str, ports: dict[str, int]) -> list[str]:
    return ["127.0.0.1", "--port", str(ports[word])] if word in ports else [word]


def understood(words: list[str]) -> bool:
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None
    return bool(command.make_context(words[0], words[1:]))


def mentions() -> Iterator[tuple[str, str]]:
    """Page and words of each command that the text speaks of, with or without its `zk-pipeline`."""
    for page in PAGES:
        for code in code_in_text(page):
            words = code.split()
            if words[0] == "zk-pipeline" and len(words) > 1:
                yield page, " ".join(words[1:])
            elif words[0] in COMMANDS and len(words) > 1 and not code.endswith((".py", "()")):
                yield page, code


@pytest.mark.parametrize(("page", "words"), sorted(set(mentions())))
def test_a_command_that_the_text_speaks_of_exists_with_its_options(page: str, words: str) -> None:
    name, *rest = words.split()
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, page
    if isinstance(command, click.Group):
        named = [sub for sub in rest[0].split("|") if sub != "…"] if rest else []
        subs = [command.get_command(click.Context(command), sub) for sub in named]
        assert None not in subs, f"{page}: {words}"
        command = subs[0] if subs else command
    options = {word for word in rest if word.startswith("-")}
    assert command is not None
    known = {option for param in command.params for option in param.opts}
    assert options <= known | {"--help"}, f"{page}: {words}"
