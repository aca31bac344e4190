"""One poll tick of a company of any size, event by event: queue of runs, lanes of a worker, lock of the store, events.

What waits for what is simulated; how long each thing takes by itself is given by `Costs`, which are measured.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

TICK_SECONDS = 900.0
_LANES, _TOGETHER = 128, 32  # of operations.poll: terminals read at once, readings stored together


@dataclass(frozen=True)
class Costs:
    """Seconds; see scale.md for where each figure comes from."""

    submit: float  # of the daemon: asking for one run
    launch: float  # of the daemon: taking one run from the queue and launching it
    start: float  # of a worker: from there to the first request to a terminal
    read: float  # a terminal that answers, median
    dead: float  # a terminal that does not
    dead_share: float
    terminal_cpu: float  # of a worker, for each terminal
    hold: float  # of the store, for each transaction
    hold_reading: float  # and for each reading in it
    event: float  # Dagster's log, for each terminal


@dataclass(frozen=True)
class Company:
    """`stores`: separate stores (and Dagsters) that the sites are spread over; 1 is one pipeline for all."""

    terminals: int
    per_site: int = 125
    slots: int = 1_000_000  # runs at a time, over all workers; a worker of its own for each site has no limit
    cores: int = 2  # of each site's worker
    stores: int = 1

    @property
    def sites(self) -> int:
        """Of one store."""
        return max(1, round(self.terminals / self.stores / self.per_site))


@dataclass
class Tick:
    """What one tick came to, in seconds after it: when each site was done, how long readings waited for the store."""

    done: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    held: float = 0.0
    transactions: int = 0
    daemon: float = 0.0

    @property
    def busy(self) -> float:
        """Share of a tick's time for which the store is held."""
        return self.held / TICK_SECONDS


def simulate(company: Company, costs: Costs, seed: int = 7) -> Tick:
    """The tick of one of the company's stores, all sites asked at once."""
    return _Simulation(company, costs, random.Random(seed)).run()  # noqa: S311 (no secret)


class _Simulation:
    def __init__(self, company: Company, costs: Costs, chance: random.Random) -> None:
        self.company, self.costs, self.chance = company, costs, chance
        self.now, self.tick = 0.0, Tick()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._lock: deque[tuple[float, Callable[[], None], int]] = deque()
        self._is_held = False
        self._queue: deque[int] = deque()
        self._running = 0
        self._daemon_free = 0.0

    def at(self, moment: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._numbers), do))

    def run(self) -> Tick:
        for site in range(self.company.sites):
            self._daemon(self.costs.submit, lambda site=site: self._asked(site))  # type: ignore[misc]
        while self._events:
            self.now, _, do = heapq.heappop(self._events)
            do()
        return self.tick

    def _daemon(self, seconds: float, then: Callable[[], None]) -> None:
        """The daemon does one thing after the other."""
        self._daemon_free = max(self.now, self._daemon_free) + seconds
        self.tick.daemon += seconds
        self.at(self._daemon_free, then)

    def _asked(self, site: int) -> None:
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
        """A transaction with so many readings: a queue, first come first served."""
        self._lock.append((self.now, then, readings))
        self._grant()

    def _grant(self) -> None:
        if self._is_held or not self._lock:
            return
        self._is_held = True
        asked, then, readings = self._lock.popleft()
        held = self.costs.hold + readings * self.costs.hold_reading
        self.tick.waits.append(self.now - asked)
        self.tick.held += held
        self.tick.transactions += 1

        def let_go() -> None:
            self._is_held = False
            then()
            self._grant()

        self.at(self.now + held, let_go)


class _Site:
    """One run: its terminals in lanes, what they bring stored by one thread, as it comes."""

    def __init__(self, simulation: _Simulation) -> None:
        self.all = simulation
        self.left = simulation.company.per_site
        self.waiting = simulation.company.per_site
        self.come = 0
        self.failed = 0
        self.is_storing = False
        self.cpu_free = 0.0

    def begin(self) -> None:
        for _ in range(min(_LANES, self.waiting)):
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
        self.come += not failed
        self._store()

    def _store(self) -> None:
        if self.is_storing or not (self.failed or self.come):
            return
        self.is_storing = True
        if self.failed:  # those that failed meanwhile are put on record together
            failed, self.failed = self.failed, 0
            self.all.store(0, lambda: self._stored(failed))
            return
        many = min(self.come, _TOGETHER)
        self.come -= many
        self.all.store(many, lambda: self._stored(many))

    def _stored(self, many: int) -> None:
        self.all.at(self.all.now + many * self.all.costs.event, lambda: self._told(many))

    def _told(self, many: int) -> None:
        self.is_storing = False
        self.left -= many
        if not self.left:
            self.all.ended()
        self._store()
