"""Worker pool: runs actions as Dagster runs in processes of their own, so that they do not slow down responses.

Workers start with the first action and stay. Only they import Dagster. They import this module, so that it must not
import the web framework.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, Literal, Protocol

from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.runtime.interpreter import collect_garbage_rarely
from zk_pipeline.runtime.processes import exit_with_process, is_alive, process_identity
from zk_pipeline.store.errors import StoreBusy, UnknownDevice

WORKERS = 2  # as many concurrent runs as dagster.yaml allows the daemon
MAX_UNFINISHED = 64
NICENESS = 10  # of runs, above that of the API: its responses go first where both need the CPU
WORKER_LOST = "the worker process ended unexpectedly; results up to then are stored"
NOT_STARTED = "the worker process ended before the run started"
_log = logging.getLogger(__name__)


class TooManyActions(ZkPipelineError):
    """The queue of actions is full, or the API is stopping."""


class ActionLost(ZkPipelineError):
    """The worker process ended unexpectedly; results up to then are in the store and in the events of the run."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """Kind and arguments of `runs.actions.run_action`; `run_id` is the id of the first run, `requested_by` the name of
    the API token.
    """

    kind: Literal["poll", "process", "sync"]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    requested_by: str | None = None


@dataclass(frozen=True)
class ActionResult:
    """Results of the runs, in order. `partitions`: metadata per materialized partition; `observed`: summed counts."""

    run_ids: list[str]
    failures: list[str]
    partitions: dict[str, dict[str, Any]]
    observed: dict[str, int]


class Actions(Protocol):
    """Executor of actions."""

    def submit(self, action: Action) -> Future[ActionResult]: ...
    def find(self, run_id: str) -> Future[ActionResult] | None: ...
    def unfinished(self) -> list[Future[ActionResult]]: ...
    def stop(self, timeout: float) -> None: ...


@dataclass
class RunWorkerPool:
    """Executor in child processes, which end with this process."""

    workers: int = WORKERS
    work: Callable[[Action], ActionResult] | None = None  # a module-level function; default: `perform`
    _pool: ProcessPoolExecutor | None = None
    _futures: dict[str, Future[ActionResult]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def __post_init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[str] = []
        self._started: Any = None

    def submit(self, action: Action) -> Future[ActionResult]:
        """Queue an action. Raises TooManyActions."""
        with self._lock:
            if self._stopped:
                raise TooManyActions("the API is stopping and starts no more runs")
            if len(self.unfinished()) >= MAX_UNFINISHED:
                raise TooManyActions(f"{MAX_UNFINISHED} actions are already waiting: try again later")
            work = self.work or partial(perform, niceness=NICENESS)
            try:
                future = self._executor().submit(work, action)
            except BrokenProcessPool:
                self._pool = None  # a worker was killed: start new ones
                future = self._executor().submit(work, action)
            self._futures[action.run_id] = future
            while len(self._futures) > 1_000 and (oldest := next(iter(self._futures))) != action.run_id:
                del self._futures[oldest]  # Dagster keeps its runs
        return future

    def unfinished(self) -> list[Future[ActionResult]]:
        """Actions in progress or waiting."""
        return [one for one in self._futures.values() if not one.done()]

    def find(self, run_id: str) -> Future[ActionResult] | None:
        """The action whose first run has this id, if this process started it recently."""
        return self._futures.get(run_id)

    def stop(self, timeout: float) -> None:
        """Start no more actions, wait `timeout` seconds for running ones, then end them; Dagster marks them failed."""
        with self._lock:
            self._stopped = True
            pool, self._pool = self._pool, None
        if pool is None:
            return
        pool.shutdown(wait=False, cancel_futures=True)
        running = self.unfinished()
        if running:
            _log.warning("waiting up to %.0f s for %d runs to finish", timeout, len(running))
        _, unfinished = wait(running, timeout)
        if unfinished:
            _log.error("terminating %d runs that did not finish within %.0f s", len(unfinished), timeout)
            self._end_workers()

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._started = self._context.SimpleQueue()
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=self._context,
                initializer=_begin_worker,
                initargs=(process_identity(), self._started),
            )
        return self._pool

    def _end_workers(self) -> None:
        """Terminate the workers, including those that are still starting and register in the meantime."""
        for number, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 2.0)):
            signaled: set[str] = set()
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                while not self._started.empty():
                    self._workers.append(self._started.get())
                alive = [one for one in self._workers if is_alive(one)]
                for identity in set(alive) - signaled:
                    with suppress(ProcessLookupError):
                        os.kill(int(identity.rsplit(":", 2)[1]), number)
                    signaled.add(identity)
                if not alive and not self.unfinished():
                    return
                time.sleep(0.05)


def _begin_worker(starter: str, started: Any) -> None:
    # A process group of its own: Ctrl-C must reach only the API, which then lets the run finish. Not a session of its
    # own: Linux divides CPU time by session first, and the priority of a run is to count only against the API.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it would stop at its first line in a terminal after `stty tostop`
    collect_garbage_rarely()
    exit_with_process(starter)
    started.put(process_identity())


def perform(action: Action, *, niceness: int) -> ActionResult:
    """Run an action in this process, with current settings, and `niceness` above that of the process that started it.

    Raises StoreBusy, UnknownDevice, UsageError or ZkPipelineError for a failure before the first run, and ActionLost
    for a bug; no other exception, since not all can be pickled.
    """
    from zk_pipeline.runs.actions import run_action  # noqa: PLC0415 (Dagster, only in the workers)

    own, starter = (os.getpriority(os.PRIO_PROCESS, number) for number in (0, os.getppid()))
    os.setpriority(os.PRIO_PROCESS, 0, max(own, starter + niceness))  # only the superuser may raise a priority again
    try:
        results = run_action(
            action.kind, action.arguments, first_run_id=action.run_id, requested_by=action.requested_by
        )
    except ZkPipelineError as error:
        kind = next(one for one in (StoreBusy, UnknownDevice, UsageError, ZkPipelineError) if isinstance(error, one))
        raise kind(str(error)) from None
    except Exception as error:
        _log.exception("action %s failed", action.kind)
        raise ActionLost(f"the action failed ({type(error).__name__}); see the log of the API") from None
    observed: dict[str, int] = {}
    for result in results:
        for name, value in result.observed.items():
            if isinstance(value, int):
                observed[name] = observed.get(name, 0) + value
    return ActionResult(
        run_ids=[result.run_id for result in results],
        failures=[result.failure for result in results if result.failure],
        partitions={key: _plain(values) for result in results for key, values in result.partitions.items()},
        observed=observed,
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if isinstance(value, (int, float, str, date))}
