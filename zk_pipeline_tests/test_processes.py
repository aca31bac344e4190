"""Identities of processes, and children that do not outlive their parent."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from zk_pipeline.processes import end_child, is_alive, process_identity, start_child
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
    from zk_pipeline.processes import start_child
    started = start_child([sys.executable, "-c", "import time; time.sleep(600)"],
                          cwd=Path(sys.argv[1]), environ=os.environ, output=Path(sys.argv[1]) / "out.log")
    print(started.pid, flush=True)
    input()
"""

GRANDPARENT = """
    import os, sys
    from pathlib import Path
    from zk_pipeline.processes import start_child
    grandchild = "import os, time; from zk_pipeline.processes import end_with_starter; " \\
        "end_with_starter(os.environ, look_every_seconds=0.05); print(os.getpid(), flush=True); time.sleep(600)"
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
        end_child(started)
    assert started.returncode == -15


def test_a_child_that_ignores_the_polite_signal_is_killed_with_what_it_started(tmp_path: Path) -> None:
    output = tmp_path / "out.log"
    started = start_child(STUBBORN, cwd=tmp_path, environ=os.environ, output=output)
    try:
        until(lambda: output.exists() and output.read_text().endswith("\n"))
        grandchild = process_identity(int(output.read_text()))
        assert is_alive(grandchild)
    finally:
        end_child(started, patience=0.2)
    assert started.returncode == -9
    until(lambda: not is_alive(grandchild))


def test_ending_a_child_that_has_ended_already_does_nothing(tmp_path: Path) -> None:
    started = start_child([sys.executable, "-c", ""], cwd=tmp_path, environ=os.environ, output=tmp_path / "out")
    started.wait(30)
    before = time.monotonic()
    end_child(started)
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
