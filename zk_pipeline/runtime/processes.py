"""Process identities that are safe against pid reuse, child processes that end with their parent, and graceful
shutdown of a command on SIGINT and SIGTERM (`run_with_graceful_shutdown`).
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

_SHUTDOWN_TIMEOUT_SECONDS = 5.0  # within which the work must react to a signal
_POLL_INTERVAL_SECONDS = 0.1  # of the main thread
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def process_identity(pid: int | None = None) -> str:
    """`host:pid:start`. The start time distinguishes processes with the same pid; empty if unknown."""
    number = os.getpid() if pid is None else pid
    return f"{os.uname().nodename}:{number}:{_start_time(number) or ''}"


def is_alive(identity: str) -> bool:
    """Whether exactly this process still runs. Always True for a process of another host, which cannot be checked."""
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
    """Boot id and clock ticks from boot to the start of a process; None without /proc or if the process is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the command name in parentheses may contain blanks and parentheses
    return None if fields[0] in "ZX" else f"{boot[:8]}-{fields[19]}"


def start_child(
    command: Sequence[str], *, cwd: Path, environ: Mapping[str, str], output: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a child process in its own session; it gets SIGTERM when this process dies. Its output goes to the file
    `output`, or to the output of this process.

    On Linux the kernel sends that signal (PR_SET_PDEATHSIG), also after SIGKILL of this process. Call this from the
    main thread: the kernel sends the signal when the thread that started the child ends.
    """
    with ExitStack() as files:
        stream = None
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            stream = files.enter_context(output.open("ab"))
        return subprocess.Popen(  # noqa: S603 (no user input)
            command,
            cwd=cwd,
            env={**environ, _PARENT_VARIABLE: process_identity()},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=None if stream is None else subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 (no threads in the child)
        )


def exit_with_parent(environ: Mapping[str, str], *, poll_seconds: float = 2.0) -> None:
    """Send SIGTERM to this process once the caller of `start_child` that started one of its ancestors is gone.

    For grandchildren, such as the runs of a code server: the kernel signals the child only, and a code server waits
    for its runs. No-op in a process without such an ancestor.
    """
    parent = environ.get(_PARENT_VARIABLE)
    if parent is not None:
        exit_with_process(parent, poll_seconds=poll_seconds)


def exit_with_process(identity: str, *, poll_seconds: float = 2.0) -> None:
    """Send SIGTERM to this process once the process `identity` is gone. Later calls have no effect."""
    if any(thread.name == _WATCH_THREAD for thread in threading.enumerate()):
        return

    def watch() -> None:
        while is_alive(identity):
            time.sleep(poll_seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name=_WATCH_THREAD, daemon=True).start()


_PARENT_VARIABLE = "ZK_PIPELINE_STARTED_BY"
_WATCH_THREAD = "parent watch"
_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Let the kernel send this signal to this process when the thread that forked it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def terminate(child: subprocess.Popen[bytes], *, timeout_seconds: float = 20.0) -> None:
    """End a child of `start_child` and all processes of its session: SIGTERM, then SIGKILL after the timeout."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            child.send_signal(number)
            try:
                child.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                continue
    end_session(child.pid)


def end_session(pid: int) -> None:
    """Kill the remaining processes of the session of an ended process."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def run_with_graceful_shutdown(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread with graceful shutdown on SIGINT and SIGTERM. Returns its result or raises its exception.

    A signal handler that raises does so between any two bytecodes of the main thread: inside a library that swallows,
    wraps or prints the exception, or during an import. So the main thread only waits, and its handlers only record
    the signal. The work reacts at safe points: `check_for_end` raises KeyboardInterrupt, once per signal, or the event
    of `stop_event` is set. Libraries install no handlers outside the main thread.

    If the work does not react within 5 s or before a second signal, or ends first, the signal is raised again with
    its original handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    ending = _Ending(work)
    _endings.append(ending)
    try:
        with _handled_by(dict.fromkeys(_END_SIGNALS, ending.handle)):
            ending.wait()
    finally:
        _endings.remove(ending)
    if ending.pending:
        signal.raise_signal(ending.pending[0][0])
    if ending.error is not None:
        raise ending.error
    return ending.results[0]


def check_for_end() -> None:
    """Safe point for a shutdown signal: raises KeyboardInterrupt in the thread of the work, once per signal.

    Call it where an interrupt is harmless and before long operations. No-op in other threads and in processes without
    `run_with_graceful_shutdown`, such as the daemon's runs.
    """
    ending = _ending()
    if ending is not None and ending.take():
        raise KeyboardInterrupt


def ended_by() -> int | None:
    """The shutdown signal that the command's work has received; None if none."""
    ending = _ending()
    return None if ending is None else ending.taken


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """Event that the first SIGINT or SIGTERM sets, for loops that end when it is set. A second signal ends the process
    without waiting.
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
    """Run `work` in the main thread while the thread of the command waits, with the signal handlers from before
    `run_with_graceful_shutdown` unless `work` installs its own.
    """
    ending = _ending()
    return work() if ending is None else ending.run_in_main_thread(work)


class _Ending:
    """Work in a thread, and its pending shutdown signals."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.results: list[Any] = []
        self.error: BaseException | None = None
        self.pending: deque[tuple[int, float]] = deque()  # signals not yet handled, with their monotonic seconds
        self.taken: int | None = None
        self.event: threading.Event | None = None
        self.main_thread_work: deque[Callable[[], None]] = deque()
        self.before: dict[int, Any] = {number: signal.getsignal(number) for number in _END_SIGNALS}
        self.thread = threading.Thread(target=self._run, name="command", daemon=True)

    def handle(self, number: int, _: FrameType | None) -> None:
        """Signal handler. Raises nothing and takes no lock."""
        self.pending.append((number, time.monotonic()))

    def wait(self) -> None:
        """Wait until the work ends or does not react to a signal in time. Called in the main thread."""
        self.thread.start()
        while self.thread.is_alive():
            self.thread.join(_POLL_INTERVAL_SECONDS)
            event = self.event
            if self.pending and event is not None and not event.is_set():
                self.pending.popleft()
                event.set()
            elif self.pending and self._has_timed_out(event):
                return
            if self.main_thread_work and not self.pending:
                with _handled_by(self.before):
                    if not self.pending:
                        self.main_thread_work.popleft()()

    def _has_timed_out(self, event: threading.Event | None) -> bool:
        return (
            event is not None
            or bool(self.main_thread_work)
            or len(self.pending) > 1
            or time.monotonic() - self.pending[0][1] > _SHUTDOWN_TIMEOUT_SECONDS
        )

    def take(self) -> bool:
        """Take the oldest pending signal; False if there is none. Called in the thread of the work."""
        if threading.current_thread() is not self.thread or not self.pending or self.event is not None:
            return False
        self.taken = self.pending.popleft()[0]
        return True

    def run_in_main_thread(self, work: Callable[[], Result]) -> Result:
        """Run `work` in the main thread and wait for its result or exception."""
        results: list[Result] = []
        errors: list[BaseException] = []
        done = threading.Event()

        def do() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)
            done.set()

        self.main_thread_work.append(do)
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


_endings: list[_Ending] = []  # at most one per process
