"""Two sites with a worker each: real PostgreSQL, Redis, Celery, processes and wire protocol; only the hosts are one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from zk_pipeline.config.settings import VARIABLES, load_settings
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG, UNFINISHED_RUN_STATUSES
from zk_pipeline.demo.verification import TruePunch, true_punches
from zk_pipeline.demo.walkthrough import Walkthrough, comm_key_variable
from zk_pipeline.runs.launcher import Launcher, RunResult, open_launcher
from zk_pipeline.simulator.company.workforce import Workforce, generate
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.push.fleet import PushFleet
from zk_pipeline.simulator.terminal.faults import Faults, HangAt
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline.store.store import utc_now
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.demo.dagster_ui import Ui, serving_ui
from zk_pipeline_tests.demo.demo_fixtures import environ
from zk_pipeline_tests.many_hosts import CELERY_YAML, broker_variables, replaced, storage_variables
from zk_pipeline_tests.postgres import Postgres
from zk_pipeline_tests.waiting import until

SOONER = {"poll_interval_seconds: 30": "poll_interval_seconds: 5"}  # the monitoring looks
GATES = ("head-office-gate-1", "head-office-gate-2", "warehouse")
wait = partial(until, seconds=120, every=1.0)


@dataclass
class Hosts:
    """What runs, and what it works on."""

    ui: Ui
    launcher: Launcher
    show: Walkthrough
    truth: list[TruePunch]
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.show.settings.home

    def start_worker(self, queue: str) -> None:
        command = [sys.executable, "-m", "zk_pipeline", "worker", "--queue", queue]
        with self.log_of(queue).open("ab") as log:
            said = self.log_of(queue).stat().st_size
            self.workers[queue] = subprocess.Popen(
                command, env=environ(self.home, **_of_ours()), stdout=log, stderr=log, start_new_session=True
            )
        wait(lambda: b" ready." in self.log_of(queue).read_bytes()[said:])

    def kill_worker(self, queue: str) -> None:
        """At once, with all it does: as when the machine loses power."""
        worker = self.workers.pop(queue)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def log_of(self, queue: str) -> Path:
        return self.home / f"worker-{queue}.log"

    def runs(self, queue: str) -> list[dg.DagsterRun]:
        """The polls of a queue, oldest first."""
        return self.runs_of("poll_devices", {QUEUE_TAG: queue})

    def runs_of(self, job: str, tags: dict[str, str] | None = None) -> list[dg.DagsterRun]:
        return list(reversed(self.launcher.instance.get_runs(dg.RunsFilter(job_name=job, tags=tags or {}))))

    def is_idle(self) -> bool:
        return not self.launcher.instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED_RUN_STATUSES))

    def done_by(self, run: dg.DagsterRun) -> list[str]:
        """The queues whose workers were given the run."""
        task = run.tags[DAGSTER_CELERY_TASK_ID_TAG]
        logs = sorted(self.home.glob("worker-*.log"))
        return [log.stem.removeprefix("worker-") for log in logs if task in log.read_text()]

    def has_delivered_all(self) -> bool:
        """Every punch is stored, every date made from all of them, every day with the CRM."""
        store = self.show.store
        stored = len(list(store.audit.punches()))
        stale = store.days.stale(first=date.min, last=date.max)
        return stored == len(self.truth) and not stale and store.deliveries.states().keys() == {"delivered"}

    def is_stored(self, device: str) -> bool:
        return any(stored[0] == device for stored in self.show.store.audit.punches())


def _of_ours() -> dict[str, str]:
    """Settings of this test, which `environ` otherwise leaves out."""
    return {name: os.environ[name] for name in (*VARIABLES, "DAGSTER_HOME") if name in os.environ}


@contextmanager
def open_hosts(
    home: Path, folder: Path, workforce: Workforce, changes: dict[str, str], **variables: str
) -> Iterator[Hosts]:
    """A daemon and no worker yet, on the shipped `dagster.yaml` with `changes`; what it asks for is exported."""
    home.mkdir()
    (home / "dagster.yaml").write_text(replaced(CELERY_YAML.read_text(), changes))
    truth = workforce.truth()
    exported = {
        "DAGSTER_HOME": str(home),
        "POLL_QUEUES": "*={site}",
        "POLLING_INTERVAL_MINUTES": "1440",  # polls are asked for here
        "SENSOR_INTERVAL_SECONDS": "300",
        "ZKTECO_TIMEOUT": "600",
        "ZKTECO_POLL_DEADLINE": "600",
        "CRM_API_TOKEN": CRM_TOKEN,
        "ZK_PIPELINE_HISTORY_START": truth["punched_at_local"].min().date().isoformat(),
        **{comm_key_variable(one.name): str(one.comm_key) for one in workforce.terminals if one.comm_key},
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        Fleet.serve(workforce.emulated_terminals()) as fleet,
        PushFleet([]) as pushing,
        CrmReceiver(token=CRM_TOKEN) as crm,
    ):
        for name, value in {**exported, "CRM_API_URL": crm.url, **variables}.items():
            patch.setenv(name, value)
        settings = load_settings()
        show = Walkthrough(settings, workforce, fleet, pushing, crm, say=lambda _: None)
        show.register()
        with (
            open_launcher(settings) as launcher,
            serving_ui(home, ["up"], folder / "up.log", **_of_ours()) as ui,
        ):
            hosts = Hosts(ui, launcher, show, true_punches(truth))
            try:
                yield hosts
            finally:
                for queue in list(hosts.workers):
                    hosts.kill_worker(queue)


@pytest.fixture(params=["file", "shared"])
def servers(
    request: pytest.FixtureRequest, postgres: Postgres, redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their addresses, exported. The store is a file, which workers of one host can share, or itself in PostgreSQL."""
    for name, value in {**storage_variables(postgres), **broker_variables(redis)}.items():
        monkeypatch.setenv(name, value)
    if request.param == "shared":
        address = f"ducklake:postgres:{postgres.fresh_database()};data={tmp_path / 'parquet'}"
        monkeypatch.setenv("ZK_PIPELINE_DATABASE", address)


