"""CPU time and memory of other processes, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and of its ended children; 0 if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS_PER_SECOND


def memory_of(pid: int) -> float:
    """Megabytes of a process and its descendants, pages that they share counted once (PSS)."""
    return own_memory_of(pid) + sum(map(memory_of, children_of(pid)))


def own_memory_of(pid: int) -> float:
    """Megabytes of a process, each page divided by the number of processes that share it (PSS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def children_of(pid: int) -> list[int]:
    """Process ids of the children of a process."""
    try:
        tasks = [(task / "children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for children in tasks for child in children.split()]


def command_line_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
