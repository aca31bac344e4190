"""Permissions of files and folders that commands create, under a umask that permits nearly everything."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from zk_pipeline.cli.main import run
from zk_pipeline_tests.forkserver import processes


def run_commands(home: Path, *commands: list[str]) -> None:
    """In a process of its own, which begins with the umask of a user."""
    os.umask(0o002)
    os.environ |= {"ZK_PIPELINE_HOME": str(home), "DAGSTER_HOME": str(home)}
    sys.exit(max(map(run, commands)))


def test_everything_in_a_new_home_is_private_and_an_output_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    home, output = tmp_path / "home", tmp_path / "punches.csv"
    commands = (
        ["api-token", "create", "reports"],
        ["cleanup"],  # a run, with Dagster's storage and logs
        ["backup", str(home / "backups")],
        ["export", "raw", "--start-date", "2026-03-02", "--end-date", "2026-03-02", "-o", str(output)],
    )
    process = processes.Process(target=run_commands, args=(home, *commands))
    process.start()
    process.join(90)
    assert process.exitcode == 0
    modes = {str(one.relative_to(tmp_path)): one.stat().st_mode & 0o777 for one in [home, *home.rglob("*")]}
    assert {"home/data/attendance.duckdb", "home/history", "home/backups"} < set(modes)
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
    assert output.stat().st_mode & 0o777 == 0o664