@pytest.fixture
def hosts(bare_home: Path, servers: None, tmp_path: Path) -> Iterator[Hosts]:  # noqa: ARG001 (exported)
    """Twelve users and three terminals; run monitoring looks every five seconds."""
    workforce = generate(devices=3, employees=12, days=7, seed=3, until=utc_now())
    assert tuple(one.name for one in workforce.terminals) == GATES
    with open_hosts(bare_home, tmp_path, workforce, SOONER) as opened:
        yield opened


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_in_the_middle_loses_nothing_doubles_nothing_and_holds_up_no_other_site(
    hosts: Hosts,
) -> None:
    fleet, instance = hosts.show.fleet, hosts.launcher.instance
    for queue in ("head-office", "warehouse"):
        hosts.start_worker(queue)
    fleet.inject(GATES[1], HangAt(Command.CMD_DATA_WRRQ))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(hosts.launcher.poll, GATES, GATES)
        wait(lambda: hosts.is_stored(GATES[0]) and hosts.is_stored(GATES[2]))
        wait(lambda: [run.status for run in hosts.runs("warehouse")] == [dg.DagsterRunStatus.SUCCESS])
        assert [run.status for run in hosts.runs("head-office")] == [dg.DagsterRunStatus.STARTED]
        assert not hosts.is_stored(GATES[1])

        hosts.kill_worker("head-office")
        fleet.inject(GATES[1], Faults())
        hosts.start_worker("head-office")
        killed, well = asked.result(120)
    assert killed.failure is not None
    by_monitoring, by_host = "was killed and restarted", "exited unexpectedly"
    assert by_monitoring in killed.failure or by_host in killed.failure, "run monitoring or a process of the same host"
    assert killed.failure.endswith("(the daemon retries the run)")
    assert (well.failure, sorted(well.partitions)) == (None, [GATES[2]])

    wait(lambda: len(hosts.runs("head-office")) == 2 and hosts.is_idle())
    first, again = hosts.runs("head-office")
    assert (first.run_id, first.status) == (killed.run_id, dg.DagsterRunStatus.FAILURE)
    assert (again.parent_run_id, again.status) == (killed.run_id, dg.DagsterRunStatus.SUCCESS)

    hosts.ui.launch("poll_devices", {"dagster/partition": GATES[2]})  # as the UI does it
    wait(lambda: len(hosts.runs("warehouse")) == 2 and hosts.is_idle())
    for queue in ("head-office", "warehouse"):
        assert [hosts.done_by(run) for run in hosts.runs(queue)] == [[queue], [queue]]

    summary = hosts.show.run(hosts.launcher, hosts.truth)
    assert summary.agrees, summary.checks
    assert summary.punches_new == 0, "all was stored before"
    assert len(list(hosts.show.store.audit.punches())) == len(hosts.truth)
    assert instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])) == 1


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_polls_of_a_site_whose_worker_is_away_wait_fail_in_words_and_do_not_pile_up(
    bare_home: Path,
    servers: None,  # noqa: ARG001 (exported)
    tmp_path: Path,
) -> None:
    changes = {
        **SOONER,
        "start_timeout_seconds: 600": "start_timeout_seconds: 20",
        "expires: 600": "expires: 20",
    }
    workforce = generate(devices=3, employees=12, days=7, seed=3, until=utc_now())
    with open_hosts(bare_home, tmp_path, workforce, changes) as hosts:
        hosts.start_worker("warehouse")
        away, well = hosts.launcher.poll(GATES, GATES)
        assert well.failure is None
        assert away.failure is not None
        assert "longer than 20 seconds to start" in away.failure
        assert "Workers that consume its queue head-office: none." in away.failure
        wait(lambda: len(hosts.runs("head-office")) == 2 and hosts.is_idle())  # and the once more
        why = [_why(hosts, run) for run in hosts.runs("head-office")]
        assert all("Workers that consume its queue head-office: none." in words for words in why)

        hosts.start_worker("head-office")
        here, _ = hosts.launcher.poll(GATES, GATES)
        assert here.failure is None
        assert hosts.log_of("head-office").read_text().count("Discarding revoked task") == 2
        assert [hosts.done_by(run) for run in hosts.runs("head-office")][-1] == ["head-office"]
        assert hosts.show.run(hosts.launcher, hosts.truth).agrees


