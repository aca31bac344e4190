"""Process identities, children that end with their parent, and graceful shutdown of a command on a signal."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from zk_pipeline.runtime import processes
from zk_pipeline.runtime.processes import (
    check_for_end,
    ended_by,
    in_main_thread,
    is_alive,
    process_identity,
    run_with_graceful_shutdown,
    start_child,
    stop_event,
    terminate,
)
from zk_pipeline_tests.waiting import child, until

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN); "
    "sleeper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "print(sleeper.pid, flush=True); time.sleep(600)",
]
PARENT = """
    import os, sys
    from pathlib import Path
    from zk_pipeline.runtime.processes import start_child
    started = start_child([sys.executable, "-c", "import time; time.sleep(600)"],
                          cwd=Path(sys.argv[1]), environ=os.environ, output=Path(sys.argv[1]) / "out.log")
    print(started.pid, flush=True)
    input()
"""

GRANDPARENT = """
    import os, sys
    from pathlib import Path
    from zk_pipeline.runtime.processes import start_child
    grandchild = "import os, time; from zk_pipeline.runtime.processes import exit_with_parent; " \\
        "exit_with_parent(os.environ, poll_seconds=0.05); print(os.getpid(), flush=True); time.sleep(600)"
    stubborn = "import signal, subprocess, sys; signal.signal(15, lambda *_: None); " \\
        "subprocess.run([sys.executable, '-c', sys.argv[1]])"
    start_child([sys.executable, "-c", stubborn, grandchild], cwd=Path(sys.argv[1]), environ=os.environ,
                output=Path(sys.argv[1]) / "out.log")
    print("started", flush=True)
    input()
