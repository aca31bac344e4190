"""Histories of many terminals in one store: rounds of events, live sessions and polls, each compared with the oracle.

The terminals speak the real protocol on loopback; they are polled, listened to and stored by the product's own
operations. A world's number decides how much time passes between its rounds, so that

    python -m zk_pipeline_tests.operations.history_world SEED

makes the history of one seed again, alone, and prints it step by step.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.devices.clock import Clock
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device, Reading
from zk_pipeline.devices.polling import poll_batches
from zk_pipeline.operations.live_capture import StoredPunches, capture_live
from zk_pipeline.operations.poll import poll_devices
from zk_pipeline.operations.process import process_dates
from zk_pipeline.operations.quarantine_release import release_quarantine
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.records import Punch
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.quality.doctor import Doctor, Finding
from zk_pipeline.store.store import Store
from zk_pipeline_tests.operations.history_oracle import StoredPunch
from zk_pipeline_tests.operations.history_terminal import Record, RefusesUserList
from zk_pipeline_tests.operations.log_history import History, Poll
from zk_pipeline_tests.store.store_fixtures import ALL

BEGIN = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
ROUNDS = 5
TOGETHER = 25  # histories in one world
PUNCHES = """
SELECT device, user_id, punched_at_local, punched_at, punch_state, verify_type, is_clock_suspect FROM raw_punches
"""
DAYS = "SELECT site, user_id, work_date, clock_in_local FROM daily_attendance"
RIGHT_DAYS = """
SELECT device, user_id, punched_at_local::DATE, min(punched_at_local)
FROM raw_punches WHERE NOT is_clock_suspect GROUP BY ALL
"""
QUARANTINED = "SELECT device, raw FROM quarantined_records WHERE released_at IS NULL"


@dataclass
class RunningClock:
    """True time that runs as fast as ours, and jumps by hand."""

    now: datetime = BEGIN
    _since: float = field(default_factory=time.monotonic)

    def __call__(self) -> datetime:
        return self.now + timedelta(seconds=time.monotonic() - self._since)

    def go(self, by: timedelta) -> datetime:
        self.now, self._since = self.now + by, time.monotonic()
        return self.now


@contextmanager
def polls_by(clock: Clock) -> Iterator[None]:
    """Polls begin and end by this clock, as the store's rows are written by a stopped clock."""
    with mock.patch("zk_pipeline.operations.poll.poll_batches", partial(poll_batches, clock=clock)):
        yield


