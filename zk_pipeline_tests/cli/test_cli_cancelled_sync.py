"""A sync that is told to end: what is under way is drained and settled, and the next one repeats nothing."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.defs.dead_runs import PROCESS_TAG
from zk_pipeline.defs.partitions import range_tags
from zk_pipeline.simulator.crm_misbehaviour import Trouble, any_of, whenever
from zk_pipeline.simulator.crm_receiver import CrmReceiver
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_bench import CommandLine
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.crm.matrix.crm_judge import CRM_COUNTS
from zk_pipeline_tests.demo.dagster_ui import serving_ui
from zk_pipeline_tests.store.store_bench import MONDAY, device, ingest, on, process, rows
from zk_pipeline_tests.waiting import until

PEOPLE = 300
SLOW = Trouble(delay_before=0.03)


@pytest.fixture
def due(home_store: Store, crm: CrmReceiver) -> Store:
    """PEOPLE days of one Monday, due at a CRM that takes its time."""
    home_store.devices.add(device("Gate"))
    people = (f"U{number:04}" for number in range(PEOPLE))
    ingest(home_store, "Gate", *(punch for user in people for punch in on(MONDAY, "09:00", "18:00", user_id=user)))
    process(home_store, MONDAY)
    assert home_store.deliveries.states() == {"pending": PEOPLE}
    crm.misbehave = lambda _: SLOW
    return home_store


def assert_settled_and_nothing_repeated_by_the_next(due: Store, crm: CrmReceiver, zk: CommandLine) -> None:
    states = due.deliveries.states()
    assert set(states) == {"delivered", "pending"}, states
    applied = {user for user, _ in crm.ledger.latest()}
    held = rows(due, "SELECT user_id FROM crm_deliveries WHERE state = 'delivered'")
    assert {user for (user,) in held} == applied
    assert 50 <= len(applied) < PEOPLE
    assert rows(due, "SELECT count(*) FROM crm_attempts WHERE verdict = 'delivered'") == [(len(applied),)]
    crm.misbehave = lambda _: None
    assert zk("sync", "--json").json["delivered"] == PEOPLE - len(applied)
    assert set(crm.ledger.attempts.values()) == {1}
    assert len(crm.ledger.latest()) == PEOPLE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_end_settles_what_it_sent(
    due: Store,
    crm: CrmReceiver,
    zk: CommandLine,
    number: signal.Signals,
    record_property: Callable[[str, object], None],
) -> None:
    command = [sys.executable, "-m", "zk_pipeline", "sync"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            until(lambda: crm.posts >= 50 or running.poll() is not None, seconds=60)
            told = time.monotonic()
            running.send_signal(number)
            out, err = running.communicate(timeout=30)
            record_property(CRM_COUNTS, f"{number.name}: ended {time.monotonic() - told:.1f} s later")
        finally:
            running.kill()
    assert "Traceback" not in out + err
    assert "starts it once more" not in err
    assert running.returncode == 128 + number
    told_of = dict(line.split() for line in out.splitlines())
    assert told_of["delivered"] == str(due.deliveries.states()["delivered"])
    assert_settled_and_nothing_repeated_by_the_next(due, crm, zk)


def test_a_request_that_hangs_does_not_hold_up_the_end(
    due: Store, crm: CrmReceiver, record_property: Callable[[str, object], None]
) -> None:
    crm.misbehave = any_of(whenever(lambda r: "U0010" in r.user_ids, Trouble(delay_after=60)), lambda _: SLOW)
    with subprocess.Popen([sys.executable, "-m", "zk_pipeline", "sync"], stderr=subprocess.PIPE) as running:
        try:
            until(lambda: crm.posts >= 50 or running.poll() is not None, seconds=60)
            told = time.monotonic()
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=30)  # the request's own time would be up after 30 s more
            record_property(CRM_COUNTS, f"ended {time.monotonic() - told:.1f} s later")
        finally:
            running.kill()
    assert "sending" not in due.deliveries.states()
    waiting = "SELECT user_id, attempts, rounds, last_status FROM crm_deliveries WHERE last_error IS NOT NULL"
    assert rows(due, waiting) == [("U0010", 0, 0, None)]
    assert due.deliveries.states().keys() == {"delivered", "pending"}


@pytest.mark.timeout(240)
def test_a_run_of_the_daemon_that_is_told_to_end_settles_what_it_sent(
    home: Path, due: Store, crm: CrmReceiver, zk: CommandLine, tmp_path: Path
) -> None:
    environment = {"CRM_API_URL": crm.url, "CRM_API_TOKEN": CRM_TOKEN, "CRM_SYNC_INTERVAL_MINUTES": "1440"}
    with serving_ui(home, ["up"], tmp_path / "up.log", **environment) as ui:
        ui.launch("sync_to_crm", range_tags(str(MONDAY), str(MONDAY)))
        until(lambda: crm.posts >= 50, seconds=120)
        with dg.DagsterInstance.get() as instance:
            (run,) = instance.get_runs(dg.RunsFilter(job_name="sync_to_crm"))
            os.kill(int(run.tags[PROCESS_TAG].rsplit(":", 2)[1]), signal.SIGTERM)
        until(lambda: not any(one.status in ("STARTED", "CANCELING") for one in ui.runs()), seconds=60)
    assert_settled_and_nothing_repeated_by_the_next(due, crm, zk)


FEW, MANY = 20, 8  # people who are due in a sweep, and the default number of requests at a time
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Told:
    """A command that was sent a signal: `after` so many seconds from the first line of the package that it ran."""

    number: signal.Signals
    after: float
    code: int
    out: str
    err: str
    seconds: float  # until it ended

    def faults(self) -> list[str]:
        """What is not as documented: exit code, one line of why, nothing of the inside."""
        lines = [line for line in self.err.splitlines() if line]
        found = []
        # A signal in the last moments of the interpreter, after the results, kills: a shell shows the same code.
        if self.code != 128 + self.number and not (self.code == -self.number and self.out):
            found.append(f"exit code {self.code}")
        if self.code > 0 and not (lines and lines[0].endswith("interrupted")):
            found.append("no line says so")
        if any(not line.startswith("zk-pipeline: ") for line in lines) or "Traceback" in self.out:
            found.append("a library speaks")
        return [f"{self.number.name} after {self.after:.2f} s: {one}: {self.err[-1500:]}" for one in found]


def is_ready(running: subprocess.Popen[str]) -> bool:
    """Whether its interpreter has begun with the package, which then handles SIGTERM."""
    status = Path(f"/proc/{running.pid}/status").read_text()
    found = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return running.poll() is not None or bool(found and int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


def told(command: list[str], home: Path, number: signal.Signals | None, after: float, **variables: str) -> Told:
    """Run a command in `home`, send it the signal, and wait for its end; `after` is less where it ended before."""
    environ = {**os.environ, "ZK_PIPELINE_HOME": str(home), "DAGSTER_HOME": str(home), **variables}
    with subprocess.Popen(
        [sys.executable, "-m", "zk_pipeline", *command],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            until(lambda: is_ready(running), seconds=60)
            began = time.monotonic()
            if number is not None:
                time.sleep(after)
                running.send_signal(number)
            sent = time.monotonic()
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()
    ended = time.monotonic()
    return Told(
        number or SIGNALS[0], ended - began if number is None else after, running.returncode, out, err, ended - sent
    )


def runs_left_open(home: Path) -> list[str]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return [f"run {run.run_id} is {run.status.value}" for run in instance.get_runs() if not run.is_finished]


@pytest.fixture
def few_due(home: Path, home_store: Store) -> Path:
    """A home in which FEW days are due, to be copied."""
    home_store.devices.add(device("Gate"))
    people = (f"U{number:04}" for number in range(FEW))
    ingest(home_store, "Gate", *(punch for user in people for punch in on(MONDAY, "09:00", "18:00", user_id=user)))
    process(home_store, MONDAY)
    return home


def sweep_sync(few_due: Path, instants: int, tmp_path: Path, seed: int, tell: Callable[[str, object], None]) -> None:
    """Send a signal to `sync` at so many instants between start and end; record how it ended."""
    rng = random.Random(seed)
    faults: list[str] = []
    codes: Counter[str] = Counter()
    slowest = whole = 0.0
    for instant in range(-1, instants):  # the first is not sent any, and tells how long it takes
        mine = tmp_path / f"home-{instant}"
        shutil.copytree(few_due, mine)
        with CrmReceiver(token=CRM_TOKEN, misbehave=lambda _: Trouble(delay_before=1.0)) as receiver:
            variables = {"CRM_API_URL": receiver.url, "CRM_API_TOKEN": CRM_TOKEN}
            number = None if instant < 0 else SIGNALS[instant % 2]
            ended = told(["sync"], mine, number, rng.uniform(0.0, whole), **variables)
            applied = {user for user, _ in receiver.ledger.latest()}
        if number is None:
            assert ended.code == 0, ended
            whole = ended.after
            continue
        store = Store.at(mine / "data" / "attendance.duckdb")
        held = {user for (user,) in rows(store, "SELECT user_id FROM crm_deliveries WHERE state = 'delivered'")}
        problems = ended.faults() + runs_left_open(mine)
        if held != applied or store.deliveries.states().keys() - {"delivered", "pending"}:
            problems.append(f"{store.deliveries.states()}, and the CRM has {len(applied)}")
        if ended.code == 0 and len(applied) == FEW and ended.seconds < 1:
            problems = []  # it had ended before the signal came
            codes["ended before"] += 1
        else:
            codes[f"{number.name} {ended.code}"] += 1
            slowest = max(slowest, ended.seconds)
        faults += problems
        shutil.rmtree(mine)
    words = f"{instants} signals to a sync of {whole:.1f} s (seed {seed}): {dict(codes)}, {len(faults)} faults"
    tell(CRM_COUNTS, f"{words}, ended {slowest:.1f} s later at most")
    assert not faults, "\n".join(faults)


@pytest.mark.timeout(240)
def test_a_signal_at_any_moment_ends_a_sync_as_documented(
    few_due: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    sweep_sync(few_due, 4, tmp_path, random.randrange(10_000), record_property)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_signals_at_many_moments_end_a_sync_as_documented(
    few_due: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    sweep_sync(few_due, 60, tmp_path, random.randrange(10_000), record_property)