@pytest.mark.stress
@pytest.mark.timeout(1500)
def test_workers_killed_again_and_again_lose_nothing_and_double_nothing(
    bare_home: Path,
    servers: None,  # noqa: ARG001 (exported)
    tmp_path: Path,
) -> None:
    """Ten kills of either worker at any point, while users punch."""
    workforce = generate(devices=3, employees=60, days=20, seed=5, until=utc_now())
    kills = 10
    with open_hosts(bare_home, tmp_path, workforce, SOONER) as hosts:
        for queue in ("head-office", "warehouse"):
            hosts.start_worker(queue)
        ended: list[RunResult] = []
        with ThreadPoolExecutor(1) as pool:
            for number in range(kills):
                queue = ("head-office", "warehouse")[number % 2]
                before = len(hosts.runs(queue))
                asked = pool.submit(hosts.launcher.poll, GATES, GATES, full=True)
                until(partial(_has_begun, hosts, queue, before), seconds=120, every=0.1)
                hosts.kill_worker(queue)
                hosts.start_worker(queue)
                ended += asked.result(180)
                wait(hosts.is_idle)
        lost = [one for one in ended if one.failure]
        assert lost, "no kill struck a run"
        sys.stdout.write(f"{kills} kills struck {len(lost)} of {len(ended)} polls\n")
        unexpected = [one.failure for one in lost if not re.search("was killed|interrupted", str(one.failure))]
        assert not unexpected
        summary = hosts.show.run(hosts.launcher, hosts.truth)
        assert summary.agrees, summary.checks
        assert len(list(hosts.show.store.audit.punches())) == len(hosts.truth)


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_by_schedules_and_sensors_alone_everything_is_done_by_the_workers_it_is_for(
    bare_home: Path,
    servers: None,  # noqa: ARG001 (exported)
    tmp_path: Path,
) -> None:
    """Terminals by those of their site, days and CRM by the one of the queue `dagster`."""
    workforce = generate(devices=3, employees=12, days=7, seed=3, until=utc_now())
    often = {"POLLING_INTERVAL_MINUTES": "1", "CRM_SYNC_INTERVAL_MINUTES": "1", "SENSOR_INTERVAL_SECONDS": "15"}
    with open_hosts(bare_home, tmp_path, workforce, SOONER, **often) as hosts:
        for queue in ("dagster", "head-office", "warehouse"):
            hosts.start_worker(queue)
        wait(hosts.has_delivered_all, seconds=300)
        for queue in ("head-office", "warehouse"):
            assert {tuple(hosts.done_by(run)) for run in hosts.runs(queue)} == {(queue,)}
        for job in ("process_attendance", "sync_to_crm"):
            assert {tuple(hosts.done_by(run)) for run in hosts.runs_of(job)} == {("dagster",)}
        wait(hosts.is_idle)
        summary = hosts.show.run(hosts.launcher, hosts.truth)
        assert summary.agrees, summary.checks
        assert summary.punches_new == 0


def _has_begun(hosts: Hosts, queue: str, before: int) -> bool:
    # Also a run that started and ended between two calls.
    return any(run.status is dg.DagsterRunStatus.STARTED or run.is_finished for run in hosts.runs(queue)[before:])


def _why(hosts: Hosts, run: dg.DagsterRun) -> str:
    (entry,) = hosts.launcher.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    return str(entry.get_dagster_event().message)
