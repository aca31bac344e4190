"""Exit codes of every command: 2 for wrong usage and unknown objects, 1 for a failure, 130 for an interrupt."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NoReturn

import click
import pytest

from zk_pipeline.cli import context, main
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.cli.test_cli_help import LEAVES, command_of

WITHOUT_CONTEXT = {("demo",), ("doctor",), ("simulate",)}  # open no context before their work
FILES = {
    "devices.yaml": "devices: []\n",
    "shifts.yaml": 'shifts:\n  - {name: night, start: "22:00", end: "06:00"}\n',
    **dict.fromkeys(("punches.csv", "assignments.csv", "holidays.ics", "leave.csv", "1_attlog.dat", "db.sqlite3"), ""),
}


def example(path: tuple[str, ...]) -> list[str]:
    """The arguments of the example in the command's help."""
    text = " ".join((command_of(path).help or "").partition("Example:")[2].split())
    return shlex.split(text)[1:]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_wrong_usage_is_2(zk: CommandLine, path: tuple[str, ...]) -> None:
    result = zk(*path, "--frobnicate")
    assert result.is_refusal()
    assert f"(see zk-pipeline {' '.join(path)} --help)" in result.err


INTERRUPTED = KeyboardInterrupt(), 130, "zk-pipeline: interrupted\n"
BROKEN = ZkPipelineError("it broke"), 1, "zk-pipeline: it broke\n"


@pytest.mark.parametrize("case", [BROKEN, INTERRUPTED], ids=["failure", "interrupt"])
def test_a_failure_is_1_and_an_interrupt_130_in_every_command(
    zk: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    case: tuple[BaseException, int, str],
) -> None:
    raised, *expected = case

    def fail() -> NoReturn:
        raise raised

    monkeypatch.setattr(context, "load_settings", fail)
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    codes = {path: zk(*example(path)) for path in LEAVES if path not in WITHOUT_CONTEXT}
    assert {path: one for path, one in codes.items() if [one.code, one.err.lstrip()] != expected} == {}


UNKNOWN = {
    "device": [
        ["device", "show", "Nowhere"],
        ["device", "commands", "Nowhere"],
        ["device", "events", "Nowhere"],
        ["device", "adopt", "NOWHERE", "--name", "Gate"],
        ["device", "command", "Nowhere", "info"],
        ["device", "clear-log", "Nowhere", "--yes"],
        ["live", "Nowhere"],
        ["quarantine", "release", "Nowhere"],
        ["shift", "assign", "night", "--device", "Nowhere"],
    ],
    "file": [
        ["restore", "nowhere.duckdb", "--yes"],
        ["migrate-store", "nowhere.duckdb", "moved.duckdb"],
        ["shift", "apply", "nowhere.yaml"],
        ["leave", "import", "nowhere.csv"],
        ["import", "punches", "nowhere.dat", "--device", "Gate"],
        ["import", "django-bridge", "nowhere.sqlite3"],
    ],
    "another object": [
        ["explain", "--user-id", "9999", "--date", "2026-11-02"],
        ["who", "--site", "Nowhere"],
        ["month", "--user-id", "9999", "--month", "2026-11"],
        ["shift", "update", "nowhere", "--start", "09:00"],
        ["shift", "remove", "nowhere"],
        ["shift", "unassign", "99"],
        ["shift", "season", "remove", "99"],
        ["holiday", "remove", "2026-05-01"],
        ["leave", "remove", "99"],
        ["punch", "approve", "99"],
        ["punch", "reject", "99", "--reason", "none"],
        ["punch", "withdraw", "99", "--reason", "none"],
        ["period", "close", "2026-10"],
        ["period", "reopen", "2026-10"],
        ["period", "diff", "2026-10"],
        ["payroll", "export", "--period", "2026-10", "--profile", "csv", "-o", "-"],
        ["api-token", "revoke", "nowhere"],
        ["device", "correct-clock", "--revoke", "99"],
    ],
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_an_unknown_object_is_2(
    zk: CommandLine, home_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    home_store.devices.all()
    monkeypatch.chdir(tmp_path)
    results = {tuple(arguments): zk(*arguments) for arguments in UNKNOWN[kind]}
    assert {arguments: one for arguments, one in results.items() if one.code != 2 or one.err.count("\n") != 1} == {}


def test_the_documented_codes_are_those_of_the_command_line() -> None:
    documented = (Path(main.__file__).parents[2] / "docs" / "commands.md").read_text()
    assert re.findall(r"^\| `(\d+)` \|", documented, re.MULTILINE) == ["0", "1", "2", "130", "143"]
    assert isinstance(main.cli, click.Group)
