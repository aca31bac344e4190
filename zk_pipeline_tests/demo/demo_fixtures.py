"""Running the demo as a process of its own, and finding every process that belongs to a home."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from zk_pipeline.config.settings import VARIABLES
from zk_pipeline_tests.cli.command_fixtures import CommandLine, CommandResult

SMALL = ("--employees", "12", "--days", "4")
DEMO = (sys.executable, "-m", "zk_pipeline", "demo")


def environ(home: Path, **more: str) -> dict[str, str]:
    """This process's environment with `home` as home and no other variable of the pipeline set."""
    ours = {*VARIABLES, "DAGSTER_HOME"}
    return {name: value for name, value in os.environ.items() if name not in ours} | {
        "ZK_PIPELINE_HOME": str(home),
        **more,
    }


def demo(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, "--no-ui", *arguments], env=environ(home, **more), capture_output=True, text=True, check=False
    )


def demo_in_process(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> CommandResult:
    """As `demo`, without the start of a process; what it exports is taken back."""
    with patch.dict(os.environ, environ(home), clear=True):
        return CommandLine(capsys)("demo", "--no-ui", *arguments)


def summary(done: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    """What a demo with `--json` said, which must have succeeded."""
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert isinstance(said, dict)
    return said


def ledger_days(place: Path) -> list[tuple[str, str, int]]:
    """Person, date and revision of each record that the demo's CRM has applied, in order."""
    lines = (place / "crm-ledger.jsonl").read_text().splitlines()
    records = [json.loads(line)["record"] for line in lines]
    return [(record["user_id"], record["date"], record["revision"]) for record in records]


def copy_of(home: Path, tmp_path: Path) -> Path:
    """A home with the demo as `home` has it."""
    shutil.copytree(home / ".demo", tmp_path / "home" / ".demo")
    return tmp_path / "home"


def processes_of(home: Path) -> dict[int, str]:
    """Processes, other than this one, that were started with something below `home` in their environment."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if f"{home}".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # it ended, or belongs to another user
            continue
    return found
