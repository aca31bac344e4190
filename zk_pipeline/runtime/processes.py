"""Processes: identities that survive the reuse of process numbers, children that end with their parent, and the
command's own process, which SIGINT and SIGTERM end in order (`end_in_order`).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

Result = TypeVar("Result")

_PATIENCE = 5.0  # seconds that the work has to take notice of a signal
_LOOK_EVERY = 0.1  # seconds between two looks of the main thread
_END = (signal.SIGINT, signal.SIGTERM)


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


def exit_with_parent(environ: Mapping[str, str], *, look_every_seconds: float = 2.0) -> None:
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


def terminate(child: subprocess.Popen[bytes], *, patience: float = 20.0) -> None:
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


def end_in_order(work: Callable[[], Result]) -> Result:
    """Do `work` in a thread of its own and return or raise what it does; SIGINT and SIGTERM end it in order.

    A signal handler that raises does so between any two steps of the main thread: inside a library that swallows, wraps
    or prints the exception, or in the middle of an import. So the main thread only waits, and its handlers only note
    the signal. The work is told at places of its own: `check_for_end` raises KeyboardInterrupt there, once for each
    signal, or a loop has an event set (`stop_event`). Libraries install no handlers outside the main thread.

    Work that takes no notice within 5 s, or before a second signal, is left as it is, and the signal has the effect
    that it would have had before; likewise where the work ends first.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    ending = _Ending(work)
    _endings.append(ending)
    try:
        with _handled_by(dict.fromkeys(_END, ending.note)):
            ending.wait()
    finally:
        _endings.remove(ending)
    if ending.noted:
        signal.raise_signal(ending.noted[0][0])
    if ending.error is not None:
        raise ending.error
    return ending.results[0]


def check_for_end() -> None:
    """Raise KeyboardInterrupt where the command is to end, in the thread of its work; once for each signal.

    To be called where an interrupt is harmless and before anything long: it does nothing in other threads and in
    processes without `end_in_order`, such as the daemon's runs.
    """
    ending = _ending()
    if ending is not None and ending.take():
        raise KeyboardInterrupt


def ended_by() -> int | None:
    """The signal by which the command's work was told to end; None before."""
    ending = _ending()
    return None if ending is None else ending.taken


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets, so that a loop ends and with it all that was started, in order;
    a second one is not waited for.
    """
    event = threading.Event()
    ending = _ending()
    if ending is None:
        yield event
        return
    ending.event = event
    try:
        yield event
    finally:
        ending.event = None


def in_main_thread(work: Callable[[], Result]) -> Result:
    """Do `work` in the main thread, while the thread of the command waits: signals have the effect that they had before
    `end_in_order`, unless `work` handles them itself.
    """
    ending = _ending()
    return work() if ending is None else ending.lend(work)


class _Ending:
    """Work in a thread, and the signals that it is to take notice of."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.results: list[Any] = []
        self.error: BaseException | None = None
        self.noted: deque[tuple[int, float]] = deque()  # signals not taken notice of, with their monotonic seconds
        self.taken: int | None = None
        self.event: threading.Event | None = None
        self.lent: deque[Callable[[], None]] = deque()  # work for the main thread
        self.before: dict[int, Any] = {number: signal.getsignal(number) for number in _END}
        self.thread = threading.Thread(target=self._run, name="command", daemon=True)

    def note(self, number: int, _: FrameType | None) -> None:
        """The handler: it raises nothing, and takes no lock."""
        self.noted.append((number, time.monotonic()))

    def wait(self) -> None:
        """Wait for the end of the work, or for that of the patience with it. In the main thread."""
        self.thread.start()
        while self.thread.is_alive():
            self.thread.join(_LOOK_EVERY)
            event = self.event
            if self.noted and event is not None and not event.is_set():
                self.noted.popleft()
                event.set()
            elif self.noted and self._is_waited_for_too_long(event):
                return
            if self.lent and not self.noted:
                with _handled_by(self.before):
                    if not self.noted:
                        self.lent.popleft()()

    def _is_waited_for_too_long(self, event: threading.Event | None) -> bool:
        return (
            event is not None
            or bool(self.lent)
            or len(self.noted) > 1
            or time.monotonic() - self.noted[0][1] > _PATIENCE
        )

    def take(self) -> bool:
        """Take the oldest signal not yet noticed; False without one. In the thread of the work."""
        if threading.current_thread() is not self.thread or not self.noted or self.event is not None:
            return False
        self.taken = self.noted.popleft()[0]
        return True

    def lend(self, work: Callable[[], Result]) -> Result:
        """Have the main thread do `work`."""
        results: list[Result] = []
        errors: list[BaseException] = []
        done = threading.Event()

        def do() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)
            done.set()

        self.lent.append(do)
        done.wait()
        if errors:
            raise errors[0]
        return results[0]

    def _run(self) -> None:
        try:
            self.results.append(self.work())
        except BaseException as error:
            self.error = error


@contextmanager
def _handled_by(handlers: Mapping[Any, Any]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ending() -> _Ending | None:
    return next(iter(_endings), None)


_endings: list[_Ending] = []  # of this process: one at most
