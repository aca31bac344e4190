"""Processes that one process forks after it has imported everything, so that they share its memory and its imports.

Each has the command line (`ps`) and the end of a process that `python -m MODULE ARGUMENTS` starts.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from select import select
from typing import Any

from zk_pipeline.runtime.fork_server import can_fork
from zk_pipeline.runtime.processes import end_session, end_with_parent

_END_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_AWAITED = {*_END_SIGNALS, signal.SIGCHLD}
_POLL_SECONDS = 0.05
_END_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Part:
    """A process that calls `main` of a module. `is_ready`: condition for the start of the next part; `output`: file
    that its output is appended to, None for the output of this process.
    """

    name: str
    module: str
    arguments: Sequence[str]
    is_ready: Callable[[], bool] = lambda: True
    output: Path | None = None


class ForkedProcesses:
    """Processes of this one, which is to have no other thread. Outside Linux they import everything themselves."""

    def __init__(self) -> None:
        self._processes: list[Any] = []
        self._is_ending = False
        self._signals, writer = os.pipe()  # gets the number of each signal, in any thread
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        for number in _AWAITED:
            signal.signal(number, _do_nothing)

    def run(self, parts: Sequence[Part]) -> tuple[str, int] | None:
        """Start the parts in order, wait until one ends or SIGINT or SIGTERM arrives, and end them in reverse order.

        Returns the name and the exit code of the part that has ended; None after a signal.
        """
        try:
            for part in parts:
                self._start(part)
                while not (part.is_ready() or self._ended() or self._is_signaled(_POLL_SECONDS)):
                    pass
                if self._ended() or self._is_ending:
                    break
            while not (self._ended() or self._is_signaled()):
                pass
            return self._ended()
        finally:
            for process in reversed(self._processes):
                _end(process)

    def _start(self, part: Part) -> None:
        context: Any = multiprocessing.get_context("fork" if can_fork() else "spawn")
        process = context.Process(
            target=_run, args=(os.getpid(), part.module, part.arguments, part.output), name=part.name
        )
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)  # until the new process has no handler of this one
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        self._processes.append(process)

    def _ended(self) -> tuple[str, int] | None:
        return next(((one.name, one.exitcode) for one in self._processes if one.exitcode is not None), None)

    def _is_signaled(self, timeout_seconds: float | None = None) -> bool:
        """Wait for a signal: True once SIGINT or SIGTERM has arrived, False after another signal or the timeout."""
        if not self._is_ending and select([self._signals], [], [], timeout_seconds)[0]:
            self._is_ending = not _END_SIGNALS.isdisjoint(os.read(self._signals, 100))
        return self._is_ending


def _do_nothing(*_: object) -> None:
    pass


def _run(parent: int, module: str, arguments: Sequence[str], output: Path | None) -> None:
    """The work of a new process."""
    os.setsid()
    if sys.platform == "linux":
        end_with_parent()
    if os.getppid() != parent:  # it ended before
        return
    signal.set_wakeup_fd(-1)
    for number in _AWAITED:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
    if output is not None:
        with output.open("ab") as stream:
            for descriptor in (1, 2):
                os.dup2(stream.fileno(), descriptor)
    sys.argv = [module, *arguments]
    if sys.platform == "linux":
        show_command_line([sys.executable, "-m", *sys.argv])
    import_module(module).main()


def show_command_line(words: Sequence[str]) -> None:
    """Let `/proc` and `ps` show these words as the command line of this process, as far as the one that it was started
    with has room for them. Linux.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # proc(5): arg_start, arg_end
    text = "\0".join(words).encode()[: end - start - 1]
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def _end(process: Any) -> None:
    """End a process and all processes of its session: SIGTERM, then SIGKILL after 20 s."""
    for end in (process.terminate, process.kill):
        end()
        deadline = time.monotonic() + _END_TIMEOUT_SECONDS
        while process.exitcode is None and time.monotonic() < deadline:  # its forks have `sentinel` open, for `join`
            time.sleep(_POLL_SECONDS)
    end_session(process.pid)
