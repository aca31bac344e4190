"""Benchmark of orchestration: `python -m benchmarks.orchestration` from a checkout. Figures: orchestration.md.

A real home, emulated terminals in a separate process and a CRM; measures ticks, polls as runs of a real `up`, and an
idle `up`. CPU is user and system time as counted by the kernel.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import dagster as dg
import requests

from benchmarks.processes import children_of, command_line_of, cpu_of, memory_of, own_memory_of
from benchmarks.terminal_server import Served, Wanted, serving
from zk_pipeline.config.home import export_home
from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.partitions import DateRange, contiguous, range_tags
from zk_pipeline.defs.resources import resources
from zk_pipeline.operations.process import stale_dates
from zk_pipeline.operations.work_dates import last_work_date
from zk_pipeline.runs.launcher import Launcher, open_launcher
from zk_pipeline.runtime.supervisor import Supervisor, single_instance
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.store import Store, utc_now

T = TypeVar("T")
SIZES = (1, 10, 100)
RECORDS, NEW = 200, 20
FULL_EVALUATION_SECONDS = {"alert_sensor": 120, "quality_check_sensor": 3600}
_LAUNCH = """
mutation Launch($tags: [ExecutionTag!]!) { launchRun(executionParams: {
    selector: {repositoryLocationName: "zk_pipeline", repositoryName: "__repository__", jobName: "poll_devices"},
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""


def parts_of_up() -> dict[str, int]:
    """Process id of each part of `up`, by name: a child of this process and its children."""
    marks = {"code server": "code_server", "daemon": "runs.daemon", "webserver": "dagster_webserver"}
    (parent,) = [pid for pid in children_of(os.getpid()) if "dagster_processes" in command_line_of(pid)]
    lines = {pid: command_line_of(pid) for pid in children_of(parent)}
    found = {name: pid for name, mark in marks.items() for pid, line in lines.items() if mark in line}
    return {**found, "their parent": parent}


def groups() -> dict[int, list[str]]:
    """Disjoint groups of terminals that are polled together, by size."""
    firsts = {size: sum(one for one in SIZES if one < size) for size in SIZES}
    return {size: [f"Gate {number:03}" for number in range(first, first + size)] for size, first in firsts.items()}


def all_names() -> list[str]:
    return [name for group in groups().values() for name in group]


def deliver_all(launcher: Launcher, store: Store) -> None:
    """Poll, process and deliver everything."""
    registered = store.devices.all()
    enabled = [one.name for one in registered if one.enabled]
    results = launcher.poll(enabled, [one.name for one in registered])
    last = last_work_date(launcher.settings, utc_now())
    stale = stale_dates(store, launcher.settings, last=last)
    results += [launcher.process(part) for part in contiguous(one.work_date for one in stale)]
    results += [
        launcher.sync(DateRange(min(due), max(due)), {}) for due in [store.deliveries.due_dates(SyncScope())] if due
    ]
    failed = [one.failure for one in results if one.failure]
    if failed:
        raise click.ClickException(failed[0])


def ticks(launcher: Launcher, repeats: int) -> Iterator[tuple[str, int, float, str]]:
    """Name, interval in seconds, CPU milliseconds of a tick and its result, for each schedule and sensor."""
    settings, instance = launcher.settings, launcher.instance
    definitions = build_definitions(settings)

    def sensor_tick(sensor: dg.SensorDefinition, cursor: str | None) -> tuple[str | None, str]:
        with dg.build_sensor_context(
            instance=instance, resources=resources(settings), cursor=cursor, definitions=definitions
        ) as context:
            data = sensor.evaluate_tick(context)
        return data.cursor, str(data.skip_message or f"{len(data.run_requests or data.asset_events)} requested")

    def schedule_tick(schedule: dg.ScheduleDefinition) -> str:
        with dg.build_schedule_context(
            instance=instance, resources=resources(settings), scheduled_execution_time=utc_now()
        ) as context:
            data = schedule.evaluate_tick(context)
        return str(data.skip_message or f"{len(data.run_requests or [])} runs requested")

    spacing = {"poll_devices": 900, "process_attendance": 3600, "sync_to_crm": 1800, "retry_failed_syncs": 21600}
    for schedule in definitions.schedules or ():
        assert isinstance(schedule, dg.ScheduleDefinition)
        result, cpu = measured(repeats, partial(schedule_tick, schedule))
        yield schedule.name, spacing.get(schedule.job_name, 86400), cpu, result
    for sensor in definitions.sensors or ():
        assert isinstance(sensor, dg.SensorDefinition)
        if isinstance(sensor, dg.RunStatusSensorDefinition):
            continue  # queries only Dagster's log unless a run failed
        cursor, _ = sensor_tick(sensor, None)
        every = sensor.minimum_interval_seconds or 30
        if cursor is not None and sensor.name in FULL_EVALUATION_SECONDS:
            (_, result), cpu = measured(repeats, partial(sensor_tick, sensor, None))
            yield f"{sensor.name}, full evaluation", FULL_EVALUATION_SECONDS[sensor.name], cpu, result
        (_, result), cpu = measured(repeats, partial(sensor_tick, sensor, cursor))
        yield sensor.name, every, cpu, result


def measured(repeats: int, work: Callable[[], T]) -> tuple[T, float]:
    """Result of the last of `repeats` calls, and mean CPU milliseconds of one."""
    result = work()
    before = time.process_time()
    for _ in range(repeats):
        result = work()
    return result, 1000 * (time.process_time() - before) / repeats


def polled(instance: dg.DagsterInstance, url: str, devices: Sequence[str]) -> float:
    """CPU seconds of the process of one poll, started as by a schedule."""
    tags = [{"key": key, "value": value} for key, value in range_tags(devices[0], devices[-1]).items()]
    answer = requests.post(f"{url}/graphql", json={"query": _LAUNCH, "variables": {"tags": tags}}, timeout=30).json()
    run_id = answer["data"]["launchRun"]["run"]["runId"]
    cpu = 0.0
    while not (run := instance.get_run_by_id(run_id)) or not run.is_finished:
        process = run.tags.get(PROCESS_TAG) if run else None
        if process is None:
            time.sleep(0.05)
            continue
        pid = int(process.rsplit(":", 2)[1])
        while seen := cpu_of(pid):
            cpu = max(cpu, seen)
            time.sleep(0.01)
    if not run.is_success:
        raise click.ClickException(f"poll {run_id} failed")
    return cpu


def enable_only(store: Store, devices: Sequence[str]) -> None:
    for one in store.devices.all():
        store.devices.update(one.name, enabled=one.name in set(devices))


@contextmanager
def company(served: Served, folder: Path) -> Iterator[tuple[Launcher, Store]]:
    """A home with all terminals registered, read, processed and delivered, exported to the environment."""
    with ExitStack() as exits:
        crm = exits.enter_context(CrmReceiver(token="benchmark"))  # noqa: S106 (of this benchmark only)
        os.environ |= {
            "ZK_PIPELINE_HOME": str(folder), "CRM_API_URL": crm.url, "CRM_API_TOKEN": "benchmark",
            "CRM_BATCH_SIZE": "100", "POLLING_INTERVAL_MINUTES": "1440", "CRM_SYNC_INTERVAL_MINUTES": "1440",
        }  # fmt: skip
        settings = load_settings()
        export_home(settings.home, os.environ)
        store = Store.at(settings.database_path)
        for name in all_names():
            store.devices.add(served.device(name, "tcp"))
        launcher = exits.enter_context(open_launcher(settings))
        deliver_all(launcher, store)
        yield launcher, store


@click.command()
@click.option("--idle-seconds", default=240, show_default=True, help="Seconds for which `up` is idle.")
@click.option("--repeats", default=20, show_default=True, help="Ticks of each schedule and sensor.")
@click.option("--ticks-only", is_flag=True, help="Only schedules and sensors, without `up`.")
def main(idle_seconds: int, repeats: int, *, ticks_only: bool) -> None:
    """Print costs of ticks, polls and an idle `up` as Markdown tables."""
    wanted = [Wanted(name=name, layout=40, records=RECORDS, users=100) for name in all_names()]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(wanted) as served,
        company(served, Path(folder)) as (launcher, store),
    ):
        print_ticks(list(ticks(launcher, repeats)))
        if ticks_only:
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        with single_instance(Path(folder)), Supervisor(Path(folder), os.environ, port, Path(folder) / "logs") as up:
            click.echo("\n| devices | nothing new | 20 new punches each |\n|---|---|---|")
            for size, group in groups().items():
                enable_only(store, group)
                quiet = polled(launcher.instance, up.url, group)
                for name in group:
                    served.punch(name, NEW)
                busy = polled(launcher.instance, up.url, group)
                click.echo(f"| {size} | {quiet:.2f} s | {busy:.2f} s |")
            settle(launcher, store)
            print_idle(idle(idle_seconds), idle_seconds)
            print_memory()


def settle(launcher: Launcher, store: Store) -> None:
    """Process and deliver everything, and wait until no run is in progress."""
    deliver_all(launcher, store)
    unfinished = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    )
    while launcher.instance.get_runs_count(unfinished):
        time.sleep(1)


def idle(seconds: int) -> Mapping[str, float]:
    """CPU seconds of each part of an idle `up`."""
    parts = parts_of_up()
    before = {name: cpu_of(pid) for name, pid in parts.items()}
    time.sleep(seconds)
    return {name: cpu_of(pid) - before[name] for name, pid in parts.items()}


def print_memory() -> None:
    click.echo("\n| part of `up` | memory |\n|---|---|")
    processes = parts_of_up()
    parent = processes.pop("their parent")
    parts = {name: memory_of(pid) for name, pid in processes.items()} | {"their parent": own_memory_of(parent)}
    for name, megabytes in [*parts.items(), ("all", sum(parts.values()))]:
        click.echo(f"| {name} | {megabytes:.0f} MB |")


def print_ticks(rows: Sequence[tuple[str, int, float, str]]) -> None:
    click.echo(f"{datetime.now(tz=UTC):%Y-%m-%d}, load {os.getloadavg()[0]:.1f}\n")
    click.echo("| tick | every | CPU of one | per hour | result |\n|---|---|---|---|---|")
    for name, seconds, cpu, result in rows:
        click.echo(f"| `{name}` | {seconds} s | {cpu:.1f} ms | {cpu * 3.6 / seconds:.2f} s | {result} |")


def print_idle(parts: Mapping[str, float], seconds: int) -> None:
    click.echo(f"\n| part of `up`, idle for {seconds} s | CPU | per hour |\n|---|---|---|")
    for name, cpu in [*parts.items(), ("all", sum(parts.values()))]:
        click.echo(f"| {name} | {cpu:.2f} s | {cpu * 3600 / seconds:.0f} s |")


if __name__ == "__main__":
    main()
