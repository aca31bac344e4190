"""Forked processes: what they share, and the end of one, of all and of their parent."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zk_pipeline.runtime.processes import is_alive, process_identity
from zk_pipeline_tests.waiting import Child, child, until

# Starts one part per name, and writes the names of the started ones to `started`. A part writes facts to a file of its
# name and sleeps; its end adds its name to `ended`.
PARENT = """
    import json, sys, threading
    from functools import partial
    from pathlib import Path
    folder, names = Path(sys.argv[1]), sys.argv[2].split()
    sys.path.insert(0, str(folder))
    import part
    from zk_pipeline.runtime.forked_processes import ForkedProcesses, Part
    part.imported_by = "the parent"
    if "thread" in names:
        names.remove("thread")
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    started = []
    def is_ready(name):
        started.append(name)
        return name not in ("hangs", "fails") and (folder / name).exists()
    parts = [Part(name, "part", (str(folder), name), partial(is_ready, name), folder / "log") for name in names]
    result = ForkedProcesses().run(parts)
    (folder / "started").write_text(" ".join(dict.fromkeys(started)))
    print(json.dumps(result), flush=True)
"""
PART = """
import json, os, signal, sys, time
from pathlib import Path

imported_by = None

def main():
    folder, name = Path(sys.argv[1]), sys.argv[2]
    handlers = [signal.getsignal(one) == signal.SIG_DFL for one in (signal.SIGTERM, signal.SIGCHLD)]
    facts = {"pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "imported_by": imported_by,
             "before": sorted(one.name for one in folder.iterdir() if one.name in "abc"),
             "command_line": Path("/proc/self/cmdline").read_text().rstrip("\\0").split("\\0"),
             "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())), "handlers": handlers}

    def end(*_):
        with (folder / "ended").open("a") as ended:
            ended.write(name)
        sys.exit(5)

    signal.signal(signal.SIGTERM, end)
    print("begun", name, flush=True)
    (folder / "part").write_text(json.dumps(facts))
    (folder / "part").rename(folder / name)
    if name == "fails":
        sys.exit("it failed")
    time.sleep(60)  # no longer, if a test fails
"""


class Parent:
    def __init__(self, started: Child, folder: Path) -> None:
        self.started, self.folder = started, folder

    def facts(self, name: str) -> dict[str, object]:
        until((self.folder / name).exists)
        return dict(json.loads((self.folder / name).read_text()))

    def processes(self, *names: str) -> list[str]:
        return [process_identity(int(str(self.facts(name)["pid"]))) for name in names]


@pytest.fixture
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Parent]:
    (tmp_path / "part.py").write_text(PART)
    with child(PARENT, tmp_path, request.param) as started:
        yield Parent(started, tmp_path)


@pytest.mark.parametrize("parent", ["a b c"], indirect=True)
def test_parts_are_forked_in_order_and_end_in_the_opposite_order(parent: Parent) -> None:
    facts = {name: parent.facts(name) for name in "abc"}
    assert [one["before"] for one in facts.values()] == [[], ["a"], ["a", "b"]]
    for name, one in facts.items():
        assert (one["parent"], one["session"]) == (parent.started.pid, one["pid"])
        assert one["imported_by"] == "the parent"
        assert one["command_line"] == [sys.executable, "-m", "part", str(parent.folder), name]
        assert (one["blocked"], one["handlers"]) == (0, [True, True])
    processes = parent.processes(*"abc")
    os.kill(parent.started.pid, signal.SIGTERM)
    assert parent.started.hear() == "null"
    assert parent.started.end() == 0
    assert (parent.folder / "ended").read_text() == "cba"
    assert not any(map(is_alive, processes))
    assert (parent.folder / "log").read_text().split() == ["begun", "a", "begun", "b", "begun", "c"]


@pytest.mark.parametrize(("parent", "ended"), [("a fails c", 1), ("a b", -signal.SIGKILL)], indirect=["parent"])
def test_the_end_of_a_part_ends_all_and_is_named(parent: Parent, ended: int) -> None:
    (first,) = parent.processes("a")
    if ended < 0:
        os.kill(int(str(parent.facts("b")["pid"])), signal.SIGKILL)
    assert json.loads(parent.started.hear()) == ["fails" if ended > 0 else "b", ended]
    assert parent.started.end() == 0
    assert (parent.folder / "started").read_text() == ("a fails" if ended > 0 else "a b")
    assert (parent.folder / "ended").read_text() == "a"
    assert not is_alive(first)


@pytest.mark.parametrize("parent", ["a b"], indirect=True)
def test_parts_of_a_killed_parent_end(parent: Parent) -> None:
    processes = parent.processes("a", "b")
    parent.started.kill()
    until(lambda: not any(map(is_alive, processes)))
    assert sorted((parent.folder / "ended").read_text()) == ["a", "b"]


@pytest.mark.parametrize("parent", ["hangs a"], indirect=True)
def test_a_signal_ends_the_wait_for_a_part_and_starts_no_further_one(parent: Parent) -> None:
    parent.facts("hangs")
    os.kill(parent.started.pid, signal.SIGTERM)
    assert parent.started.hear() == "null"
    assert (parent.folder / "started").read_text() == "hangs"
    assert (parent.folder / "ended").read_text() == "hangs"


@pytest.mark.parametrize("parent", ["thread a"], indirect=True)
def test_a_process_with_another_thread_is_not_forked(parent: Parent) -> None:
    facts = parent.facts("a")
    assert (facts["imported_by"], facts["parent"]) == (None, parent.started.pid)
    os.kill(parent.started.pid, signal.SIGTERM)
    assert parent.started.hear() == "null"
    assert (parent.folder / "ended").read_text() == "a"
