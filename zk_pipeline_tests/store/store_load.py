"""Processes that write and read one store at the same time, and what must be true of it afterwards.

Each process appends what it has done to a file of its own, outside the database: its acknowledgements.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Barrier

import pandas as pd

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.devices.models import Reading, punches_frame
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.errors import DeviceExists
from zk_pipeline.store.locks.lock_statistics import Histogram
from zk_pipeline.store.store import Store
from zk_pipeline_tests.forkserver import processes
from zk_pipeline_tests.store.store_fixtures import device, reading

ROWS = 1_000  # of each write
BEGIN = pd.Timestamp(2020, 1, 1)
WRITE, READ = "store a poll", "load: read"


def writers_device(writer: int) -> str:
    return f"writer {writer}"


def poll(writer: int, batch: int) -> Reading:
    """A reading of ROWS punches that no other batch has. The user id identifies the batch."""
    begin = BEGIN + pd.Timedelta(seconds=batch % 10_000 * ROWS)
    frame = punches_frame(
        user_id=f"{batch}",
        punched_at_local=pd.date_range(begin, periods=ROWS, freq="s"),
        status=writer % 200,
        punch_state=0,
        verify_type=1,
    )
    return replace(reading(serial=writers_device(writer)), punches=frame)


def write_polls(at: Where, acks: Path, writer: int, batches: Sequence[int]) -> None:
    """Store the batches one after the other, as polls do; acknowledge each once it is committed."""
    store = Store(Database(at, wait_seconds=300))
    with suppress(DeviceExists):  # by a writer that was killed
        store.devices.add(device(writers_device(writer)))
    registered = store.devices.get(writers_device(writer))
    with acks.open("a") as acks_file:
        for batch in batches:
            one = poll(writer, batch)
            now = store.clock()
            store.punches.ingest(registered, one, started_at=now, finished_at=now, run_id=f"{batch}")
            os.write(acks_file.fileno(), f"{batch}\n".encode())


def read_on(at: Where, acks: Path, stop: Path) -> None:
    """Read until the file `stop` is there, as an API does; tell of every read, and of what was torn.

    Readers of a lake take a breath: a writer does not keep them out, and 8 of them keep two cores from it.
    """
    pause = 0.0 if isinstance(at, Path) else 1.0
    database = Database(at, wait_seconds=300)
    with acks.open("a") as acks_file:
        while not stop.exists():
            with database.read(READ) as connection:
                torn = connection.execute(TORN, [ROWS]).fetchall()
            os.write(acks_file.fileno(), f"torn {torn}\n".encode() if torn else b"read\n")
            time.sleep(pause)


# Of each batch: its punches are all there, in the poll that fetched them, or none of them and no poll either.
TORN = """
SELECT coalesce(poll.run_id, punch.batch) AS batch, punch.punches, punch.moments, poll.run_id IS NULL AS without_poll
FROM (SELECT run_id FROM device_polls) AS poll
FULL JOIN (
    SELECT user_id AS batch, count(*) AS punches, count(DISTINCT punched_at_local) AS moments,
           count(DISTINCT first_poll_id) AS polls
    FROM raw_punches GROUP BY 1
) AS punch ON poll.run_id = punch.batch
WHERE punch.punches IS DISTINCT FROM $1 OR punch.moments IS DISTINCT FROM $1 OR punch.polls IS DISTINCT FROM 1
   OR poll.run_id IS NULL
"""


@dataclass(frozen=True)
class Outcome:
    """What is in the store after all have ended."""

    batches: set[int]
    torn: list[tuple[object, ...]]
    doubled: int  # sequence numbers given twice
    stale: int  # work dates known to have punches
    dates: int  # work dates that have punches


def look(at: Where) -> Outcome:
    with Database(at, wait_seconds=60).read("load: look") as connection:
        batches = connection.execute("SELECT run_id FROM device_polls").fetchall()
        row = connection.execute(
            """
            SELECT (SELECT count(*) - count(DISTINCT seq) FROM raw_punches),
                   (SELECT count(*) FROM work_dates WHERE latest_punch_seq > 0),
                   (SELECT count(DISTINCT punched_at_local::DATE) FROM raw_punches)
            """
        ).fetchone()
        torn = connection.execute(TORN, [ROWS]).fetchall()
    assert row is not None
    assert [batch for batch, times in Counter(batches).items() if times > 1] == []
    return Outcome({int(batch) for (batch,) in batches}, torn, *row)


def start(target: object, *arguments: object) -> ForkServerProcess:
    assert callable(target)
    process = processes.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def at_once(parties: int) -> Barrier:
    """For processes of `start`: what each of them waits at until all are there."""
    return processes.Barrier(parties)


def end_all(started: Sequence[ForkServerProcess], *, seconds: float) -> list[int | None]:
    """Their exit codes once all have ended by themselves; those that have not in time are killed, with code -9."""
    deadline = time.monotonic() + seconds
    for process in started:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    return [process.exitcode for process in started]


@dataclass(frozen=True)
class Holder:
    """A process that holds something until it may go on, or is killed."""

    process: ForkServerProcess
    _over: Event

    @property
    def pid(self) -> int | None:
        return self.process.pid

    def go_on(self) -> None:
        self._over.set()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def end(self) -> int | None:
        """Wait until it has ended by itself; its exit code."""
        (code,) = end_all([self.process], seconds=60)
        return code


@contextmanager
def held_by_another(hold: Callable[..., AbstractContextManager[object]], *arguments: object) -> Iterator[Holder]:
    """Another process that is inside `hold(*arguments)`; killed at the end of the context."""
    held, over = processes.Event(), processes.Event()
    holder = Holder(start(_hold, hold, arguments, held, over), over)
    try:
        assert held.wait(60)
        yield holder
    finally:
        holder.kill()


def _hold(
    hold: Callable[..., AbstractContextManager[object]], arguments: Sequence[object], held: Event, over: Event
) -> None:
    with hold(*arguments):
        held.set()
        over.wait(60)


@dataclass(frozen=True)
class Waits:
    """Milliseconds writers waited and held the store, from its own counts."""

    held: Histogram
    waited: Histogram

    def ideal_ms(self, writers: int, reads: Histogram) -> float:
        """The longest wait in an ideal queue: every other writer once, and between two of them the readers, all of
        whom share one hold.
        """
        return writers * (self.held.sum_ms / self.held.count + reads.sum_ms / max(1, reads.count))


def waits(at: Where, purpose: str) -> Waits:
    (kind,) = (one for one in Store.at(at).lock_statistics().operations if one.operation == purpose)
    return Waits(kind.lock_time, kind.wait_time)


def ask_on(at: Where, acks: Path, stop: Path) -> None:
    """Ask what a status page and an API ask, once a second, until the file `stop` is there."""
    store = Store.at(at)
    with acks.open("a") as acks_file:
        while not stop.exists():
            store.overview.status(WorkRules(), first=BEGIN.date(), last=store.clock().date(), now=store.clock())
            store.devices.all()
            store.deliveries.stats()
            os.write(acks_file.fileno(), b"read\n")
            time.sleep(1.0)
