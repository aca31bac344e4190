"""SIGINT and SIGTERM at any moment of a command: exit code 130 or 143, one line of output, consistent state."""

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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.simulator.crm.faults import Fault
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.conftest import CRM_TOKEN
from zk_pipeline_tests.crm.matrix.crm_judge import CRM_COUNTS
from zk_pipeline_tests.gates import MONDAY as MONDAY_OF_GATES
from zk_pipeline_tests.gates import gate, present, switch_on
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, ingest, on, process, rows
from zk_pipeline_tests.waiting import until

FEW = 20  # users with due deliveries; 8 requests of one second each in parallel
SIGNALS = (signal.SIGINT, signal.SIGTERM)
IN_TIME = 0.9  # of the duration that one run had; the next may be shorter
SYNC_SECONDS = 3.5  # a sync takes longer: FEW records in three rounds of a second each, after its start


@dataclass(frozen=True)
class Ended:
    """A command that got a signal `after` seconds from the first line of the package."""

    number: signal.Signals
    after: float
    code: int
    out: str
    err: str
    seconds: float  # until the exit

    @property
    def came_too_late(self) -> bool:
        """Whether the work was done and the interpreter was exiting or had exited."""
        return (self.code, self.err) == (0, "") and self.seconds < 2

    def faults(self) -> list[str]:
        """Differences from the documentation: exit code, one line of output, no traceback."""
        lines = [line for line in self.err.splitlines() if line]
        found = []
        if self.code != 128 + self.number:
            found.append(f"exit code {self.code}")
        if not (lines and lines[0].endswith("interrupted")):
            found.append("no line says so")
        if any(not line.startswith("zk-pipeline: ") for line in lines) or "Traceback" in self.out:
            found.append("a library speaks")
        return [f"{self.number.name} after {self.after:.2f} s: {one}: {self.err[-1500:]}" for one in found]