class World:
    """Some histories in one store, which has nothing else in it."""

    def __init__(self, seeds: Sequence[int], where: Where) -> None:
        self.clock = RunningClock()
        self._passing = random.Random(f"time of world {seeds[0] // TOGETHER}")
        self.store = Store(Database(where, wait_seconds=20, foreign_wait_seconds=20), self.clock)
        self.histories = [History(seed, BEGIN, self.clock) for seed in seeds]
        self.counts: Counter[str] = Counter()
        self.findings: list[Finding] = []  # errors that `doctor` finds at the end
        ticking = Clock(now=self.clock)
        self.gateway = TerminalGateway(timeout=5, deadline=30, comm_keys=lambda _: 0, clock=ticking)
        self._rezoned: dict[str, str] = {}  # while it is polled
        self._devices: dict[str, Device] = {}  # as registered at the begin of the round

    def run(self) -> None:
        """Run all rounds and the final checks; failures are in the `problems` of each history."""
        with Fleet.serve([one.terminal for one in self.histories]) as self.fleet, polls_by(self.gateway.clock):
            self.store.devices.apply(self._device(one) for one in self.histories)
            for _ in range(ROUNDS):
                self._round()
            self._end()

    def failures(self) -> list[str]:
        """The histories that ended with something wrong, step by step, and what `doctor` found."""
        found = [f"doctor finds in this world: {one.name}: {one.what}" for one in self.findings]
        return found + [one.report() for one in self.histories if one.problems]

    def counted(self) -> Counter[str]:
        """What happened, and what came of the records."""
        return sum((one.counted() for one in self.histories), self.counts)

    @property
    def sound(self) -> list[History]:
        """Those that nothing has been found wrong with so far."""
        return [one for one in self.histories if not one.problems]

    def _device(self, history: History) -> Device:
        name = history.terminal.name
        port = self.fleet.port_of(name)
        return Device(
            name=name, ip_address="127.0.0.1", port=port, protocol=history.protocol, timezone=history.oracle.zone
        )

    def _round(self) -> None:
        gap = timedelta(minutes=self._passing.choice([10, 10, 20, 20, 30, 30, 130, 29 * 60]), seconds=7)
        now = self.clock.go(gap)
        for history in self.sound:
            history.steps.append(f"--- {now:%a %H:%M:%S} UTC, {gap} later")
            self.fleet.call(partial(history.offline, now))
            if (zone := history.new_zone()) is not None:
                self._rezone(history, zone)
        self._devices = {one.name: one for one in self.store.devices.all()}
        with self._listening([one for one in self.sound if one.wants_to_listen()]) as listening:
            listening.punch_each()
            polls = {history.terminal.name: history.wants_poll() for history in self.sound}
            self._poll(polls, is_full=self._passing.random() < 0.2)
            listening.punch_each()
        self._release([one for one in self.sound if one.is_released_now()])
        self._check()

    def _poll(self, polls: dict[str, Poll], *, is_full: bool) -> None:
        by_name = {one.terminal.name: one for one in self.sound}
        names = [name for name, poll in polls.items() if poll != "none"]
        for name in names:
            self.fleet.inject(name, RefusesUserList() if polls[name] == "without list" else Faults())
            if (zone := by_name[name].new_zone()) is not None:
                self._rezoned[name] = zone
        self._all_read = threading.Barrier(max(1, len(names)), timeout=2)
        now, devices = self.clock(), [self._devices[name] for name in names]
        for polled in poll_devices(self.store, devices, self._read, deadline_seconds=30, run_id="r", full=is_full):
            name = polled.device.name
            history, zone, before = by_name[name], self._rezoned.pop(name, None), by_name[name].oracle.zone
            if polled.ingested is None or polled.reading is None:
                history.problems.append(f"the poll failed: [{polled.error_code}] {polled.error}")
                continue
            self.counts[f"readings, {polled.reading.mode}"] += 1
            if zone is not None:
                history.rezoned(zone)
            has_list = polls[name] == "complete"
            history.polled(now, is_full=is_full, has_list=has_list, zone_before=before if zone else None)
            history.steps[-1] += f" (read: {polled.reading.mode})"
        for name in names:
            self.fleet.inject(name, Faults())  # a live punch after this poll has its user list

    def _read(self, device: Device, *position: Any) -> Reading:
        """A reading, after which the device may be registered under another zone, before it is stored.

        All of a poll end together, as those of terminals that are as fast as each other do, and are stored together.
        """
        try:
            reading = self.gateway.read(device, *position)
            if device.name in self._rezoned:
                self.store.devices.update(device.name, timezone=self._rezoned[device.name])
        finally:
            with suppress(threading.BrokenBarrierError):
                self._all_read.wait()
        return reading

    def _rezone(self, history: History, zone: str) -> None:
        self.store.devices.update(history.terminal.name, timezone=zone)
        history.rezoned(zone)

    def _release(self, histories: Sequence[History]) -> None:
        if histories:
            release_quarantine(self.store, [one.terminal.name for one in histories])
        for history in histories:
            history.released()

    @contextmanager
    def _listening(self, histories: Sequence[History]) -> Iterator[_CaptureSession]:
        listening = _CaptureSession(self, histories)
        with listening.running() if histories else listening.not_running():
            yield listening

    def _check(self) -> None:
        """Compare the store with the oracle; a history with a failure ends there."""
        with self.store.database.read("test") as connection:
            punches = connection.execute(PUNCHES).fetchall()
            quarantined = connection.execute(QUARANTINED).fetchall()
        for history in self.sound:
            name = history.terminal.name
            held = [StoredPunch(*row) for device, *row in punches if device == name]
            history.problems += history.oracle.problems(held, [raw for device, raw in quarantined if device == name])

    def _end(self) -> None:
        now = self.clock.go(timedelta(minutes=10, seconds=7))
        for history in self.sound:
            history.steps.append(f"--- {now:%a %H:%M:%S} UTC, the end")
        self._devices = {one.name: one for one in self.store.devices.all()}
        everyone: dict[str, Poll] = {one.terminal.name: "complete" for one in self.sound}
        self._poll(everyone, is_full=True)
        self._release([one for one in self.sound if one.oracle.is_anything_quarantined])
        self._check()
        names = [one.terminal.name for one in self.sound]
        devices = self.store.devices.select(names)
        for again in poll_devices(self.store, devices, self.gateway.read, deadline_seconds=30, run_id="r", full=True):
            if again.ingested is None or again.ingested.new:
                history = next(one for one in self.sound if one.terminal.name == again.device.name)
                history.problems.append(f"a second full poll brings something new: {again.summary}")
        self._check_days()
        self.findings = [one for one in Doctor(self.store.database).examine(self.clock()) if one.severity == "error"]

    def _check_days(self) -> None:
        """Days are made of exactly the punches that are not marked."""
        process_dates(
            self.store, [one.work_date for one in self.store.days.stale(**ALL)], WorkRules(), run_id="process"
        )
        with self.store.database.read("test") as connection:
            made, right = (connection.execute(sql).fetchall() for sql in (DAYS, RIGHT_DAYS))
        for history in self.sound:
            name = history.terminal.name
            days, due = ({row[1:] for row in rows if row[0] == name} for rows in (made, right))
            history.problems += [f"a day that is not to be: {day}" for day in sorted(days - due)]
            history.problems += [f"a day that is missing: {day}" for day in sorted(due - days)]


