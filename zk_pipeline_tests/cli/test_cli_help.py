"""Help of every command, and its example."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import time
from pathlib import Path

import click
import pytest

from zk_pipeline.attendance.shifts import Shift
from zk_pipeline.cli.main import ALIASES, COMMANDS, cli
from zk_pipeline.devices.models import Device
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.gates import MONDAY, gate, present
from zk_pipeline_tests.kept_open import stores_kept_open
from zk_pipeline_tests.operations.bridge.bridge_fixtures import sqlite_bridge
from zk_pipeline_tests.store.push.push_fixtures import contact
from zk_pipeline_tests.store.store_fixtures import copied, ingest

APART = {"watchdog", "test-alerts"}  # need a daemon or a channel: tested in test_cli_alerting
# Run until interrupted: tested in the folder of the demo.
ENDLESS = {"demo", "up", "simulate", "live", "api", "receive", "worker"}


def leaves(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        elif path or name in COMMANDS:
            yield (*path, name)


LEAVES = list(leaves(cli))


def example_of(zk: CommandLine, *path: str) -> list[str]:
    """The arguments of the example that `--help` gives, its dates replaced by one that has punches."""
    result = zk(*path, "--help")
    assert (result.code, result.err) == (0, "")
    examples = re.findall(r"^ *Example: +zk-pipeline (.+?)\n\n", result.out, re.MULTILINE | re.DOTALL)
    assert len(examples) == 1, result.out
    return shlex.split(re.sub(r"\d{4}-\d\d-\d\d", str(MONDAY), " ".join(examples[0].split())))


GATES = ("Main Office", "Back Gate")
SHIFTS = ("early", "late", "night", "off", "office", "ramadan")


@pytest.fixture(scope="module")
def office_stores(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two stores with terminals of the examples' names and one that waits for adoption, to be copied; the second has
    shifts, too.
    """
    store = copied(empty_store_file, tmp_path_factory.mktemp("office"))
    with stores_kept_open():
        contact(store, "CJ0V212560123")
        for name in GATES:
            store.devices.add(Device(name=name, ip_address="127.0.0.1", site="Head office", protocol="tcp"))
    with_shifts = copied(store.database.path, tmp_path_factory.mktemp("shifts"))
    with stores_kept_open():
        for name in SHIFTS:
            with_shifts.shifts.add(Shift(name=name, start=time(22), end=time(6)))
    return store.database.path, with_shifts.database.path


@pytest.fixture
def office(home_store: Store, office_stores: tuple[Path, Path], path: tuple[str, ...]) -> Store:
    """The store of `home` as a copy of the one for the example of `path`."""
    shutil.copyfile(office_stores[path[0] == "shift" and path[1] != "add"], home_store.database.path)
    return home_store


