"""Concurrent polling of many terminals in worker slots, each within its own deadline. No protocol, no storage."""

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

Result = TypeVar("Result")

GRACE_SECONDS = 1.0  # a reading that exceeds its own deadline is abandoned this much later
RELEASE_SLOT_AFTER_SECONDS = 5.0  # a reading slower than healthy ones releases its worker slot to a waiting device

_CHECK_INTERVAL_SECONDS = 0.2  # between two checks whether the command is to end


@dataclass(frozen=True, kw_only=True)
class PollOutcome(Generic[Result]):
    """Outcome of one device: exactly one of `reading` (a Reading or a TerminalInfo) and `error` is set.

    Instants are aware, UTC.
    """

    device: Device
    started_at: datetime
    finished_at: datetime
    reading: Result | None = None
    error: Exception | None = None


@dataclass(frozen=True, eq=False)
class _Attempt(Generic[Result]):
    device: Device
    started_at: datetime
    releases_slot_at: float
    times_out_at: float
    results: queue.SimpleQueue[tuple[_Attempt[Result], PollOutcome[Result]]] = field(repr=False)

    def run(self, read: Callable[[Device], Result], clock: Clock) -> None:
        reading: Result | None = None
        error: Exception | None = None
        try:
            reading = read(self.device)
        except Exception as raised:  # any error is the outcome of this device; it must not end the thread silently
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
    read: Callable[[Device], Result],
    *,
    max_workers: int = 32,
    deadline_seconds: float,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[PollOutcome[Result]]:
    """Read all devices, in `max_workers` slots; yield each outcome as soon as it is available, one per device.

    A reading that takes longer than RELEASE_SLOT_AFTER_SECONDS continues, and its slot goes to the next device: so
    every `max_workers` hanging terminals delay the others by that time, not by a deadline.

    `read` is expected to end within `deadline_seconds`. A reading that does not is abandoned a second later: its
    outcome is DeadlineExceeded, and its thread, a daemon, is ignored from then on. Any exception of `read` becomes the
    outcome's `error`. While the consumer processes an outcome, no further device is started, so that few readings wait
    in memory.
    """
    for batch in poll_batches(
        devices, read, max_batch=1, max_workers=max_workers, deadline_seconds=deadline_seconds, clock=clock
    ):
        yield from batch


def poll_batches(
    devices: Iterable[Device],
    read: Callable[[Device], Result],
    *,
    max_batch: int,
    max_workers: int = 32,
    deadline_seconds: float,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[list[PollOutcome[Result]]]:
    """Like `poll_many`, but yields the outcomes that are available together, at most `max_batch` of them."""
    waiting = deque(devices)
    running: set[_Attempt[Result]] = set()
    results: queue.SimpleQueue[tuple[_Attempt[Result], PollOutcome[Result]]] = queue.SimpleQueue()
    while waiting or running:
        now = clock.monotonic()
        taken = [attempt.releases_slot_at for attempt in running if attempt.releases_slot_at > now]
        for _ in range(min(len(waiting), max_workers - len(taken))):
            attempt = _Attempt(
                waiting.popleft(),
                clock.now(),
                releases_slot_at=now + RELEASE_SLOT_AFTER_SECONDS,
                times_out_at=now + deadline_seconds + GRACE_SECONDS,
                results=results,
            )
            running.add(attempt)
            taken.append(attempt.releases_slot_at)
            threading.Thread(
                target=attempt.run, args=(read, clock), name=f"poll {attempt.device.name}", daemon=True
            ).start()
        wakes_at = min(attempt.times_out_at for attempt in running)
        if waiting:
            wakes_at = min(wakes_at, *taken)
        try:
            attempt, outcome = results.get(timeout=max(min(wakes_at - clock.monotonic(), _CHECK_INTERVAL_SECONDS), 0.0))
        except queue.Empty:
            check_for_end()
            for attempt in [late for late in running if late.times_out_at <= clock.monotonic()]:
                running.remove(attempt)
                yield [_timed_out(attempt, deadline_seconds, clock)]
            continue
        batch = [(attempt, outcome)]
        with suppress(queue.Empty):
            while len(batch) < max_batch:
                batch.append(results.get_nowait())
        outcomes = [outcome for attempt, outcome in batch if attempt in running]
        running.difference_update(attempt for attempt, _ in batch)
        if outcomes:
            yield outcomes


def _timed_out(attempt: _Attempt[Result], deadline_seconds: float, clock: Clock) -> PollOutcome[Result]:
    problem = f"it did not end within {deadline_seconds:g} s"
    return PollOutcome(
        device=attempt.device,
        started_at=attempt.started_at,
        finished_at=clock.now(),
        error=DeadlineExceeded(attempt.device, "polling", problem),
    )
