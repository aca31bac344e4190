"""Which process is which: identities that survive the reuse of process numbers, and children that end with their
parent.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path


def process_identity(pid: int | None = None) -> str:
    """`host:pid:start`, where start tells this process from a later one of the same number (empty where unknown)."""
    number = os.getpid() if pid is None else pid
    return f"{os.uname().nodename}:{number}:{_start_time(number) or ''}"


def is_alive(identity: str) -> bool:
    """Whether that very process still runs. One of another host is taken to be alive: it cannot be known from here."""
    host, pid, start = identity.rsplit(":", 2)
    if host != os.uname().nodename:
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not start or _start_time(int(pid)) == start


def _start_time(pid: int) -> str | None:
    """Clock ticks from boot to the start of a process, and the boot itself; None where /proc does not tell or it is
    dead.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold anything
    return None if fields[0] in "ZX" else f"{boot[:8]}-{fields[19]}"


def start_child(
    command: Sequence[str], *, cwd: Path, environ: Mapping[str, str], output: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own that is told to end when this process dies; its output goes to a file or
    to ours.

    Linux tells it in the kernel, so that SIGKILL here leaves nothing behind. Call it from the main thread: the
    kernel watches the thread that started the child.
    """
    with ExitStack() as files:
        stream = None
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            stream = files.enter_context(output.open("ab"))
        return subprocess.Popen(  # noqa: S603 (commands of ours)
            command,
            cwd=cwd,
            env={**environ, _STARTED_BY: process_identity()},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=None if stream is None else subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 (no threads in the child)
        )


def end_with_starter(environ: Mapping[str, str], *, look_every_seconds: float = 2.0) -> None:
    """Have this process told to end (SIGTERM) once the one that started its forebear by `start_child` is gone.

    For children of such a child, the runs of a code server: the kernel tells only the child itself, and a code server
    waits for its runs. Does nothing in a process without such a forebear.
    """
    starter = environ.get(_STARTED_BY)
    if starter is not None:
        end_with(starter, look_every_seconds=look_every_seconds)


def end_with(starter: str, *, look_every_seconds: float = 2.0) -> None:
    """Have this process told to end (SIGTERM) once the process of that identity is gone. The first call counts."""
    if any(thread.name == _WATCH for thread in threading.enumerate()):
        return

    def watch() -> None:
        while is_alive(starter):
            time.sleep(look_every_seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name=_WATCH, daemon=True).start()


_STARTED_BY = "ZK_PIPELINE_STARTED_BY"
_WATCH = "watch over the starter"
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_child(child: subprocess.Popen[bytes], *, patience: float = 20.0) -> None:
    """End a child started by `start_child` and everything in its session: politely first, then for good."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            child.send_signal(number)
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                continue
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # what it left behind in its session
