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
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in children_of(task)]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    own = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return own / 1024 + sum(map(memory_of, children))


def children_of(task: Path) -> list[str]:
    """Process ids of the children of a thread, by its folder below /proc."""
    return (task / "children").read_text().split()
