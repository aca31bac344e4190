"""Locked keypad after a killed command: shown by status, doctor and alerts; unlocked by the next contact."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from zk_pipeline.cli.main import run
from zk_pipeline.config.settings import load_settings
from zk_pipeline.devices.models import Device
from zk_pipeline.operations.alerting.problems import lock_problems
from zk_pipeline.operations.doctor import examine
from zk_pipeline.operations.live_capture import capture_live
from zk_pipeline.operations.poll import poll_devices
from zk_pipeline.operations.terminal_gateway import terminal_gateway
from zk_pipeline.simulator.terminal.faults import Faults, HangAt
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.forkserver import processes
from zk_pipeline_tests.simulator.small_terminal import small_terminal
from zk_pipeline_tests.store.store_fixtures import ALL
from zk_pipeline_tests.waiting import until

pytestmark = pytest.mark.file_engine

# Each hangs while the keypad is locked.
KILLED = {"poll": Command.CMD_DATA_WRRQ, "clear-log": Command.CMD_CLEAR_ATTLOG}


def work(killed: str, home: Path) -> None:
    """What is killed, in a process of its own: the work of a poll that locks the keypad, or a command."""
    os.environ |= {"ZK_PIPELINE_HOME": str(home), "DAGSTER_HOME": str(home), "ZKTECO_TIMEOUT": "100"}
    if killed == "clear-log":
        run(["device", "clear-log", "gate", "--yes"])
        return
    store = Store.at(home / "data" / "attendance.duckdb")
    read = partial(terminal_gateway(load_settings()).read, lock_while_reading=True)
    list(poll_devices(store, store.devices.all(), read, deadline_seconds=600, run_id=None, full=True))


@dataclass
class Left:
    """A home whose process was killed while the keypad was locked, and the terminal."""

    killed: str
    home: Path
    fleet: Fleet
    terminal: EmulatedTerminal

    def again(self, at: Path) -> Store:
        """Copy the home as the kill left it to that path: keypad locked, log not empty."""
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(self.home, at)
        self.terminal.is_enabled = True
        self.fleet.punch("gate", "1001")
        self.terminal.is_enabled = False
        return Store.at(at / "data" / "attendance.duckdb")


@pytest.fixture(params=KILLED)
def left(request: pytest.FixtureRequest, empty_home: Path, tmp_path: Path) -> Iterator[Left]:
    home = tmp_path / "killed"
    shutil.copytree(empty_home, home)
    with Fleet.serve([small_terminal()]) as fleet:
        port, terminal = fleet.port_of("gate"), fleet.terminal("gate")
        gate = Device(name="gate", ip_address="127.0.0.1", port=port, protocol="tcp")
        Store.at(home / "data" / "attendance.duckdb").devices.add(gate)
        fleet.inject("gate", HangAt(KILLED[request.param]))
        process = processes.Process(target=work, args=(request.param, home))
        process.start()
        try:
            until(lambda: not terminal.is_enabled, seconds=180)
        finally:
            process.kill()
            process.join()
        fleet.inject("gate", Faults())
        yield Left(request.param, home, fleet, terminal)


def contact(*arguments: str) -> Callable[[CommandLine, Store], None]:
    def command(zk: CommandLine, _: Store) -> None:
        assert zk(*arguments).code == 0

    return command


def poll(*, full: bool) -> Callable[[CommandLine, Store], None]:
    """Poll as runs do. Without `full` the log is unchanged since the previous poll."""

    def polling(_: CommandLine, store: Store) -> None:
        read = terminal_gateway(load_settings()).read
        (polled,) = poll_devices(store, store.devices.all(), read, deadline_seconds=20, run_id=None, full=full)
        assert polled.error is None
        assert polled.reading is not None
        assert (polled.reading.mode == "full") is full

    return polling


def listen_live(_: CommandLine, store: Store) -> None:
    stop = threading.Event()
    terminals, result = terminal_gateway(load_settings()), list[str]()
    listener = threading.Thread(
        target=capture_live,
        args=(store, terminals, store.devices.all()),
        kwargs={"stop": stop, "on_stored": lambda _: None, "say": result.append},
    )
    listener.start()
    try:
        until(lambda: store.devices.get("gate").keypad_locked_at is None, every=0.1)
    finally:
        stop.set()
        listener.join(20)


CONTACTS = {
    "unchanged": poll(full=False),
    "full": poll(full=True),
    "test-device": contact("test-device", "gate"),
    "set-clock": contact("device", "set-clock", "gate"),
    "users": contact("device", "users", "gate"),
    "live": listen_live,
    "clear-log": contact("device", "clear-log", "gate", "--yes"),
}


def test_the_lock_is_shown_and_the_next_contact_of_any_kind_unlocks_it(
    left: Left, bare_home: Path, zk: CommandLine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(bare_home))
    is_reported(left.again(bare_home), zk)
    for kind, touch in CONTACTS.items():
        if left.killed == "clear-log" and kind not in ("full", "clear-log"):
            continue  # all kinds are tried after the killed poll
        store = left.again(bare_home)
        if kind == "unchanged":
            # The state after a complete poll before the kill.
            poll(full=True)(zk, store)
            store.keypad_locks.note(store.devices.get("gate"))
            left.terminal.is_enabled = False
        caplog.clear()
        touch(zk, store)
        assert left.terminal.is_enabled, kind
        assert store.devices.get("gate").keypad_locked_at is None, kind
        assert "gate was left locked, and is unlocked now" in caplog.text, kind
        assert store.quality.freshness(**ALL).locked_since == {}, kind
    assert "locked" not in zk("status").out
    assert "left-locked" not in [one.name for one in examine(os.environ, store.clock())]


def is_reported(store: Store, zk: CommandLine) -> None:
    """Alerts, `status` and `doctor` report the locked keypad."""
    found = store.quality.freshness(**ALL)
    since, longest = found.locked_since["gate"], timedelta(seconds=load_settings().poll_deadline)
    assert lock_problems(found, since + longest, longest) == []  # the longest reading
    (problem,) = lock_problems(found, since + longest + timedelta(seconds=1), longest)
    assert (problem.key, problem.severity) == ("lock:gate", "critical")
    assert "`zk-pipeline test-device NAME`" in problem.body
    assert "locked since" in zk("status").out
    assert zk("status", "--json").json["devices"][0]["keypad_locked_at"] is not None
    assert "left-locked" in [one.name for one in examine(os.environ, store.clock())]
