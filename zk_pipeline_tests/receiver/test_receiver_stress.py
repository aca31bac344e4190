"""200 terminals push 100,000 punches through lost answers, half bodies, repetitions, a busy store and 50 kills in the
middle of uploads.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.fleet import PushFleet
from zk_pipeline.simulator.push.profiles import PROFILES
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import Punch, TerminalUser, punches_frame
from zk_pipeline.store.push.terminals import Contact
from zk_pipeline.store.store import Store
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.receiver.test_receiver_process import receiving
from zk_pipeline_tests.store.store_fixtures import busy
from zk_pipeline_tests.waiting import until

TERMINALS, PUNCHES_EACH, KILLS = 200, 300, 50
PUNCHES_PER_KILL = 4  # of each terminal
PUNCHES = TERMINALS * (PUNCHES_EACH + KILLS * PUNCHES_PER_KILL)
REACHED_SECONDS = 600
# Where a receiver dies by SIGKILL: the function, before or after it, and at most which of its calls.
INSTANTS = {
    "reading a body": ("zk_pipeline.receiver.app._Exchange.body", "before", 50),
    "before a transaction": ("zk_pipeline.receiver.receiver.UploadWriter.store", "before", 2),
    "before a commit": ("zk_pipeline.store.push.upload_writer.store_uploads", "after", 2),
    "after a commit, before its answers": ("zk_pipeline.receiver.receiver.UploadWriter.store", "after", 2),
    "in the middle of the answers": ("zk_pipeline.receiver.app.ReceiverApp._send", "before", 50),
}
# Starts one receiver after the other as a fork of itself, because importing takes longer than the life of most. Each
# dies at its instant, counted from SIGUSR1 on.
DYING = """
import importlib, os, pkgutil, signal, sys
from zk_pipeline.cli.main import run
importlib.import_module("zk_pipeline.cli.server.receive")
importlib.import_module("zk_pipeline.server.receiver_server")
importlib.import_module("zk_pipeline.store.push.uploads")
port, log, left, is_armed = sys.argv[1], sys.argv[2], 0, False
def arm(*_):
    global is_armed
    is_armed = True
signal.signal(signal.SIGUSR1, arm)
def counted():
    global left
    left -= is_armed
    if is_armed and left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
def receive(target, when):
    owner, _, name = target.rpartition(".")
    owner = pkgutil.resolve_name(owner)
    function = getattr(owner, name)
    def dying(*arguments):
        if when == "before":
            counted()
        result = function(*arguments)
        if when == "after":
            counted()
        return result
    setattr(owner, name, dying)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    run(["receive", "--port", port])
