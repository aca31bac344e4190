"""`up` unattended: a real daemon, real runs, real HTTP. A problem is notified once, and its end, too.

The tests share one `up` and run in the order in which they stand; the last one kills it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from zk_pipeline.defs.partitions import range_tags
from zk_pipeline.runtime.processes import is_alive, process_identity
from zk_pipeline.simulator.terminal.faults import Faults, HangAt
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline_tests.channel import CHANNEL_SECRET
from zk_pipeline_tests.demo.control_room import Room, open_room, wait
from zk_pipeline_tests.demo.dagster_ui import Run
from zk_pipeline_tests.demo.demo_fixtures import environ, processes_of
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.plain_http import NO_CERTIFICATES
from zk_pipeline_tests.store.store_fixtures import device, execute, rows

pytestmark = pytest.mark.timeout(600)
GATE = range_tags("Gate", "Gate")
AGAIN = {"dagster/retry_number": "1"}
MANY = 200  # more than a message names one by one


@pytest.fixture(scope="module")
def room(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with open_room(empty_home, tmp_path_factory.mktemp("room")) as opened:
        switch_on(opened.fleet, opened.store, gate("Gate", *present(MONDAY)))
        opened.fleet.inject("Gate", HangAt(Command.CMD_CONNECT))
        yield opened


def messages(room: Room, since: int = 0) -> list[str]:
    """The lines of all messages."""
    return "\n".join(f"{one['title']}\n{one['message']}" for one in room.channel.alerts[since:]).splitlines()


def test_while_it_runs_no_second_one_starts(room: Room) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "zk_pipeline", "up", "--port", "1"],
        env=environ(room.ui.home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == f"zk-pipeline: {room.ui.home} is in use by process {room.ui.process.pid}: end it first\n"


def test_the_receiver_for_terminals_that_push_runs_with_the_others(room: Room) -> None:
    url = f"http://127.0.0.1:{room.receiver_port}/health/ready"
    wait(lambda: _answer(url) == "ready", seconds=60)


def _answer(url: str) -> str:
    try:
        return httpx.get(url, trust_env=False, verify=NO_CERTIFICATES).text
    except httpx.TransportError:
        return ""


def test_a_killed_run_is_done_once_more_one_over_its_time_is_ended_and_the_next_tick_carries_on(room: Room) -> None:
    wait(room.partitions, seconds=180)  # device_registry_sensor made one
    room.ui.launch("poll_devices", GATE)
    wait(room.processes, seconds=180)
    (killed,) = room.processes()
    assert killed in processes_of(room.ui.home)
    os.kill(killed, signal.SIGKILL)

    wait(lambda: room.processes(**AGAIN) not in ([], [killed]), seconds=240)
    (again,) = room.processes(**AGAIN)
    process = process_identity(again)
    wait(lambda: not is_alive(process), seconds=120)
    ended = [run for run in room.polls("FAILURE", "CANCELED") if run.tags.get("dagster/retry_number") == "1"]
    assert any("dagster/schedule_name" not in run.tags for run in ended), "the retry of the launched run"
    room.fleet.inject("Gate", Faults())
    room.ui.start_schedule("poll_devices_schedule")

    def first_attempts() -> list[Run]:
        return [run for run in room.polls("SUCCESS") if "dagster/retry_number" not in run.tags]

    wait(first_attempts, seconds=180)
    room.ui.stop_schedules()
    assert first_attempts()[-1].tags["dagster/schedule_name"] == "poll_devices_schedule"
    retries = [run.tags for run in room.polls("FAILURE", "CANCELED", "SUCCESS") if "dagster/retry_number" in run.tags]
    assert {tags["dagster/retry_number"] for tags in retries} == {"1"}
    roots = [tags["dagster/root_run_id"] for tags in retries]
    assert len(roots) == len(set(roots)), "a run is done once more, not without end"
    assert rows(room.store, "SELECT count(*) FROM raw_punches") == [(2,)], "the store was not left locked"
    wait(lambda: [run for run in room.ui.runs() if run.job == "process_attendance"], seconds=120)

    # Days that wait for a CRM that is not set may be in the same messages.
    wait(lambda: [line for line in messages(room) if "resolved: poll_devices failed" in line], seconds=120)
    began = [line for line in messages(room) if line in ("zk_pipeline: poll_devices failed", "poll_devices failed")]
    assert len(began) == 1, messages(room)


@pytest.mark.stress
def test_many_devices_behind_one_dead_switch_are_one_alert_and_one_when_they_are_back(room: Room) -> None:
    room.fleet.inject("Gate", Faults())
    since = len(room.channel.alerts)
    names = [f"Door {number:03}" for number in range(MANY)]
    doors = range_tags(names[0], names[-1])
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        for name in names:
            room.store.devices.add(device(name, ip="127.0.0.1"))
        execute(room.store, "UPDATE devices SET port = ? WHERE name LIKE 'Door%'", [taken.getsockname()[1]])
        wait(lambda: len(room.partitions()) == MANY + 1, seconds=120)
        failed = len(room.polls("FAILURE"))
        room.ui.launch("poll_devices", doors)
        wait(lambda: [line for line in messages(room, since) if "are not read" in line], seconds=240)
        room.ui.launch("poll_devices", doors)
        wait(lambda: len(room.polls("FAILURE")) >= failed + 2, seconds=240)
        before = len(room.looks())
        wait(lambda: len(room.looks()) >= before + 2, seconds=120)
    text = "\n".join(messages(room, since))
    assert text.count(f"{MANY} devices are not read") == text.count("are not read") == 1, text
    assert "[unreachable]" in text or "[refused]" in text, text
    assert f"{room.ui.url}/runs/" in text
    assert f"and {MANY - 40} more" in text
    assert CHANNEL_SECRET not in text
    devices_failed = [
        run for run in room.polls("FAILURE") if run.tags.get("dagster/asset_partition_range_end") == names[-1]
    ]
    assert [run.status for run in devices_failed if "dagster/retry_number" in run.tags] == [], (
        "the next tick asks again"
    )

    execute(room.store, "UPDATE devices SET enabled = false WHERE name LIKE 'Door%'")
    wait(lambda: f"resolved: {MANY} devices are not read" in "\n".join(messages(room, since)), seconds=120)


def test_killed_during_a_run_it_leaves_no_process(room: Room) -> None:
    """The last test here: it ends what the others look at."""
    wait(lambda: "Gate" in room.partitions(), seconds=120)
    wait(lambda: not room.processes(), seconds=120)
    room.fleet.inject("Gate", HangAt(Command.CMD_CONNECT))
    room.ui.launch("poll_devices", GATE)
    wait(room.processes, seconds=120)
    home = room.ui.home
    mine = {process_identity(pid): words for pid, words in processes_of(home).items()}
    assert len(mine) >= 5, mine  # up, code server, daemon, webserver, the run
    room.ui.process.send_signal(signal.SIGKILL)
    room.ui.process.wait()
    wait(lambda: not any(map(is_alive, mine)), seconds=60)
    wait(lambda: not processes_of(home), seconds=60)
