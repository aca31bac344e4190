"""Actions as Dagster runs in worker processes, so that a run's work never slows an answer down.

A worker is started when the first action comes and stays warm. Everything here is plain Python; Dagster is imported in
the workers. Nothing of the web framework belongs here: workers import this module.
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
from typing import Any, Literal, Protocol

from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.runtime.processes import exit_with_process, is_alive, process_identity
from zk_pipeline.store.errors import StoreBusy, UnknownDevice

WORKERS = 2  # as many runs at a time as dagster.yaml gives to the daemon
MOST_WAITING = 64
LOST = "the process that did it is gone; what it did until then is stored"
NOT_BEGUN = "the process that was to do it is gone before it began"
_log = logging.getLogger(__name__)


class TooManyActions(ZkPipelineError):
    """So many actions wait for their turn that another one would not get it in time."""


class ActionLost(ZkPipelineError):
    """The process that did the work is gone; what it did until then is in the store and in the run's events."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """What to do, as the arguments of a function of `defs.actions`; `run_id` is that of its first run."""

    kind: Literal["poll", "process", "sync"]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True)
class ActionResult:
    """How its runs ended, in order. `partitions`: metadata of each partition made; `observed`: counts, added up."""

    run_ids: list[str]
    failures: list[str]
    partitions: dict[str, dict[str, Any]]
    observed: dict[str, int]


class Actions(Protocol):
    """Does actions, one after the other or side by side."""

    def submit(self, action: Action) -> Future[ActionResult]: ...
    def find(self, run_id: str) -> Future[ActionResult] | None: ...
    def unfinished(self) -> list[Future[ActionResult]]: ...
    def stop(self, patience: float) -> None: ...


@dataclass
class RunWorkerPool:
    """Actions done by worker processes of this one, which end with it."""

    workers: int = WORKERS
    work: Callable[[Action], ActionResult] | None = None  # a function of a module; `perform` where None
    _pool: ProcessPoolExecutor | None = None
    _futures: dict[str, Future[ActionResult]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def __post_init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[str] = []
        self._begun: Any = None

    def submit(self, action: Action) -> Future[ActionResult]:
        """Raises TooManyActions."""
        with self._lock:
            if self._stopped:
                raise TooManyActions("the API is being stopped and starts nothing any more")
            if len(self.unfinished()) >= MOST_WAITING:
                raise TooManyActions(f"{MOST_WAITING} actions are waiting already: try again later")
            try:
                future = self._executor().submit(self.work or perform, action)
            except BrokenProcessPool:
                self._pool = None  # a worker was killed; the next ones are new
                future = self._executor().submit(self.work or perform, action)
            self._futures[action.run_id] = future
            while len(self._futures) > 1_000 and (oldest := next(iter(self._futures))) != action.run_id:
                del self._futures[oldest]  # Dagster remembers its runs
        return future

    def unfinished(self) -> list[Future[ActionResult]]:
        """What is being done or waits for its turn."""
        return [one for one in self._futures.values() if not one.done()]

    def find(self, run_id: str) -> Future[ActionResult] | None:
        """The action whose first run has this id, if it was started by this process and not long ago."""
        return self._futures.get(run_id)

    def stop(self, patience: float) -> None:
        """Start nothing more, let what runs finish for so many seconds, then end it; Dagster notes it as failed."""
        with self._lock:
            self._stopped = True
            pool, self._pool = self._pool, None
        if pool is None:
            return
        pool.shutdown(wait=False, cancel_futures=True)
        running = self.unfinished()
        if running:
            _log.warning("waiting up to %.0f s for %d runs to finish", patience, len(running))
        _, unfinished = wait(running, patience)
        if unfinished:
            _log.error("ending %d runs that did not finish in %.0f s", len(unfinished), patience)
            self._end_workers()

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._begun = self._context.SimpleQueue()
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=self._context,
                initializer=_begin_worker,
                initargs=(process_identity(), self._begun),
            )
        return self._pool

    def _end_workers(self) -> None:
        """Also those that are only just starting, and sign in meanwhile."""
        for number, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 2.0)):
            told: set[str] = set()
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                while not self._begun.empty():
                    self._workers.append(self._begun.get())
                alive = [one for one in self._workers if is_alive(one)]
                for identity in set(alive) - told:
                    with suppress(ProcessLookupError):
                        os.kill(int(identity.rsplit(":", 2)[1]), number)
                    told.add(identity)
                if not alive and not self.unfinished():
                    return
                time.sleep(0.05)


def _begin_worker(starter: str, begun: Any) -> None:
    # A session of its own: Ctrl-C is for the API, which then lets the run finish.
    os.setsid()
    exit_with_process(starter)
    begun.put(process_identity())


def perform(action: Action) -> ActionResult:
    """Do an action in this process, with settings read now.

    Raises StoreBusy, UnknownDevice, UsageError or ZkPipelineError for what went wrong before anything was started, and
    ActionLost for a bug; nothing else, since not every exception survives the way to another process.
    """
    from zk_pipeline.runs.actions import run_action  # noqa: PLC0415 (Dagster, only in the workers)

    try:
        results = run_action(action.kind, action.arguments, first_run_id=action.run_id)
    except ZkPipelineError as error:
        kind = next(one for one in (StoreBusy, UnknownDevice, UsageError, ZkPipelineError) if isinstance(error, one))
        raise kind(str(error)) from None
    except Exception as error:
        _log.exception("action %s failed", action.kind)
        raise ActionLost(
            f"the action could not be done ({type(error).__name__}); the log of the API says why"
        ) from None
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
