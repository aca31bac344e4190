"""Repeated measurements of memory and disk usage of a running `up`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from zk_pipeline_tests.demo.demo_fixtures import processes_of

_CODE_SERVER = "zk_pipeline.runs.code_server"  # with the fork server and the runs, which are smaller
_PROCESSES = {"daemon": "zk_pipeline.runs.daemon run", "code server": _CODE_SERVER, "web server": "dagster_webserver"}


@dataclass(frozen=True)
class Sizes:
    """At one moment: megabytes of memory by process, of Dagster's files and of the store; runs on record."""

    hours: float
    memory: dict[str, float]
    dagster_mb: float
    store_mb: float
    runs: int

    @property
    def words(self) -> str:
        memory = ", ".join(f"{name} {size:.0f}" for name, size in self.memory.items())
        return (
            f"{self.hours:5.1f} h: {memory}; dagster {self.dagster_mb:.1f}, store {self.store_mb:.1f}, {self.runs} runs"
        )


def measure(home: Path, instance: dg.DagsterInstance, hours: float) -> Sizes:
    found = processes_of(home)
    memory = {
        name: max((_resident_mb(pid) for pid, words in found.items() if mark in words), default=0.0)  # between two `up`
        for name, mark in _PROCESSES.items()
    }
    folders = [home / name for name in ("history", "schedules", "storage", "logs")]
    dagster = sum(_size(path) for folder in folders for path in folder.rglob("*"))
    store = sum(_size(path) for path in (home / "data").glob("attendance.duckdb*"))
    return Sizes(hours, memory, dagster / 1e6, store / 1e6, instance.get_runs_count())


def _resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:  # a journal of SQLite
        return 0