"""


def test_this_process_is_alive_and_one_that_ended_is_not() -> None:
    assert is_alive(process_identity())
    with child("print('here', flush=True); input()") as other:
        other.hear()
        identity = process_identity(other.pid)
        assert is_alive(identity)
        other.kill()
        assert not is_alive(identity)


def test_a_later_process_of_the_same_number_is_not_taken_for_the_one_that_ended() -> None:
    host, pid, start = process_identity().rsplit(":", 2)
    assert start
    assert not is_alive(f"{host}:{pid}:{start}1")


def test_a_process_that_ended_and_was_not_collected_yet_is_not_alive() -> None:
    with child("print('here', flush=True)") as other:
        other.hear()
        identity = f"{process_identity(other.pid).rpartition(':')[0]}:{'0' * 8}-1"
        until(lambda: Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        assert process_identity(other.pid).endswith(":")
        assert not is_alive(identity)


def test_a_process_of_another_host_cannot_be_known_to_be_dead() -> None:
    assert is_alive("another-host:1:whenever")


def test_a_child_writes_to_its_file_and_is_ended_politely(tmp_path: Path) -> None:
    output = tmp_path / "logs" / "out.log"
    started = start_child(
        [sys.executable, "-uc", "print('at work'); import time; time.sleep(600)"],
        cwd=tmp_path,
        environ=os.environ,
        output=output,
    )
    try:
        until(lambda: output.exists() and output.read_text() == "at work\n")
    finally:
        terminate(started)
    assert started.returncode == -15


def test_a_child_that_ignores_the_polite_signal_is_killed_with_what_it_started(tmp_path: Path) -> None:
    output = tmp_path / "out.log"
    started = start_child(STUBBORN, cwd=tmp_path, environ=os.environ, output=output)
    try:
        until(lambda: output.exists() and output.read_text().endswith("\n"))
        grandchild = process_identity(int(output.read_text()))
        assert is_alive(grandchild)
    finally:
        terminate(started, timeout_seconds=0.2)
    assert started.returncode == -9
    until(lambda: not is_alive(grandchild))


def test_ending_a_child_that_has_ended_already_does_nothing(tmp_path: Path) -> None:
    started = start_child([sys.executable, "-c", ""], cwd=tmp_path, environ=os.environ, output=tmp_path / "out")
    started.wait(30)
    before = time.monotonic()
    terminate(started)
    assert time.monotonic() - before < 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at the parent's death is Linux's")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with child(PARENT, tmp_path) as parent:
        identity = process_identity(int(parent.hear()))
        assert is_alive(identity)
        parent.kill()
        until(lambda: not is_alive(identity))


def test_a_child_of_a_child_that_goes_on_ends_too_when_the_first_parent_is_killed(tmp_path: Path) -> None:
    output = tmp_path / "out.log"
    with child(GRANDPARENT, tmp_path) as starter:
        starter.hear()
        until(lambda: output.exists() and output.read_text().endswith("\n"))
        grandchild = process_identity(int(output.read_text()))
        assert is_alive(grandchild)
        starter.kill()
        until(lambda: not is_alive(grandchild))


class EndedAtOnce(BaseException):
    """Default effect of SIGTERM in the test process, without graceful shutdown."""


@pytest.fixture
def at_once() -> Iterator[None]:
    def handler(_number: int, _frame: object) -> None:
        raise EndedAtOnce

    before = signal.signal(signal.SIGTERM, handler)
    yield
    assert signal.signal(signal.SIGTERM, before) is handler


def send_sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.05)  # until the main thread has recorded it


def test_a_command_has_a_thread_of_its_own_and_what_it_returns_or_raises_comes_back() -> None:
    assert run_with_graceful_shutdown(lambda: threading.current_thread().name) == "command"
    with pytest.raises(ZeroDivisionError):
        run_with_graceful_shutdown(lambda: 1 / 0)


@pytest.mark.usefixtures("at_once")
def test_a_signal_is_raised_at_a_check_in_the_thread_of_the_work_and_once() -> None:
    steps: list[object] = []

    def elsewhere() -> None:
        check_for_end()
        steps.append("elsewhere")

    def work() -> str:
        check_for_end()
        for _ in range(2):
            send_sigterm()
            other = threading.Thread(target=elsewhere)
            other.start()
            other.join()
            with pytest.raises(KeyboardInterrupt):
                check_for_end()
            check_for_end()
            steps.append(ended_by())
        return "in order"

    assert run_with_graceful_shutdown(work) == "in order"
    assert steps == ["elsewhere", signal.SIGTERM] * 2
    check_for_end()
    assert ended_by() is None


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("times", [1, 2])
def test_work_that_takes_no_notice_is_left_after_a_while_or_a_second_signal(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_SHUTDOWN_TIMEOUT_SECONDS", 0.5 if times == 1 else 100.0)
    end = threading.Event()

    def work() -> None:
        for _ in range(times):
            send_sigterm()
        end.wait(60)

    began = time.monotonic()
    with pytest.raises(EndedAtOnce):
        run_with_graceful_shutdown(work)
    assert time.monotonic() - began < 30
    end.set()


@pytest.mark.usefixtures("at_once")
def test_a_signal_of_which_the_work_takes_no_notice_before_its_end_is_not_lost() -> None:
    with pytest.raises(EndedAtOnce):
        run_with_graceful_shutdown(send_sigterm)


@pytest.mark.usefixtures("at_once")
def test_a_loop_is_told_by_an_event_and_a_second_signal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_SHUTDOWN_TIMEOUT_SECONDS", 100.0)
    end = threading.Event()

    def work(*, again: bool) -> str:
        with stop_event() as stopped:
            send_sigterm()
            assert stopped.wait(30)
            check_for_end()
            if again:
                send_sigterm()
                end.wait(60)
        return "in order"

    assert run_with_graceful_shutdown(lambda: work(again=False)) == "in order"
    began = time.monotonic()
    with pytest.raises(EndedAtOnce):
        run_with_graceful_shutdown(lambda: work(again=True))
    assert time.monotonic() - began < 30
    end.set()


@pytest.mark.usefixtures("at_once")
def test_what_handles_signals_itself_is_done_in_the_main_thread_and_not_begun_after_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_SHUTDOWN_TIMEOUT_SECONDS", 100.0)
    begun: list[threading.Thread] = []

    def serve() -> None:
        begun.append(threading.current_thread())
        send_sigterm()
        begun.clear()  # not reached: the original handler raised

    with pytest.raises(EndedAtOnce):
        run_with_graceful_shutdown(lambda: in_main_thread(serve))
    assert begun == [threading.main_thread()]

    def told_before() -> None:
        send_sigterm()
        in_main_thread(serve)

    with pytest.raises(EndedAtOnce):
        run_with_graceful_shutdown(told_before)
    assert len(begun) == 1
