"""Permissions of files and folders that commands create, under a umask that permits nearly everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = """
import os
os.umask(0o002)
from zk_pipeline.cli.main import run
for command in {commands}:
    code = run(command)
    assert code == 0, command
"""


def run_commands(home: Path, *commands: list[str]) -> None:
    script = COMMANDS.format(commands=repr(commands))
    environ = os.environ | {"ZK_PIPELINE_HOME": str(home), "DAGSTER_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_in_a_new_home_is_private_and_an_output_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    home, output = tmp_path / "home", tmp_path / "punches.csv"
    run_commands(
        home,
        ["api-token", "create", "reports"],
        ["cleanup"],  # a run, with Dagster's storage and logs
        ["backup", str(home / "backups")],
        ["export", "raw", "--start-date", "2026-03-02", "--end-date", "2026-03-02", "-o", str(output)],
    )
    modes = {str(one.relative_to(tmp_path)): one.stat().st_mode & 0o777 for one in [home, *home.rglob("*")]}
    assert {"home/data/attendance.duckdb", "home/history", "home/backups"} < set(modes)
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
    assert output.stat().st_mode & 0o777 == 0o664