@pytest.fixture
def main_office(fleet: Fleet, office: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Terminals of the examples' names, a CRM, and files of devices, shifts and holidays."""
    ports = [[fleet.add(gate(name, *(present(MONDAY) if name == "Main Office" else ()))), name] for name in GATES]
    with office.database.write("test") as connection:
        connection.executemany("UPDATE devices SET port = ? WHERE name = ?", ports)
    (tmp_path / "shifts.yaml").write_text('shifts:\n  - {name: night, start: "22:00", end: "06:00"}\n')
    (tmp_path / "punches.csv").write_text(f"user_id,site,at,state,reason\n1001,Head office,{MONDAY} 08:30,in,power\n")
    (tmp_path / "assignments.csv").write_text("user_id,shift,from\n1001,night,2026-01-01\n")
    event = f"BEGIN:VEVENT\nDTSTART;VALUE=DATE:{MONDAY:%Y%m%d}\nSUMMARY:Feast\nEND:VEVENT\n"
    (tmp_path / "holidays.ics").write_text(event)
    (tmp_path / "leave.csv").write_text(f"user_id,first_date,kind\n1001,{MONDAY},sick leave\n")
    (tmp_path / "1_attlog.dat").write_text(f"        7\t{MONDAY} 08:30:00\t1\t0\t1\t0\n")
    sqlite_bridge(tmp_path).device(1, "Old gate", "192.0.2.11")
    (tmp_path / "devices.yaml").write_text("devices:\n  - {name: Main Office, ip: 192.0.2.10}\n")
    monkeypatch.chdir(tmp_path)


EXAMPLES = [
    pytest.param(path, marks=[pytest.mark.closed_stores] if path in {("backup",), ("restore",)} else [])
    for path in LEAVES
    if path[0] not in ENDLESS | APART
]
# Commands whose example needs that of another one before.
BEFORE = {
    ("device", "command"): ("device", "adopt"),
    ("punch", "approve"): ("punch", "request"),
    ("punch", "reject"): ("punch", "request"),
    ("punch", "withdraw"): ("punch", "apply"),
    ("leave", "remove"): ("leave", "add"),
    ("shift", "season", "remove"): ("shift", "season", "add"),
}
ASSIGNING = {("shift", name) for name in ("assign", "assign-file", "rotate", "apply")}


@pytest.mark.usefixtures("crm", "main_office")
@pytest.mark.parametrize("path", EXAMPLES, ids=" ".join)
def test_the_example_of_a_command_works(zk: CommandLine, home_store: Store, path: tuple[str, ...]) -> None:
    arguments = example_of(zk, *path)
    assert tuple(arguments[: len(path)]) == path
    if path == ("device", "add"):
        home_store.devices.remove("Main Office")
    if path[0] in {"month", "explain", "punch", "leave"} or path[:2] in ASSIGNING:
        users = [("1001", 1, "Ada", 0, 0), ("EMP001", 2, "Bo", 0, 0)]
        ingest(home_store, "Main Office", *present(MONDAY), users=users)
    if path == ("period", "close"):
        for name in GATES:
            ingest(home_store, name)
    if path == ("shift", "unassign"):
        for site in ("Head office", "Main Office"):
            home_store.devices.update("Main Office", site=site)
            assert zk("shift", "assign", "night", "--site", site).code == 0
        assert zk("shift", "assign", "night", "--user", "1001").code == 0
    if path in BEFORE:
        assert zk(*example_of(zk, *BEFORE[path])).code == 0
    if path == ("holiday", "remove"):
        assert zk("holiday", "add", str(MONDAY), "Labour Day").code == 0
    if path[0] in {"period", "payroll"}:
        prepare_period(zk, path[1], next((one for one in arguments if one.startswith("2026-")), ""))
    if path == ("api-token", "revoke"):
        assert zk("api-token", "create", arguments[2]).code == 0
    if path == ("restore",):
        zk("backup", "backup.duckdb")
    result = zk(*arguments)
    assert (result.code, result.err) == (0, "")


def prepare_period(zk: CommandLine, command: str, period: str) -> None:
    if command in {"close", "reopen", "diff", "export"}:
        assert zk("period", "open", period).code == 0
    if command in {"reopen", "export"}:
        assert zk("period", "close", period, "--force").code == 0


@pytest.mark.parametrize("name", sorted(ENDLESS))
def test_the_example_of_an_endless_command_is_accepted(zk: CommandLine, name: str) -> None:
    _, *arguments = example_of(zk, name)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.make_context(name, arguments).params


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_the_first_sentence_of_each_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.get_short_help_str(limit=200).rstrip(".") == COMMANDS[name][1].rstrip(".")


def test_the_list_names_every_command(zk: CommandLine) -> None:
    result = zk("--help")
    assert result.code == 0
    listed = [line.split()[0] for line in result.out.partition("Commands:\n")[2].splitlines() if line.startswith("  ")]
    assert [name for name in listed if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("alias", ALIASES)
def test_a_former_name_is_accepted_and_not_listed(zk: CommandLine, alias: str) -> None:
    assert zk(alias, "--help").out == zk(ALIASES[alias], "--help").out.replace(f" {ALIASES[alias]} [", f" {alias} [")
    assert alias not in zk("--help").out


def test_a_module_is_named_after_its_command_or_listed_here() -> None:
    others = {name: module for name, (module, _) in COMMANDS.items() if module.split(".")[1] != name.replace("-", "_")}
    assert others == {
        "test-device": "terminals.connectivity",
        "test-crm": "crm.connectivity",
        "restore": "store.backup",
        "test-alerts": "instance.alerts",
        "watchdog": "instance.alerts",
        "import": "terminals.imports",  # a keyword of Python
    }


def test_every_option_is_explained() -> None:
    silent = [
        (*path, option.name)
        for path in LEAVES
        for option in command_of(path).params
        if isinstance(option, click.Option) and not option.help and option.name not in PLAIN
    ]
    assert silent == []


PLAIN = {"employees", "devices", "days"}  # counts of what the option is called


def command_of(path: tuple[str, ...]) -> click.Command:
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


def test_help_waits_for_neither_dagster_nor_pandas_nor_duckdb() -> None:
    script = "import sys; from zk_pipeline.cli.main import run; run(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    assert "zk_pipeline.cli.main" in loaded
    assert not [name for name in ("dagster", "pandas", "duckdb", "pydantic") if f"'{name}'" in loaded]


def test_the_module_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zk_pipeline", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("zk-pipeline, version ")


def test_without_arguments_the_help_is_shown_as_a_diagnostic(zk: CommandLine) -> None:
    result = zk()
    assert (result.code, result.out) == (2, "")
    assert "Commands:" in result.err
