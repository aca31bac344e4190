"""200 terminals push 100,000 punches through lost answers, half bodies, repetitions, a busy store and 50 kills in the
middle of uploads.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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

TERMINALS, PUNCHES_EACH, KILLS = 200, 300, 50
PUNCHES_PER_KILL = 4  # of each terminal
REACHED_SECONDS = 120
# Where a receiver dies by SIGKILL: the function, before or after it, and at most which of its calls.
INSTANTS = {
    "reading a body": ("zk_pipeline.receiver.app._Exchange.body", "before", 150),
    "before a transaction": ("zk_pipeline.receiver.receiver.UploadWriter.store", "before", 2),
    "before a commit": ("zk_pipeline.store.push.upload_writer.store_uploads", "after", 2),
    "after a commit, before its answers": ("zk_pipeline.receiver.receiver.UploadWriter.store", "after", 2),
    "in the middle of the answers": ("zk_pipeline.receiver.app.ReceiverApp._send", "before", 150),
}
DYING = """
import os, pkgutil, signal, sys
from zk_pipeline.cli.main import run
port, target, when, left = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
owner, _, name = target.rpartition(".")
owner = pkgutil.resolve_name(owner)
function = getattr(owner, name)
def counted():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
def dying(*arguments):
    if when == "before":
        counted()
    result = function(*arguments)
    if when == "after":
        counted()
    return result
setattr(owner, name, dying)
run(["receive", "--port", port])
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


@contextmanager
def dying(home: Path, port: int, instant: str, dice: random.Random) -> Iterator[subprocess.Popen[bytes]]:
    """A receiver that kills itself at an instant."""
    function, when, calls = INSTANTS[instant]
    arguments = (DYING, str(port), function, when, str(dice.randint(1, calls)))
    with (home / "receiver.log").open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-c", *arguments], stdout=stream, stderr=stream)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def record_more(terminals: list[PushingTerminal], kill: int) -> set[tuple[str, str, str]]:
    """Further punches of each terminal, before a kill; returns them as rows."""
    rows = set()
    for terminal in terminals:
        for number in range(PUNCHES_PER_KILL):
            at = FIRST + timedelta(days=30, seconds=97 * (kill * PUNCHES_PER_KILL + number))
            terminal.record(Punch("0001", at, 1, 0))
            rows.add(("0001", str(at), terminal.name))
    return rows


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
    with PushFleet(terminals, delay_seconds=5, error_delay_seconds=0.5, start_within_seconds=20) as fleet:
        for kill in range(KILLS):
            held |= fleet.call(partial(record_more, terminals, kill))
            instant = list(INSTANTS)[kill % len(INSTANTS)]
            with dying(home, port, instant, dice) as process:
                if dice.random() < 0.2:
                    with busy(home_store, "a long run"):
                        time.sleep(dice.uniform(1, 3))  # how long it runs, not a synchronization
                    counts["busy store"] += 1
                assert process.wait(REACHED_SECONDS) == -signal.SIGKILL
                counts[f"kills {instant}"] += 1
                counts["uploads before a kill"] += (home / "receiver.log").read_text().count('"new"')
        with receiving(home, *command) as (_, _, log):
            with busy(home_store, "longer than the receiver waits"):
                time.sleep(10)
            deadline = time.monotonic() + 1500
            while pending := fleet.pending_count:
                assert time.monotonic() < deadline, f"{pending} punches are not acknowledged"
                time.sleep(0.5)
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
    assert len(held) == TERMINALS * (PUNCHES_EACH + KILLS * PUNCHES_PER_KILL)
