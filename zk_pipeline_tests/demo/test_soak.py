"""A day of schedules in minutes: a real `up` whose schedules tick in a faster clock, while all goes wrong that can.

Real: processes, runs, sensors, queue, retries, wire protocol, HTTP, store. Made up: only what time schedules take it to
be (`soak_clock`), and that punches bear the times of that clock, which ends before now.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.cli.main import run as command
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.instance.run_retention import delete_runs, find_old_runs
from zk_pipeline.defs.instance.runs_in_progress import UNFINISHED_RUN_STATUSES
from zk_pipeline.defs.names import Names
from zk_pipeline.demo.verification import check_crm, check_days, check_punches
from zk_pipeline.demo.walkthrough import comm_key_variable
from zk_pipeline.devices.models import Device
from zk_pipeline.runtime.processes import is_alive
from zk_pipeline.runtime.supervisor import single_instance
from zk_pipeline.simulator.company.workforce import Workforce, generate
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.locks.sync_lock import acquire_sync_lock
from zk_pipeline.store.store import Store, utc_now
from zk_pipeline_tests.channel import Channel, listening
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.demo.control_room import QUICK, wait
from zk_pipeline_tests.demo.dagster_ui import serving_ui
from zk_pipeline_tests.demo.demo_fixtures import processes_of
from zk_pipeline_tests.demo.soak_clock import FastClock
from zk_pipeline_tests.demo.soak_day import BadDay, bad_crm
from zk_pipeline_tests.demo.soak_sizes import Sizes, measure
from zk_pipeline_tests.store.store_fixtures import execute

pytestmark = [pytest.mark.stress, pytest.mark.timeout(1500)]
SECONDS = float(os.environ.get("ZK_PIPELINE_SOAK_SECONDS", "600"))  # of true time for the day
SEED = int(os.environ.get("ZK_PIPELINE_SOAK_SEED", "7"))
DAY = timedelta(hours=24)
TERMINALS, PEOPLE = 20, 200


@contextmanager
def company(begin: datetime) -> Iterator[tuple[Workforce, Fleet, str]]:
    """Twenty terminals with two days of punches before `begin`, switched on; the name of one whose log is full."""
    made = generate(devices=TERMINALS, employees=PEOPLE, days=2, seed=SEED, until=begin)
    narrow = made.terminals[2].name
    held = len(made.log_of(narrow))
    terminals = [replace(one, record_capacity=held + 20) if one.name == narrow else one for one in made.terminals]
    terminals[5] = replace(terminals[5], clock_offset_seconds=-7_200)
    made = replace(made, terminals=tuple(terminals))
    with Fleet.serve(made.emulated_terminals()) as fleet:
        yield made, fleet, narrow


def register(store: Store, workforce: Workforce, fleet: Fleet) -> None:
    for one in workforce.terminals:
        store.devices.add(
            Device(
                name=one.name,
                ip_address=fleet.host,
                port=fleet.port_of(one.name),
                timezone=one.timezone,
                site=one.site,
                encoding=one.encoding,
                comm_key_env=comm_key_variable(one.name) if one.comm_key else None,
            )
        )


def environment(workforce: Workforce, crm: CrmReceiver, channel: Channel) -> dict[str, str]:
    keys = {comm_key_variable(one.name): str(one.comm_key) for one in workforce.terminals if one.comm_key}
    return (
        keys
        | QUICK
        | {
            "CRM_API_URL": crm.url,
            "CRM_API_TOKEN": CRM_TOKEN,
            "ALERT_URLS": channel.url,
            "ZKTECO_TIMEOUT": "1",
            "ZKTECO_POLL_DEADLINE": "8",
            "ZK_PIPELINE_HISTORY_START": (utc_now() - timedelta(days=10)).date().isoformat(),
        }
    )


@dataclass(frozen=True)
class Soak:
    """What is looked at while it runs."""

    home: Path
    store: Store
    instance: dg.DagsterInstance
    clock: FastClock
    day: BadDay
    sizes: list[Sizes]

    def until(self, hours: float) -> None:
        """Let the day go on to this hour, measuring every one and a half."""
        while self.clock.elapsed < timedelta(hours=hours):
            assert self.day.failed == []
            if not self.sizes or self.clock.elapsed - timedelta(hours=self.sizes[-1].hours) > timedelta(hours=1.5):
                self.sizes.append(measure(self.home, self.instance, self.clock.elapsed / timedelta(hours=1)))
                print(self.sizes[-1].words, dict(self.day.counts), flush=True)  # noqa: T201
            self.day.over.wait(1)

    def unfinished(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_RUN_STATUSES)))

    def kill_a_run(self) -> str:
        """SIGKILL to the first run that has a process of its own; its id."""
        killed: list[str] = []

        def found() -> bool:
            for run in self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
                process = run.tags.get(PROCESS_TAG)
                if process and is_alive(process):
                    os.kill(int(process.rsplit(":", 2)[1]), signal.SIGKILL)
                    killed.append(run.run_id)
                    return True
            return False

        wait(found, seconds=240, every=0.05)
        return killed[0]

    def is_settled(self) -> bool:
        """Everything is read, made and sent."""
        today = utc_now().date()
        status = self.store.overview.status(WorkRules(), first=today - timedelta(days=10), last=today, now=utc_now())
        return (
            status.punches == len(self.day.truth)
            and not status.stale
            and set(status.deliveries) <= {"delivered", "superseded"}
        )


def test_a_day_of_faults_and_kills_leaves_everything_right_and_nothing_behind(
    home: Path, home_store: Store, tmp_path: Path
) -> None:
    clock = FastClock(utc_now() - timedelta(hours=27), utc_now(), DAY / timedelta(seconds=SECONDS))
    with (
        company(clock.begin) as (workforce, fleet, narrow),
        listening() as channel,
        CrmReceiver(token=CRM_TOKEN) as crm,
        dg.DagsterInstance.get() as instance,
    ):
        register(home_store, workforce, fleet)
        day = BadDay(fleet, workforce, clock, narrow, SEED)
        crm.fault_rule = bad_crm(clock, day.counts, seed=SEED)
        how = environment(workforce, crm, channel) | dict(clock.environ(tmp_path / "site"))
        soak = Soak(home, home_store, instance, clock, day, [])
        living = threading.Thread(target=day.live)
        living.start()
        try:
            with serving_ui(home, ["up"], tmp_path / "up-1.log", **how) as ui:
                soak.until(7)
                killed = soak.kill_a_run()
                soak.until(11)
                (daemon,) = [pid for pid, words in processes_of(home).items() if "zk_pipeline.runs.daemon run" in words]
                os.kill(daemon, signal.SIGKILL)
                assert ui.process.wait(90) == 1, "up ends with its daemon, and systemd starts it again"
                assert "the daemon ended with code -9" in ui.output.read_text()
                wait(lambda: not processes_of(home), seconds=60)
            soak.until(12)
            with serving_ui(home, ["up"], tmp_path / "up-2.log", **how) as ui:
                soak.until(24)
                day.over.set()
                living.join()
                wait(soak.is_settled, seconds=420)
                execute(home_store, "UPDATE devices SET enabled = false")  # so that polls, too, come to an end
                wait(lambda: not soak.unfinished(), seconds=120)
                soak.sizes.append(measure(home, instance, clock.elapsed / timedelta(hours=1)))
                ui.process.send_signal(signal.SIGINT)
                assert ui.process.wait(90) == 0
        finally:
            day.over.set()
            living.join()
            tell(soak, crm, channel)
        assert day.failed == []
        agrees(soak, crm, narrow)
        nothing_is_left(soak, killed)
        stays_small(soak)
        assert len(channel.alerts) < 60, "a day of trouble, and never a storm"


def tell(soak: Soak, crm: CrmReceiver, channel: Channel) -> None:
    runs = Counter((run.job_name, run.status.value) for run in soak.instance.get_runs())
    print("", *(one.words for one in soak.sizes), sep="\n")  # noqa: T201
    print(dict(runs), dict(soak.day.counts), f"{len(crm.ledger.latest())} days at the CRM")  # noqa: T201
    print(f"{len(channel.alerts)} alerts:", *channel.titles, sep="\n  ")  # noqa: T201


def agrees(soak: Soak, crm: CrmReceiver, narrow: str) -> None:
    truth = soak.day.truth
    held = {
        (name, *row)
        for name in soak.day.fleet.names
        for row in soak.day.fleet.terminal(name)
        .punches()[["user_id", "punched_at_local"]]
        .itertuples(index=False, name=None)
    }
    forgotten = [
        one for one in truth if one.device == narrow and (one.device, one.user_id, one.punched_at_local) not in held
    ]
    assert forgotten, "the full log dropped records, all of which had been read"
    assert len(held) + len(forgotten) == len(truth)
    latest, anomalies = crm.ledger.latest(), crm.ledger.anomalies
    checks = [
        check_punches(len(truth), truth, soak.store),
        check_days(truth, soak.store),
        check_crm(latest, anomalies, soak.store),
    ]
    print(*checks, sep="\n")  # noqa: T201
    assert [check for check in checks if not check.agrees] == []


def nothing_is_left(soak: Soak, killed: str) -> None:
    assert processes_of(soak.home) == {}
    assert soak.unfinished() == []
    run = soak.instance.get_run_by_id(killed)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    store = Store(Database(soak.store.database.path, wait_seconds=1))
    with single_instance(soak.home), acquire_sync_lock(store.database.path), store.database.maintenance("soak"):
        pass
    assert command(["doctor"]) == 0


def stays_small(soak: Soak) -> None:
    """Memory stops growing once everything has been imported and done once; disk grows by runs, and they can go."""
    second = [one for one in soak.sizes if one.hours > 17]  # `up` was started again at 12
    first, last = second[0], second[-1]
    for name in ("daemon", "code server", "web server"):
        assert last.memory[name] - first.memory[name] < 50, [one.words for one in second]
    assert (last.dagster_mb - first.dagster_mb) / (last.runs - first.runs) < 0.6, "megabytes for each run"
    assert last.store_mb < 60

    old = find_old_runs(soak.instance, Names(), before=utc_now() + timedelta(days=1), limit=10_000)
    delete_runs(soak.instance, old.removable)
    files = len(list((soak.home / "history" / "runs").glob("*.db")))
    after = measure(soak.home, soak.instance, 0)
    print(f"after the clean-up: {after.runs} runs, {files} files, dagster {after.dagster_mb:.1f} MB")  # noqa: T201
    assert old.kept == after.runs < 60
    assert files <= after.runs + 2  # the index, and what a process that was killed left
