"""Discrete-event simulation of one poll tick: run queue, worker slots, store lock, Dagster's event log.

Waiting is simulated; the durations are the measured `Costs`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

TICK_SECONDS = 900.0
_SLOTS, _BATCH = 128, 32  # of operations.poll: terminals read in parallel, readings per transaction


@dataclass(frozen=True)
class Costs:
    """Durations in seconds. Sources: scale.md."""

    submit: float  # daemon: requesting one run
    launch: float  # daemon: dequeuing and launching one run
    start: float  # worker: from launch to the first request to a terminal
    read: float  # a terminal that answers, median
    dead: float  # a terminal that does not answer
    dead_share: float
    terminal_cpu: float  # worker, per terminal
    lock: float  # lock time of the store, per transaction
    lock_reading: float  # and per reading in it
    event: float  # Dagster's event log, per terminal


@dataclass(frozen=True)
class Company:
    """`stores`: separate stores (and Dagster instances) for groups of sites; 1 is one pipeline for all."""

    terminals: int
    per_site: int = 125
    slots: int = 1_000_000  # parallel runs over all workers; unlimited with a worker per site
    cores: int = 2  # per worker
    stores: int = 1
    together: int = 1  # transactions that wait for the lock and are stored as one

    @property
    def sites(self) -> int:
        """Number of sites per store."""
        return max(1, round(self.terminals / self.stores / self.per_site))


@dataclass
class Tick:
    """Result of one tick in seconds: end of each site, lock wait time of each reading, total lock time, daemon time."""

    done: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    locked: float = 0.0
    transactions: int = 0
    daemon: float = 0.0

    @property
    def busy(self) -> float:
        """Share of the time of a tick for which the store is locked."""
        return self.locked / TICK_SECONDS


def simulate(company: Company, costs: Costs, seed: int = 7) -> Tick:
    """Simulate the tick of one store, all sites requested at once."""
    return _Simulation(company, costs, random.Random(seed)).run()  # noqa: S311 (no secret)


class _Simulation:
    def __init__(self, company: Company, costs: Costs, chance: random.Random) -> None:
        self.company, self.costs, self.chance = company, costs, chance
        self.now, self.tick = 0.0, Tick()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._lock: deque[tuple[float, Callable[[], None], int]] = deque()
        self._is_locked = False
        self._queue: deque[int] = deque()
        self._running = 0
        self._daemon_free = 0.0

    def at(self, moment: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), do))

    def run(self) -> Tick:
        for site in range(self.company.sites):
            self._daemon(self.costs.submit, lambda site=site: self._requested(site))  # type: ignore[misc]
        while self._events:
            self.now, _, do = heapq.heappop(self._events)
            do()
        return self.tick

    def _daemon(self, seconds: float, then: Callable[[], None]) -> None:
        """Run a task of the daemon, one after the other."""
        self._daemon_free = max(self.now, self._daemon_free) + seconds
        self.tick.daemon += seconds
        self.at(self._daemon_free, then)

    def _requested(self, site: int) -> None:
        self._queue.append(site)
        self._dequeue()

    def _dequeue(self) -> None:
        while self._queue and self._running < self.company.slots:
            self._queue.popleft()
            self._running += 1
            self._daemon(self.costs.launch, lambda: self.at(self.now + self.costs.start, _Site(self).begin))

    def ended(self) -> None:
        self.tick.done.append(self.now)
        self._running -= 1
        self._dequeue()

    def store(self, readings: int, then: Callable[[], None]) -> None:
        """Queue a transaction with so many readings: first come, first served."""
        self._lock.append((self.now, then, readings))
        self._grant()

    def _grant(self) -> None:
        if self._is_locked or not self._lock:
            return
        self._is_locked = True
        stored = [self._lock.popleft() for _ in range(min(self.company.together, len(self._lock)))]
        locked = self.costs.lock + sum(readings for _, _, readings in stored) * self.costs.lock_reading
        self.tick.waits += [self.now - queued_at for queued_at, _, _ in stored]
        self.tick.locked += locked
        self.tick.transactions += 1

        def release() -> None:
            self._is_locked = False
            for _, then, _ in stored:
                then()
            self._grant()

        self.at(self.now + locked, release)


class _Site:
    """One run: terminals in slots; readings stored by one thread as they arrive."""

    def __init__(self, simulation: _Simulation) -> None:
        self.all = simulation
        self.left = simulation.company.per_site
        self.waiting = simulation.company.per_site
        self.arrived = 0
        self.failed = 0
        self.is_storing = False
        self.cpu_free = 0.0

    def begin(self) -> None:
        for _ in range(min(_SLOTS, self.waiting)):
            self._next_terminal()

    def _next_terminal(self) -> None:
        self.waiting -= 1
        costs, chance = self.all.costs, self.all.chance
        if chance.random() < costs.dead_share:
            self.all.at(self.all.now + costs.dead, lambda: self._ended(failed=True))
        else:
            taken = costs.read * chance.lognormvariate(0, 0.5)
            self.cpu_free = max(self.all.now, self.cpu_free) + costs.terminal_cpu / self.all.company.cores
            self.all.at(max(self.all.now + taken, self.cpu_free), lambda: self._ended(failed=False))

    def _ended(self, *, failed: bool) -> None:
        if self.waiting:
            self._next_terminal()
        self.failed += failed
        self.arrived += not failed
        self._store()

    def _store(self) -> None:
        if self.is_storing or not (self.failed or self.arrived):
            return
        self.is_storing = True
        if self.failed:  # failed polls are recorded together
            failed, self.failed = self.failed, 0
            self.all.store(0, lambda: self._stored(failed))
            return
        many = min(self.arrived, _BATCH)
        self.arrived -= many
        self.all.store(many, lambda: self._stored(many))

    def _stored(self, many: int) -> None:
        self.all.at(self.all.now + many * self.all.costs.event, lambda: self._logged(many))

    def _logged(self, many: int) -> None:
        self.is_storing = False
        self.left -= many
        if not self.left:
            self.all.ended()
        self._store()
