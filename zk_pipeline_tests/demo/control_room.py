"""One `up` that several tests look at: schedules stopped, sensors every ten seconds, alerts to a test channel."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dagster as dg

from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.names import Names
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.channel import Channel, listening
from zk_pipeline_tests.conftest import exported
from zk_pipeline_tests.demo.dagster_ui import Run, Ui, serving_ui
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.waiting import until

_TICKS = """
{ sensorsOrError(repositorySelector: {repositoryLocationName: "zk_pipeline", repositoryName: "__repository__"}) {
    ... on Sensors { results { name sensorState { ticks(limit: 1000) { status skipReason error { message } } } } }
} }
"""
MOST = "runtime_seconds: 20"
wait = partial(until, every=1.0)  # each question to the UI costs it some 20 ms
QUICK = {"SENSOR_INTERVAL_SECONDS": "10"}  # a round of the sensors is 0.3 s of CPU


@dataclass(frozen=True)
class Room:
    """The running processes, their store, and the channel of their alerts."""

    ui: Ui
    store: Store
    instance: dg.DagsterInstance
    fleet: Fleet
    channel: Channel
    receiver_port: int

    def polls(self, *statuses: str) -> list[Run]:
        """The polls, the newest first."""
        return [run for run in self.ui.runs() if run.job == "poll_devices" and run.status in statuses]

    def processes(self, **tags: str) -> list[int]:
        """Runs in progress with these tags; the UI hides the tag that identifies them."""
        asked = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED], tags=tags)
        found = [run.tags.get(PROCESS_TAG) for run in self.instance.get_runs(asked)]
        return [int(process.rsplit(":", 2)[1]) for process in found if process]

    def partitions(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions(Names().device_partitions_name))

    def looks(self) -> list[str]:
        """What alert_sensor said at each of its ticks, none of which may have failed, nor one of another sensor."""
        states = self.ui.ask(_TICKS)["sensorsOrError"]["results"]
        ticks = {one["name"]: one["sensorState"]["ticks"] for one in states}
        failed = {name: tick["error"]["message"] for name, all_ in ticks.items() for tick in all_ if tick["error"]}
        assert failed == {}
        return [str(tick["skipReason"]) for tick in ticks["alert_sensor"]]


@contextmanager
def open_room(empty_home: Path, folder: Path) -> Iterator[Room]:
    """The room, with its home in the environment. Run monitoring looks every five seconds and allows 20."""
    home = shutil.copytree(empty_home, folder / "home")
    config = home / "dagster.yaml"
    shipped = config.read_text()
    for usual, ours in (("poll_interval_seconds: 30", "poll_interval_seconds: 5"), ("runtime_seconds: 7200", MOST)):
        assert usual in shipped
        shipped = shipped.replace(usual, ours)
    config.write_text(shipped)
    with exported(home), listening() as channel, Fleet() as fleet:
        port = free_port()
        receiver = {"RECEIVER_ENABLED": "true", "RECEIVER_PORT": str(port)}
        how = {**receiver, "ALERT_URLS": channel.url, "POLLING_INTERVAL_MINUTES": "1", "ZKTECO_TIMEOUT": "3600"}
        with (
            dg.DagsterInstance.get() as instance,
            serving_ui(home, ["up"], folder / "up.log", **how, **QUICK, ZKTECO_POLL_DEADLINE="3600") as ui,
        ):
            ui.stop_schedules()
            yield Room(ui, Store.at(home / "data" / "attendance.duckdb"), instance, fleet, channel, port)
