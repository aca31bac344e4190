"""The fork server: what a forked process inherits, and what happens when a process of the three is killed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zk_pipeline.runtime.processes import is_alive, process_identity
from zk_pipeline_tests.waiting import Child, child, until

# Starts the server and then a process per line that it reads: a Python script.
CLIENT = """
    import json, multiprocessing, sys
    from multiprocessing.forkserver import _forkserver
    from pathlib import Path
    from zk_pipeline.runtime.fork_server import start_fork_server
    assert start_fork_server(Path(sys.argv[1]))
    print(_forkserver._forkserver_pid, flush=True)
    for script in sys.stdin:
        process = multiprocessing.get_context("forkserver").Process(target=exec, args=(json.loads(script),))
        process.start()
        print(process.pid, flush=True)
        if "sleep" not in script:
            process.join()
            print(process.exitcode, flush=True)
"""
SLEEP = "import pathlib, time; pathlib.Path(%r).touch(); time.sleep(600)"
FORK = """
import os
child = os.fork()
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 3)
"""
FACTS = """
import json, os, random, signal, sys
facts = {
    "parent": os.getppid(),
    "threads": len(os.listdir("/proc/self/task")),
    "is_imported": "zk_pipeline.runtime.fork_server" in sys.modules,
    "random": random.random(),
    "handlers": [signal.getsignal(number) is default for number, default in
                 ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler))],
    "argv": open("/proc/self/cmdline").read(),
}
open(%r, "w").write(json.dumps(facts))
"""


class Client(Child):
    def __init__(self, folder: Path) -> None:
        super().__init__(CLIENT, folder / "fork.sock")
        self.folder = folder
        self.server = process_identity(int(self.hear()))

    @property
    def server_pid(self) -> int:
        return int(self.server.split(":")[1])

    def fork(self, script: str) -> int:
        """Process id of a process that executes the script."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(script) + "\n")
        self.process.stdin.flush()
        return int(self.hear())

    def fork_sleeper(self) -> int:
        """Process id of a process that sleeps."""
        file = self.folder / "sleeps"
        pid = self.fork(SLEEP % str(file))
        until(file.exists)
        return pid

    def exit_code(self, script: str) -> int:
        self.fork(script)
        return int(self.hear())

    def facts(self) -> dict[str, Any]:
        """Facts that a forked process reports about itself."""
        file = self.folder / "facts.json"
        assert self.exit_code(FACTS % str(file)) == 0
        return dict(json.loads(file.read_text()))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    started = Client(tmp_path)
    try:
        yield started
    finally:
        started.kill()
        for stream in (started.process.stdin, started.process.stdout):
            assert stream is not None
            stream.close()
    until(lambda: not is_alive(started.server))


def test_a_forked_process_has_the_imports_of_the_parent_and_its_own_random_numbers_and_default_signals(
    client: Client, tmp_path: Path
) -> None:
    first, second = client.facts(), client.facts()
    assert first.pop("random") != second.pop("random")
    assert first == second
    assert (first["parent"], first["threads"], first["is_imported"]) == (client.server_pid, 1, True)
    assert first["handlers"] == [True, True]
    assert first["argv"].split("\0")[-2] == str(tmp_path / "fork.sock"), "the arguments of the client, and no other"
    assert (tmp_path / "fork.sock").stat().st_mode & 0o777 == 0o600


def test_exit_codes_arrive_no_zombie_stays_and_the_server_survives(client: Client) -> None:
    assert client.exit_code("import os; os._exit(7)") == 7
    assert client.exit_code("import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL
    assert client.exit_code("import ctypes; ctypes.string_at(0)") == -signal.SIGSEGV
    assert client.exit_code(FORK) == 3
    os.kill(client.server_pid, signal.SIGTERM)  # as a service manager does to all processes of a service
    sleeper = client.fork_sleeper()
    children = Path(f"/proc/{client.server_pid}/task/{client.server_pid}/children")
    assert children.read_text().split() == [str(sleeper)]
    os.kill(sleeper, signal.SIGTERM)


def test_a_forked_process_ends_by_a_signal_that_it_gets_at_once(client: Client) -> None:
    ended = [process_identity(client.fork("import time; time.sleep(600)")) for _ in range(3)]
    for process in ended:
        os.kill(int(process.split(":")[1]), signal.SIGTERM)
    until(lambda: not any(map(is_alive, ended)))


def test_a_killed_server_takes_its_processes_and_its_client_with_it(client: Client) -> None:
    sleeper = process_identity(client.fork_sleeper())
    os.kill(client.server_pid, signal.SIGKILL)
    assert client.end() == -signal.SIGTERM
    until(lambda: not is_alive(sleeper))


def test_the_server_of_a_killed_client_ends_with_its_last_process(client: Client) -> None:
    sleeper = client.fork_sleeper()
    client.kill()
    assert is_alive(process_identity(sleeper))
    assert is_alive(client.server)
    os.kill(sleeper, signal.SIGTERM)
    until(lambda: not is_alive(client.server))


def test_a_process_with_another_thread_is_not_forked(tmp_path: Path) -> None:
    script = """
        import sys, threading
        from pathlib import Path
        from zk_pipeline.runtime.fork_server import start_fork_server
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        print(start_fork_server(Path(sys.argv[1]) / "fork.sock"), flush=True)
    """
    with child(script, tmp_path) as threaded:
        assert threaded.hear() == "False"
    assert list(tmp_path.iterdir()) == []
