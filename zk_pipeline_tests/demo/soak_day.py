"""A company's day on emulated terminals and a CRM with random faults, and the true punches."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from zk_pipeline.demo.verification import TruePunch, true_punches
from zk_pipeline.simulator.company.workforce import Workforce
from zk_pipeline.simulator.crm.faults import Fault, FaultRule, ReceivedRequest, any_of, refusal, sometimes
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import CloseAfter, CorruptData, Faults, HangAt, RefuseConnections
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.network_faults import LateAnswers, Segments
from zk_pipeline.simulator.terminal.protocol import Command, Frame

STEP_SECONDS = 0.5
ASKED = (Command.CMD_CONNECT, Command.CMD_GET_FREE_SIZES, Command.CMD_DATA_WRRQ, Command.CMD_DATA_RDY)


@dataclass
class BadDay:
    """Users punch by `clock` while terminals fail and recover, until `over` is set; then all work again.

    `truth` holds every punch that a terminal has recorded. `narrow`: a terminal whose log is full.
    """

    fleet: Fleet
    workforce: Workforce
    clock: Callable[[], datetime]
    narrow: str
    seed: int
    truth: list[TruePunch] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    _made: set[TruePunch] = field(default_factory=set)
    _ill_until: dict[str, datetime] = field(default_factory=dict)
    _off: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    failed: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.numbers = np.random.default_rng(self.seed)
        self.truth += true_punches(self.workforce.truth())
        self._made |= set(self.truth)
        self.definitions = {one.name: one for one in self.workforce.terminals}
        self.people = {name: [user.user_id for user in one.users] for name, one in self.definitions.items()}

    def live(self) -> None:
        """For a thread of its own."""
        try:
            while not self.over.wait(STEP_SECONDS):
                self._step()
            for name in self.fleet.names:
                self._heal(name)
        except BaseException as error:
            self.failed.append(error)
            raise

    def _step(self) -> None:
        now = self.clock()
        for one in self.workforce.next_punches(self.numbers, now, count=self.chance.randint(1, 5)):
            self.fleet.call(lambda name=one.terminal, user=one.user_id: self.punch(name, user))  # type: ignore[misc]
        for name, until in list(self._ill_until.items()):
            if now >= until:
                self._heal(name)
        healthy = [name for name in self.fleet.names if name not in self._ill_until and name != self.narrow]
        if healthy and self.chance.random() < 0.25:
            self._fall_ill(self.chance.choice(healthy), now)

    def punch(self, name: str, user_id: str) -> None:
        """In the fleet's thread: what the terminal records, by its own clock, unless that very second is taken."""
        terminal, definition = self.fleet.terminal(name), self.definitions[name]
        local = self.clock().astimezone(ZoneInfo(definition.timezone)).replace(tzinfo=None, microsecond=0)
        shown = local + timedelta(seconds=definition.clock_offset_seconds)
        true = TruePunch(name, definition.site, user_id, shown)
        if true not in self._made:
            terminal.punch(user_id, shown)
            self._made.add(true)
            self.truth.append(true)
            self.counts["punched"] += 1

    def _fall_ill(self, name: str, now: datetime) -> None:
        illness = self.chance.choice([*_ILLNESSES, "offline", "moves while read"])
        self._ill_until[name] = now + timedelta(minutes=self.chance.randint(20, 240))
        self.counts[illness] += 1
        if illness == "offline":
            self.fleet.switch_off(name)
            self._off.add(name)
        elif illness == "moves while read":
            self.fleet.inject(name, _Moves(lambda: self.punch(name, self.chance.choice(self.people[name]))))
        else:
            self.fleet.inject(name, _ILLNESSES[illness](self.chance))

    def _heal(self, name: str) -> None:
        self._ill_until.pop(name, None)
        self.fleet.inject(name, Faults())
        if name in self._off:
            self._off.remove(name)
            self.fleet.switch_on(name)


_ILLNESSES: dict[str, Callable[[random.Random], Faults]] = {
    "hangs": lambda chance: HangAt(chance.choice(ASKED)),
    "is cut off": lambda chance: CloseAfter(chance.randint(30, 6_000), with_reset=chance.random() < 0.5),
    "garbles": lambda chance: CorruptData(chance.randint(0, 40)),
    "refuses": lambda _: RefuseConnections(),
    "is late": lambda chance: LateAnswers(chance.uniform(0.05, 0.6)),
    "is slow": lambda _: Segments(segment_bytes=512, pause_seconds=0.01),
}


@dataclass
class _Moves(Faults):
    """A user punches before each answer."""

    punch: Callable[[], None]

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        self.punch()
        await super().deliver(request, answer, connection)


def bad_crm(clock: Callable[[], datetime], counts: Counter[str], *, seed: int) -> FaultRule:
    """5xx, answers lost after the record was applied, and every four hours half an hour in which nothing answers."""

    def outage(_: ReceivedRequest) -> Fault | None:
        now = clock()
        return Fault(drop="before") if now.hour % 4 == 2 and now.minute < 30 else None

    asked = any_of(
        outage,
        sometimes(0.04, refusal(503), seed=seed),
        sometimes(0.04, Fault(drop="after"), seed=seed + 1),
        sometimes(0.02, Fault(cut_after=20), seed=seed + 2),
    )

    def counted(received: ReceivedRequest) -> Fault | None:
        trouble = asked(received)
        counts["requests"] += 1
        counts["requests in trouble"] += trouble is not None
        return trouble

    return counted
