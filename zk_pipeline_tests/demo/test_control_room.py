"""The whole of it running by itself: a real daemon, real runs, real HTTP. What goes wrong is told, once."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.defs.dead_runs import PROCESS_TAG
from zk_pipeline.simulator.faults import Faults, HangAt
from zk_pipeline.simulator.fleet import Fleet
from zk_pipeline.simulator.protocol import Command
from zk_pipeline.store.store import Store
from zk_pipeline_tests.channel import CHANNEL_SECRET, Channel, listening
from zk_pipeline_tests.demo.dagster_ui import Run, Ui, serving_ui
from zk_pipeline_tests.demo.demo_bench import processes_of
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_bench import device, execute, rows
from zk_pipeline_tests.waiting import until

pytestmark = pytest.mark.timeout(600)
MANY = 200
_TICKS = """
{ sensorsOrError(repositorySelector: {repositoryLocationName: "zk_pipeline", repositoryName: "__repository__"}) {
    ... on Sensors { results { name sensorState { ticks(limit: 1000) { status skipReason error { message } } } } }
} }
"""


@pytest.fixture
def channel() -> Iterator[Channel]:
    with listening() as channel:
        yield channel


@pytest.fixture
def ui(home: Path, home_store: Store, channel: Channel, tmp_path: Path) -> Iterator[Ui]:
    """`up` with polls every minute; whatever the store holds by then is there from the start."""
    assert home_store.devices.all() == []
    how = {"ALERT_URLS": channel.url, "POLLING_INTERVAL_MINUTES": "1", "ZKTECO_TIMEOUT": "600"}
    with serving_ui(home, ["up"], tmp_path / "up.log", **how, ZKTECO_POLL_DEADLINE="600") as shown:
        yield shown


def ended(ui: Ui, job: str) -> list[Run]:
    return [run for run in ui.runs() if run.job == job and run.status in ("SUCCESS", "FAILURE")]


def looks(ui: Ui) -> list[str]:
    """What alert_sensor said at each of its ticks, none of which may have failed, nor one of another sensor."""
    states = ui.ask(_TICKS)["sensorsOrError"]["results"]
    ticks = {one["name"]: one["sensorState"]["ticks"] for one in states}
    failed = {name: tick["error"]["message"] for name, all_ in ticks.items() for tick in all_ if tick["error"]}
    assert failed == {}
    return [str(tick["skipReason"]) for tick in ticks["alert_sensor"]]


def test_two_hundred_devices_behind_one_dead_switch_are_one_alert_and_one_when_they_are_back(
    ui: Ui, home_store: Store, channel: Channel
) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for number in range(MANY):
            home_store.devices.add(device(f"Gate {number:03}", ip="127.0.0.1"))
        execute(home_store, "UPDATE devices SET port = ?", [port])
        until(lambda: channel.alerts, seconds=240)
        polls = len(ended(ui, "poll_devices"))
        before = len(looks(ui))
        until(lambda: len(ended(ui, "poll_devices")) >= polls + 2, seconds=300)  # and they fail again
        until(lambda: len(looks(ui)) >= before + 2, seconds=120)
        assert channel.titles == [f"zk_pipeline: {MANY} devices are not read"]
    body = channel.bodies[0]
    assert "[unreachable]" in body or "[refused]" in body, body
    assert f"{ui.url}/runs/" in body
    assert f"and {MANY - 40} more" in body
    assert CHANNEL_SECRET not in body

    execute(home_store, "UPDATE devices SET enabled = false")
    until(lambda: len(channel.alerts) > 1, seconds=120)
    assert channel.titles[1:] == [f"zk_pipeline: over: {MANY} devices are not read"]


def test_a_killed_run_is_noticed_told_once_and_the_next_tick_carries_on(
    ui: Ui, home_store: Store, channel: Channel, fleet: Fleet
) -> None:
    switch_on(fleet, home_store, gate("Gate", *present(MONDAY)))
    fleet.inject("Gate", HangAt(Command.CMD_CONNECT))

    with dg.DagsterInstance.get() as instance:  # the UI keeps tags like this one to itself

        def processes() -> list[str]:
            runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
            return [run.tags[PROCESS_TAG] for run in runs if PROCESS_TAG in run.tags]

        until(processes, seconds=240)
        _, pid, _ = processes()[0].rsplit(":", 2)
    assert int(pid) in processes_of(ui.home)
    fleet.inject("Gate", Faults())
    os.kill(int(pid), signal.SIGKILL)

    until(lambda: any(run.status == "SUCCESS" for run in ended(ui, "poll_devices")), seconds=240)
    assert rows(home_store, "SELECT count(*) FROM raw_punches") == [(2,)], "the store was not left locked"
    until(lambda: channel.alerts, seconds=120)
    before = len(looks(ui))
    until(lambda: len(looks(ui)) >= before + 3, seconds=240)
    # Days that wait for a CRM that is not set may be told in the same message.
    text = "\n".join(f"{alert['title']}\n{alert['message']}" for alert in channel.alerts)
    assert text.count("zk_pipeline: poll_devices failed") + text.count("\npoll_devices failed") == 1, text
    assert "it was killed" in text or "marked as failed from outside" in text  # whoever of the two saw it first
    assert "It was in raw_punches. What it had stored stays. The daemon starts it once more." in text
    until(lambda: [run.status for run in ended(ui, "process_attendance")] == ["SUCCESS"], seconds=120)
