"""Imports of commands: those that only read, help and completion do without the libraries that are slow to import."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.test_cli_help import LEAVES
from zk_pipeline_tests.defs.instigators import add_sensor
from zk_pipeline_tests.host_zone import work_in_nairobi
from zk_pipeline_tests.store.store_fixtures import MONDAY

READING = [
    ["device", "list"],
    ["device", "show", "Gate"],
    ["device", "pending"],
    ["device", "commands", "Gate"],
    ["device", "events", "Gate"],
    ["device", "correct-clock"],
    ["explain", "--user-id", "1001", "--date", str(MONDAY)],
    ["quarantine", "list", "--all"],
    ["period", "list"],
    ["shift", "list"],
    ["shift", "season", "list"],
    ["holiday", "list"],
    ["leave", "list"],
    ["punch", "list"],
    ["api-token", "list"],
    ["status"],
    ["who"],
]
GROUPS = [list(path) for path in dict.fromkeys(leaf[:end] for leaf in LEAVES for end in range(len(leaf)))]
HELP = [[*path, "--help"] for path in (*GROUPS, *LEAVES)]
SLOW = (
    "apprise", "dagster", "fastapi", "icalendar", "numpy", "openpyxl", "pandas", "pandera", "pyarrow", "requests",
    "sqlalchemy",
)  # fmt: skip

# Runs in a separate process: prints each command that fails or imports, and completions of a device name.
SCRIPT = """
import json, sys
from click.shell_completion import BashComplete
from zk_pipeline.cli.main import cli, run
commands, slow = json.loads(sys.argv[1])
found, known = {}, set()
for arguments in commands:
    code = run(arguments)
    loaded = {name for name in slow if name in sys.modules} - known
    known |= loaded
    if code or loaded:
        found[" ".join(arguments)] = [code, sorted(loaded)]
completions = BashComplete(cli, {}, "zk-pipeline", "_ZK_PIPELINE_COMPLETE").get_completions
found["completed"] = [
    one.value for given in (["device", "show"], ["who", "--site"]) for one in completions(given, "")
]
found["completion"] = [name for name in slow if name in sys.modules and name not in known]
print()
print(json.dumps(found))
"""


def run_all(commands: Sequence[Sequence[str]], slow: Sequence[str]) -> dict[str, object]:
    arguments = json.dumps([commands, slow])
    done = subprocess.run([sys.executable, "-c", SCRIPT, arguments], capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.usefixtures("bare_home")
def test_reading_help_and_completion_import_no_slow_library(home_store: Store) -> None:
    work_in_nairobi(home_store)
    found = run_all([*READING, *HELP], SLOW)
    assert found == {"completed": ["Gate", "Plant"], "completion": []}


def test_status_with_the_files_of_an_instance_imports_no_slow_library(home: Path, home_store: Store) -> None:
    work_in_nairobi(home_store)
    with dg.DagsterInstance.get() as instance:
        add_sensor(instance, "zk_pipeline", "alert_sensor")
    assert (home / "history" / "runs.db").exists()
    assert run_all([["status"]], SLOW) == {"completed": ["Gate", "Plant"], "completion": []}
