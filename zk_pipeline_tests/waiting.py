"""Waiting for a condition, and children that tell how far they are."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def until(condition: Callable[[], object], *, seconds: float = 20, every: float = 0.01) -> None:
    """Return once the condition holds, asked `every` so many seconds; fail the test where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)


class Child:
    """A Python process running `script`; it prints a line whenever it has come to a point worth waiting for."""

    def __init__(self, script: str, *arguments: str | Path) -> None:
        command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """Wait until it has ended by itself; its exit code."""
        return self.process.wait(60)


@contextmanager
def child(script: str, *arguments: str | Path) -> Iterator[Child]:
    started = Child(script, *arguments)
    try:
        yield started
    finally:
        started.kill()
        for stream in (started.process.stdin, started.process.stdout):
            assert stream is not None
            stream.close()