Sessions = tuple[Callable[[Punch], None], ...]


class _CaptureSession:
    """A live session with each of some terminals, by `operations.capture_live`."""

    def __init__(self, world: World, histories: Sequence[History]) -> None:
        self.world = world
        self.histories = histories
        self._received: Counter[str] = Counter()
        self._punched: Counter[str] = Counter()
        self._lost: list[History] = []
        self._said: list[str] = []
        self._errors: list[BaseException] = []

    @contextmanager
    def not_running(self) -> Iterator[None]:
        yield

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self._listen, args=[stop])
        thread.start()
        try:
            for history in self.histories:
                self._wait(history, lambda one: one.terminal.listener_count > 0, "the listener does not listen")
            yield
        finally:
            stop.set()
            thread.join()

    def punch_each(self) -> None:
        """A live punch at each terminal; returns once all are stored.

        One whose session ended may have been lost; nothing is punched there until the next listening.
        """
        punched = {}
        for history in self.histories:
            if not history.problems and history not in self._lost:
                punched[history] = self.world.fleet.call(partial(_punch, history))
        for history, (record, sessions) in punched.items():
            due = self._punched[history.terminal.name] = self._punched[history.terminal.name] + 1
            has_come, is_over = partial(self._has_come, due), partial(_is_over, sessions)
            self._wait(history, lambda one, come=has_come, over=is_over: come(one) or over(one), "not stored: a punch")
            is_certain = has_come(history)
            if not is_certain:
                self._lost.append(history)
                self.world.counts["live punches in doubt"] += 1
            history.heard(record, self.world.clock(), is_certain=is_certain)

    def _has_come(self, due: int, history: History) -> bool:
        return self._received[history.terminal.name] >= due

    def _listen(self, stop: threading.Event) -> None:
        world = self.world
        try:
            devices = [world._devices[one.terminal.name] for one in self.histories]
            capture_live(world.store, world.gateway, devices, stop=stop, on_stored=self._stored, say=self._said.append)
        except BaseException as error:
            self._errors.append(error)

    def _stored(self, stored: StoredPunches) -> None:
        self._received[stored.device] += stored.received

    def _wait(self, history: History, condition: Any, words: str) -> None:
        deadline = time.monotonic() + 15
        while not condition(history) and not history.problems:
            if time.monotonic() > deadline or self._errors:
                history.problems.append(f"{words}; said {self._said}, raised {self._errors}")
            time.sleep(0.01)


def _punch(history: History) -> tuple[Record, Sessions]:
    """A live punch, and the sessions that it was reported to; in the thread that serves the terminal."""
    sessions = tuple(history.terminal._listeners)
    return history.live_punch(), sessions


def _is_over(sessions: Sessions, history: History) -> bool:
    return not sessions or tuple(history.terminal._listeners) != sessions


def main() -> None:
    """Make the history of one seed again and print it."""
    with tempfile.TemporaryDirectory() as folder:
        world = World([int(sys.argv[1])], Path(folder) / "store.duckdb")
        world.run()
    (history,) = world.histories
    sys.stdout.write("\n\n".join(world.failures() or [history.report()]) + "\n")


if __name__ == "__main__":
    main()