def is_ready(running: subprocess.Popen[str]) -> bool:
    """Whether the interpreter runs the package, which then handles SIGTERM."""
    status = Path(f"/proc/{running.pid}/status").read_text()
    found = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return running.poll() is not None or bool(found and int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


def run_and_signal(
    command: list[str], home: Path, number: signal.Signals | None, after: float, **variables: str
) -> Ended:
    """Run a command in `home`, send the signal, and wait for the exit; `after` is less if it exited before."""
    environ = {**os.environ, "ZK_PIPELINE_HOME": str(home), "DAGSTER_HOME": str(home), **variables}
    with subprocess.Popen(
        [sys.executable, "-m", "zk_pipeline", *command],
        env=environ,
        cwd=home,
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
    return Ended(
        number or SIGNALS[0], ended - began if number is None else after, running.returncode, out, err, ended - sent
    )


def runs_left_open(home: Path) -> list[str]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        return [f"run {run.run_id} is {run.status.value}" for run in instance.get_runs() if not run.is_finished]


@pytest.fixture
def few_due(home: Path, home_store: Store) -> Path:
    """A home with FEW due deliveries, to be copied."""
    home_store.devices.add(device("Gate"))
    users = (f"U{number:04}" for number in range(FEW))
    ingest(home_store, "Gate", *(punch for user in users for punch in on(MONDAY, "09:00", "18:00", user_id=user)))
    process(home_store, MONDAY)
    return home


def sweep_sync(few_due: Path, instants: int, tmp_path: Path, seed: int, record: Callable[[str, object], None]) -> None:
    """Send a signal to `sync` in each of so many parts of SYNC_SECONDS; record the outcomes."""
    rng = random.Random(seed)
    faults: list[str] = []
    codes: Counter[str] = Counter()
    slowest = 0.0
    for instant in range(instants):
        mine = tmp_path / f"home-{instant}"
        shutil.copytree(few_due, mine)
        with CrmReceiver(token=CRM_TOKEN, fault_rule=lambda _: Fault(delay_before=1.0)) as receiver:
            variables = {"CRM_API_URL": receiver.url, "CRM_API_TOKEN": CRM_TOKEN}
            number = rng.choice(SIGNALS)
            after = SYNC_SECONDS * (instant + rng.random()) / instants
            ended = run_and_signal(["sync"], mine, number, after, **variables)
            applied = {user for user, _ in receiver.ledger.latest()}
        store = Store.at(mine / "data" / "attendance.duckdb")
        delivered = {user for (user,) in rows(store, "SELECT user_id FROM crm_deliveries WHERE state = 'delivered'")}
        problems = ended.faults() + runs_left_open(mine)
        if delivered != applied or store.deliveries.states().keys() - {"delivered", "pending"}:
            problems.append(f"{store.deliveries.states()}, and the CRM has {len(applied)}")
        if ended.came_too_late and len(applied) == FEW:
            problems = []
            codes["too late"] += 1
        else:
            codes[f"{number.name} {ended.code}"] += 1
            slowest = max(slowest, ended.seconds)
        faults += problems
        shutil.rmtree(mine)
    summary = f"{instants} signals to a sync (seed {seed}): {dict(codes)}, {len(faults)} faults"
    record(CRM_COUNTS, f"{summary}, ended {slowest:.1f} s later at most")
    assert not faults, "\n".join(faults)


@pytest.mark.timeout(240)
def test_a_signal_at_any_moment_ends_a_sync_as_documented(
    few_due: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    sweep_sync(few_due, 1, tmp_path, random.randrange(10_000), record_property)


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_signals_at_many_moments_end_a_sync_as_documented(
    few_due: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    sweep_sync(few_due, 60, tmp_path, random.randrange(10_000), record_property)


COMMANDS = {
    "poll": ["poll", "--full"],
    "process": ["process", "--date", str(MONDAY_OF_GATES)],
    "cleanup": ["cleanup"],
    "export": ["export", "raw", "-o", "punches.csv"],
    "backup": ["backup"],
    "test-device": ["test-device"],
}


@pytest.fixture
def gates(fleet: Fleet, home: Path, home_store: Store) -> Path:
    """A home with two terminals with punches, to be copied."""
    switch_on(fleet, home_store, gate("North", *present(MONDAY_OF_GATES, "1001")))
    switch_on(fleet, home_store, gate("South", *present(MONDAY_OF_GATES, "1002")))
    return home


def sweep_command(name: str, home: Path, instants: int, tmp_path: Path, record: Callable[[str, object], None]) -> None:
    """Send a signal to a command at so many instants between start and end; record the outcomes."""
    seed = random.randrange(10_000)
    rng = random.Random(seed)
    faults: list[str] = []
    codes: Counter[str] = Counter()
    whole = 0.0
    for instant in range(-1, instants):
        mine = tmp_path / f"{name}-{instant}"
        shutil.copytree(home, mine)
        number = None if instant < 0 else rng.choice(SIGNALS)
        ended = run_and_signal(COMMANDS[name], mine, number, rng.uniform(0.0, IN_TIME * whole))
        if number is None:
            assert ended.code == 0, ended
            whole = ended.after
            continue
        codes["too late" if ended.came_too_late else f"{number.name} {ended.code}"] += 1
        faults += [] if ended.came_too_late else ended.faults()
        faults += runs_left_open(mine)
        faults += [f"left {part}" for part in mine.rglob("*.part")]
        Store.at(mine / "data" / "attendance.duckdb").deliveries.states()
        shutil.rmtree(mine)
    record(
        CRM_COUNTS, f"{instants} signals to {name} of {whole:.1f} s (seed {seed}): {dict(codes)}, {len(faults)} faults"
    )
    assert not faults, "\n".join(faults)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "name", ["export", *(pytest.param(name, marks=pytest.mark.matrix) for name in ("poll", "process"))]
)
def test_a_signal_at_any_moment_ends_a_command_as_documented(
    name: str, gates: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    sweep_command(name, gates, 1, tmp_path, record_property)


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COMMANDS)
def test_signals_at_many_moments_end_a_command_as_documented(
    name: str, gates: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    sweep_command(name, gates, 12, tmp_path, record_property)


def processes_of(home: Path) -> list[str]:
    """Processes whose environment names the home."""
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"ZK_PIPELINE_HOME={home}".encode() in (one / "environ").read_bytes().split(b"\0"):
                found.append(one.name)
    return found


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_signals_at_many_moments_end_all_processes_of_up(
    home: Path, home_store: Store, record_property: Callable[[str, object], None]
) -> None:
    assert home_store.deliveries.states() == {}
    codes: Counter[str] = Counter()
    faults: list[str] = []
    for instant in range(10):
        number = SIGNALS[instant % 2]
        ended = run_and_signal(["up", "--port", str(free_port())], home, number, random.uniform(0.0, 12.0))
        codes[f"{number.name} {ended.code}"] += 1
        if ended.code not in (0, 128 + number) or "Traceback" in ended.err:
            faults.append(f"{ended.after:.2f} s: {ended.code}: {ended.err[-1500:]}")
        until(lambda: not processes_of(home), seconds=30)
    record_property(CRM_COUNTS, f"10 signals to up: {dict(codes)}, {len(faults)} faults")
    assert not faults, "\n".join(faults)