for line in iter(sys.stdin.readline, ""):
    target, when, calls = line.split()
    left = int(calls)
    child = os.fork()
    if child == 0:
        try:
            receive(target, when)
        finally:
            os._exit(1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
FIRST = datetime.fromisoformat("2026-03-02 08:00:00")


def stressed_terminal(number: int, url: str) -> PushingTerminal:
    """A terminal of any firmware, with the faults of its number."""
    users = tuple(TerminalUser(uid=n, user_id=f"{n:04}", name=f"U{n}") for n in range(1, 6))
    definition = TerminalDefinition(name=f"gate-{number:03}", users=users)
    rows = [(f"{1 + n % 5:04}", FIRST + timedelta(seconds=97 * n), 1, n % 2) for n in range(PUNCHES_EACH)]
    profiles = list(PROFILES.values())
    faults = PushFaults(lost_answers=number % 4, unread_answers=number % 3, half_bodies=number % 5)
    if number == 0:
        faults = PushFaults(repeats=220)
    return PushingTerminal(
        definition,
        url,
        profile=profiles[number % len(profiles)],
        log=punches_frame(rows),
        faults=faults,
        batch_lines=500 if number == 0 else random.Random(number).choice([10, 40, 128]),
        timeout_seconds=30,
    )


def adopt_all(store: Store, terminals: list[PushingTerminal]) -> None:
    contacts = [
        Contact(serial_number=one.serial_number, address="127.0.0.1", seen_at=store.clock()) for one in terminals
    ]
    store.push.record_contacts(contacts)
    for one in terminals:
        store.push.adopt(one.serial_number, one.name, timezone="UTC", default_timezone="UTC", site=None, by="test")


class DyingReceivers:
    """Receivers of the home, one after the other, each of which kills itself at an instant."""

    def __init__(self, home: Path, port: int) -> None:
        command = (sys.executable, "-c", DYING, str(port), str(home / "receiver.log"))
        self._parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._pid = 0

    def start(self, instant: str, dice: random.Random) -> None:
        function, when, calls = INSTANTS[instant]
        assert self._parent.stdin is not None
        self._parent.stdin.write(f"{function} {when} {dice.randint(1, calls)}\n")
        self._parent.stdin.flush()
        self._pid = int(self._answer())

    def arm(self) -> None:
        """Let the receiver die when it reaches its instant."""
        os.kill(self._pid, signal.SIGUSR1)

    def exit_code(self) -> int:
        """Wait for its end."""
        code = int(self._answer())
        self._pid = 0
        return code

    def close(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
        self._parent.communicate(timeout=30)

    def _answer(self) -> str:
        assert self._parent.stdout is not None
        return self._parent.stdout.readline()


def record_more(terminals: list[PushingTerminal], kill: int) -> set[tuple[str, str, str]]:
    """Further punches of each terminal, at a kill; returns them as rows."""
    rows = set()
    for terminal in terminals:
        for number in range(PUNCHES_PER_KILL):
            at = FIRST + timedelta(days=30, seconds=97 * (kill * PUNCHES_PER_KILL + number))
            terminal.record(Punch("0001", at, 1, 0))
            rows.add(("0001", str(at), terminal.name))
    return rows


def has_at_most(fleet: PushFleet, count: int) -> bool:
    """True if at most so many punches are not acknowledged."""
    return fleet.pending_count <= count


@pytest.mark.stress
@pytest.mark.timeout(3000)
def test_every_punch_of_200_terminals_is_stored_once(
    home: Path, home_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    port, dice, counts = free_port(), random.Random(26), Counter[str]()
    command = ("-m", "zk_pipeline", "receive", "--port", str(port))
    terminals = [stressed_terminal(number, f"http://127.0.0.1:{port}") for number in range(TERMINALS)]
    held = {(one.punch.user_id, str(one.punch.punched_at_local), terminal.name)
            for terminal in terminals for one in terminal.log.entries}  # fmt: skip
    adopt_all(home_store, terminals)
    began = time.monotonic()
    with (
        closing(DyingReceivers(home, port)) as receivers,
        PushFleet(terminals, delay_seconds=5, error_delay_seconds=0.5, start_within_seconds=20) as fleet,
    ):
        for kill in range(KILLS):
            instant = list(INSTANTS)[kill % len(INSTANTS)]
            receivers.start(instant, dice)
            if dice.random() < 0.2:
                with busy(home_store, "a long run"):
                    time.sleep(dice.uniform(1, 3))  # how long it runs, not a synchronization
                counts["busy store"] += 1
            # The kills are spread evenly over the punches.
            left = len(held) - PUNCHES * (kill + 1) // (KILLS + 1)
            until(partial(has_at_most, fleet, left), seconds=REACHED_SECONDS, every=0.1)
            receivers.arm()
            held |= fleet.call(partial(record_more, terminals, kill))  # uploads that reach the instant
            assert receivers.exit_code() == -signal.SIGKILL
            counts[f"kills {instant}"] += 1
            counts["uploads before a kill"] += (home / "receiver.log").read_text().count('"new"')
        with receiving(home, *command) as (_, _, log):
            with busy(home_store, "longer than the receiver waits"):
                until(lambda: '"status": 503' in log.read_text(), seconds=REACHED_SECONDS, every=0.1)
            until(partial(has_at_most, fleet, 0), seconds=REACHED_SECONDS, every=0.5)
            counts["uploads after the last kill"] = log.read_text().count('"new"')
            counts["refused while busy"] = log.read_text().count('"status": 503')
    with home_store.database.read("test") as connection:
        rows = connection.execute("SELECT user_id, punched_at_local, device FROM raw_punches").fetchall()
        batches = connection.execute(
            "SELECT count(*), sum(lines), sum(stored), sum(duplicates) FROM push_batches"
        ).fetchone()
        quarantined = connection.execute("SELECT count(*) FROM quarantined_records").fetchone()
    stored = Counter((user, str(at), device) for user, at, device in rows)
    assert batches is not None
    counts |= Counter({"terminals": TERMINALS, "punches held": len(held), "rows": len(rows), "batches": batches[0],
                       "lines": batches[1], "new": batches[2], "duplicates": batches[3],
                       "seconds": round(time.monotonic() - began)})  # fmt: skip
    with capsys.disabled():
        sys.stdout.write(f"\n{', '.join(f'{count:,} {what}' for what, count in counts.items())}\n")
    assert (set(stored) - held, held - set(stored)) == (set(), set())
    assert set(stored.values()) == {1}
    assert quarantined == (0,)
    assert len(held) == PUNCHES
