"""Sync runs in processes of their own, cheap to start, free to be killed: forked from a server that has imported all.

Each does what a run does, `operations.sync` over the store's file; nothing is replaced but, where asked, the clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from multiprocessing.connection import Connection

from zk_pipeline.config.settings import load_settings
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.models import DeliverySummary
from zk_pipeline.operations.sync import sync
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.locks.sync_lock import SyncAlreadyRunning
from zk_pipeline.store.store import Store, utc_now
from zk_pipeline_tests.forkserver import processes

_numbers = count(1)


@dataclass(frozen=True)
class Ended:
    """Result of a run that was not killed: its summary, and the error it raised, if any."""

    summary: DeliverySummary
    error: str | None = None
    kind: str | None = None


class SyncChild:
    """A running sync. `wait` for its end, or `kill` it."""

    def __init__(self, store: Where, variables: Mapping[str, str], scope: SyncScope, *, clock_falls: bool) -> None:
        self._pipe, there = processes.Pipe()
        arguments = (there, store, dict(variables), scope, f"run {next(_numbers)}", clock_falls)
        self.process = processes.Process(target=_run, args=arguments, daemon=True)
        self.process.start()
        there.close()

    def wait(self, seconds: float = 60) -> Ended:
        assert self._pipe.poll(seconds), "the sync run did not end"
        ended: Ended = self._pipe.recv()
        self.process.join(10)
        return ended

    def kill(self, after: float = 0.0) -> bool:
        """SIGKILL; whether it was still at work."""
        self.process.join(after)
        was_alive = self.process.is_alive()
        self.process.kill()
        self.process.join()
        return was_alive and self.process.exitcode == -9


def start_sync(
    store: Store, variables: Mapping[str, str], scope: SyncScope | None = None, *, clock_falls: bool = False
) -> SyncChild:
    """`clock_falls`: the wall clock is set back an hour while it runs."""
    return SyncChild(store.database.where, variables, scope or SyncScope(), clock_falls=clock_falls)


def _run(  # noqa: PLR0917 (a process takes them in order)
    pipe: Connection, at: Where, variables: dict[str, str], scope: SyncScope, run_id: str, clock_falls: bool
) -> None:
    falling = _falling()
    pipe.send(
        _ended(Store(Database(at), (lambda: next(falling)) if clock_falls else utc_now), variables, scope, run_id)
    )


def run_sync(store: Store, variables: Mapping[str, str], scope: SyncScope | None = None) -> Ended:
    """The same run in this process, for tests that kill nothing."""
    return _ended(
        Store(Database(store.database.where), utc_now), variables, scope or SyncScope(), f"run {next(_numbers)}"
    )


def _ended(store: Store, variables: Mapping[str, str], scope: SyncScope, run_id: str) -> Ended:
    try:
        return Ended(sync(store, load_settings(variables), scope, run_id=run_id))
    except (CrmMisconfigured, SyncAlreadyRunning) as error:
        summary = getattr(error, "summary", None) or DeliverySummary()
        return Ended(summary, str(error), type(error).__name__)


def _falling() -> Iterator[datetime]:
    for number in count():
        yield utc_now() - timedelta(hours=int(number > 20))
