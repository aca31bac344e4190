"""Reading many terminals at once, each within its own deadline.

Knows neither the protocol nor where readings go.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from zk_pipeline.devices.clock import SYSTEM_CLOCK, Clock
from zk_pipeline.devices.errors import DeadlineExceeded
from zk_pipeline.devices.models import Device
from zk_pipeline.runtime.processes import check_for_end

Answer = TypeVar("Answer")

GRACE_SECONDS = 1.0  # a reading ends by its own deadline; one that does not is given up this much later
RELEASE_SLOT_AFTER_SECONDS = 5.0  # whose reading takes longer than healthy ones do lends its place to a waiting device

_LOOK_EVERY = 0.2  # seconds of a wait between two looks whether the command is to end


@dataclass(frozen=True, kw_only=True)
class PollOutcome(Generic[Answer]):
    """How the reading of one device ended: exactly one of `reading` and `error` is set.

    An Answer is whatever was read: a Reading of its log, a TerminalInfo.

    Instants are aware, UTC.
    """

    device: Device
    started_at: datetime
    finished_at: datetime
    reading: Answer | None = None
    error: Exception | None = None


@dataclass(frozen=True, eq=False)
class _Attempt(Generic[Answer]):
    device: Device
    started_at: datetime
    lends_place_at: float
    given_up_at: float
    results: queue.SimpleQueue[tuple[_Attempt[Answer], PollOutcome[Answer]]] = field(repr=False)

    def run(self, read: Callable[[Device], Answer], clock: Clock) -> None:
        reading: Answer | None = None
        error: Exception | None = None
        try:
            reading = read(self.device)
        except (
            Exception
        ) as raised:  # whatever it is belongs to this device's outcome and must not end the thread unheard
            error = raised
        outcome = PollOutcome(
            device=self.device,
            started_at=self.started_at,
            finished_at=clock.now(),
            reading=reading,
            error=error,
        )
        self.results.put((self, outcome))


def poll_many(
    devices: Iterable[Device],
    read: Callable[[Device], Answer],
    *,
    max_workers: int = 32,
    deadline_seconds: float,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[PollOutcome[Answer]]:
    """Read all devices, in `max_workers` places; yield each outcome as it comes, one per device.

    A reading that takes longer than LENT_AFTER_SECONDS goes on, and its place goes to the next device: so terminals
    that hang, however many, hold up the others by that much for each `max_workers` of them, not by a deadline each.

    `read` is expected to end within `deadline_seconds`. One that does not is given up a second later: its
    outcome is DeadlineExceeded, and its thread, which keeps no process alive, is ignored from then on. An
    exception of `read`, of any class, becomes the outcome's `error`. While the consumer is busy with an outcome no
    further device is started, so that few readings wait in memory.
    """
    for come in poll_batches(
        devices, read, most=1, max_workers=max_workers, deadline_seconds=deadline_seconds, clock=clock
    ):
        yield from come


def poll_batches(
    devices: Iterable[Device],
    read: Callable[[Device], Answer],
    *,
    most: int,
    max_workers: int = 32,
    deadline_seconds: float,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[list[PollOutcome[Answer]]]:
    """As `poll_many`; what has come by the time the consumer asks is yielded together, at most `most` of them."""
    waiting = deque(devices)
    running: set[_Attempt[Answer]] = set()
    results: queue.SimpleQueue[tuple[_Attempt[Answer], PollOutcome[Answer]]] = queue.SimpleQueue()
    while waiting or running:
        now = clock.monotonic()
        taken = [attempt.lends_place_at for attempt in running if attempt.lends_place_at > now]
        for _ in range(min(len(waiting), max_workers - len(taken))):
            attempt = _Attempt(
                waiting.popleft(),
                clock.now(),
                lends_place_at=now + RELEASE_SLOT_AFTER_SECONDS,
                given_up_at=now + deadline_seconds + GRACE_SECONDS,
                results=results,
            )
            running.add(attempt)
            taken.append(attempt.lends_place_at)
            threading.Thread(
                target=attempt.run, args=(read, clock), name=f"poll {attempt.device.name}", daemon=True
            ).start()
        wakes_at = min(attempt.given_up_at for attempt in running)
        if waiting:
            wakes_at = min(wakes_at, *taken)
        try:
            attempt, outcome = results.get(timeout=max(min(wakes_at - clock.monotonic(), _LOOK_EVERY), 0.0))
        except queue.Empty:
            check_for_end()
            for attempt in [late for late in running if late.given_up_at <= clock.monotonic()]:
                running.remove(attempt)
                yield [_given_up(attempt, deadline_seconds, clock)]
            continue
        come = [(attempt, outcome)]
        with suppress(queue.Empty):
            while len(come) < most:
                come.append(results.get_nowait())
        outcomes = [outcome for attempt, outcome in come if attempt in running]
        running.difference_update(attempt for attempt, _ in come)
        if outcomes:
            yield outcomes


def _given_up(attempt: _Attempt[Answer], deadline_seconds: float, clock: Clock) -> PollOutcome[Answer]:
    problem = f"it did not end within {deadline_seconds:g} s"
    return PollOutcome(
        device=attempt.device,
        started_at=attempt.started_at,
        finished_at=clock.now(),
        error=DeadlineExceeded(attempt.device, "polling", problem),
    )
