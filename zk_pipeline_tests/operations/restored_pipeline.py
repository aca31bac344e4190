"""A running pipeline that is restored at a random instant, next to one that never is, on the same emulated terminals.

    python -m zk_pipeline_tests.operations.restored_pipeline SEED

runs one seed alone and prints its steps.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import time, timedelta
from pathlib import Path
from typing import Any

from zk_pipeline.attendance.shifts import Assignment, Holiday, Shift, Target
from zk_pipeline.cli.store.backup import next_commands
from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.devices.clock import Clock
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.poll import poll_devices
from zk_pipeline.operations.process import process_dates, stale_dates
from zk_pipeline.operations.restore import preview_restore
from zk_pipeline.operations.sync import sync
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.records import TerminalUser
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.engines import copy_store
from zk_pipeline_tests.operations.company_fixtures import LAST
from zk_pipeline_tests.operations.history_world import RunningClock, polls_by
from zk_pipeline_tests.store.store_fixtures import rows

STEPS = 14
Decision = Callable[[Store], object]
DAYS = """
SELECT site, user_id, work_date, device, clock_in, clock_out, punch_count, worked_minutes, outlier_codes, shift, day_off
FROM daily_attendance ORDER BY ALL
"""
REGISTERED = "SELECT name, site, enabled, removed_at IS NULL FROM devices ORDER BY name"
PUNCHES = "SELECT device, user_id, punched_at_local, punched_at FROM raw_punches ORDER BY ALL"


@dataclass
class Pipeline:
    """A store and the CRM that it delivers to."""

    store: Store
    crm: CrmReceiver
    gateway: TerminalGateway
    settings: Settings
    runs: int = 0

    def poll(self) -> None:
        devices = [one for one in self.store.devices.all() if one.enabled]
        for polled in poll_devices(
            self.store, devices, self.gateway.read, deadline_seconds=30, run_id=f"poll {self.runs}"
        ):
            assert polled.error is None, polled.error

    def process(self) -> None:
        dates = [one.work_date for one in stale_dates(self.store, self.settings, last=LAST)]
        done = process_dates(self.store, dates, work_rules(self.settings), run_id=None)
        assert (done.failed, done.overtaken) == ({}, [])

    def sync(self) -> None:
        self.runs += 1
        assert sync(self.store, self.settings, SyncScope(), run_id=f"sync {self.runs}").stopped is None

    def standing(self) -> dict[Any, dict[str, object]]:
        """The CRM's records without their revisions and without retracted ones."""
        held = self.crm.ledger.latest()
        return {
            day: {name: value for name, value in record.items() if name != "revision"}
            for day, record in held.items()
            if record["clock_in"] is not None
        }

    def good_tokens(self) -> list[tuple[str, str]]:
        return sorted((token.name, token.scope) for token in self.store.api_tokens.good().values())


@dataclass
class RestoredPipeline:
    """One seed: `run` raises AssertionError where the two pipelines end up different."""

    seed: int
    folder: Path
    template: Where
    step_count: int = STEPS
    steps: list[str] = field(default_factory=list)

    def run(self) -> None:
        self.random = random.Random(f"restored pipeline {self.seed}")
        self.clock = RunningClock()
        self.decisions: list[tuple[str, Decision]] = []
        self.terminals: list[str] = []
        made, restored = sorted(self.random.sample(range(3, self.step_count), 2))
        with ExitStack() as stack:
            self.fleet = stack.enter_context(Fleet())
            self.one, self.other = (self._pipeline(stack, name) for name in ("restored", "undisturbed"))
            stack.enter_context(polls_by(self.one.gateway.clock))
            self._register()
            for step in range(self.step_count):
                if step == made:
                    self.steps.append("--- backup")
                    backup, kept = self.one.store.backups.make(self.folder / "backup.duckdb").file, len(self.decisions)
                if step == restored:
                    self._restore(backup, kept)
                self._step()
            for pipeline in (self.one, self.other):
                pipeline.poll()
                pipeline.process()
                pipeline.sync()
            self._compare()

    def _pipeline(self, stack: ExitStack, name: str) -> Pipeline:
        crm = stack.enter_context(CrmReceiver(token="secret"))
        home = self.folder / name
        home.mkdir()
        store = Store(Database(copy_store(self.template, home / "store.duckdb"), wait_seconds=20), self.clock)
        settings = load_settings(
            {
                "ZK_PIPELINE_HOME": str(home),
                "ZK_PIPELINE_HISTORY_START": "2000-01-01",
                "CRM_API_URL": crm.url,
                "CRM_API_TOKEN": "secret",
            }
        )
        ticking = Clock(now=self.clock)
        gateway = TerminalGateway(timeout=5, deadline=30, comm_keys=lambda _: 0, clock=ticking)
        return Pipeline(store, crm, gateway, settings)

    def _both(self, done: Callable[[Pipeline], object]) -> None:
        for pipeline in (self.one, self.other):
            done(pipeline)

    def _decide(self, what: str, decision: Decision) -> None:
        self.steps.append(f"decided: {what}")
        self.decisions.append((what, decision))
        self._both(lambda pipeline: decision(pipeline.store))

    def _step(self) -> None:
        self.clock.go(timedelta(minutes=self.random.choice([90, 240, 500, 900])))
        self._punch()
        kinds = [self._poll, self._process, self._sync, self._register, self._remove, self._move, self._clear]
        decisions = [self._shift, self._holiday, self._correct, self._revoke]
        tokens = [self._new_token, self._revoke_token]
        for kind in self.random.choices([*kinds, *decisions, *tokens], [4, 3, 3, 2, 1, 1, 1, 2, 1, 2, 1, 1, 1], k=2):
            kind()

    def _punch(self) -> None:
        for name in self.terminals:
            for user in self.fleet.terminal(name).definition.users:
                if self.random.random() < 0.6:
                    at = (self.clock() - timedelta(minutes=self.random.randrange(60))).replace(tzinfo=None)
                    self.fleet.punch(name, user.user_id, at.replace(microsecond=0))

    def _poll(self) -> None:
        self.steps.append("poll")
        self._both(Pipeline.poll)

    def _process(self) -> None:
        self.steps.append("process")
        self._both(Pipeline.process)

    def _sync(self) -> None:
        self.steps.append("poll, process, sync")
        for done in (Pipeline.poll, Pipeline.process, Pipeline.sync):
            self._both(done)

    def _register(self) -> None:
        number = len(self.terminals) + 1
        name, site = f"Gate {number}", self.random.choice(["", "HQ"])
        users = tuple(TerminalUser(uid=uid, user_id=f"{number}{uid:02}", name=f"P{uid}") for uid in range(1, 4))
        terminal = EmulatedTerminal(TerminalDefinition(name=name, users=users), clock=self.clock)
        port = self.fleet.add(terminal)
        device = Device(name=name, ip_address=self.fleet.host, port=port, protocol="tcp", site=site)
        self._both(lambda pipeline: pipeline.store.devices.add(device))
        self.terminals.append(name)
        self.steps.append(f"registered {name} at {site or name}")

    def _registered(self) -> str:
        return self.random.choice([one.name for one in self.other.store.devices.all()])

    def _remove(self) -> None:
        if len(self.other.store.devices.all()) > 1:
            name = self._registered()
            self.steps.append(f"removed {name}")
            self._both(lambda pipeline: pipeline.store.devices.remove(name))

    def _move(self) -> None:
        name, site = self._registered(), self.random.choice(["HQ", "Depot"])
        self.steps.append(f"moved {name} to {site}")
        self._both(lambda pipeline: pipeline.store.devices.update(name, site=site))

    def _clear(self) -> None:
        """The terminals lose their logs, once these are read."""
        self._poll()
        for name in self.terminals:
            if name in {one.name for one in self.other.store.devices.all()}:
                self.fleet.call(self.fleet.terminal(name).clear_log)
        self.steps.append("cleared the logs")

    def _shift(self) -> None:
        number, hour = len(self.decisions), self.random.choice([6, 14, 22])
        shift = Shift(
            name=f"shift {number}",
            start=time(hour),
            end=time((hour + 8) % 24),
        )
        user = f"{self.random.randrange(1, 4)}{self.random.randrange(1, 4):02}"
        assignment = Assignment(
            shift=shift.name,
            target=Target(user_id=user),
            valid_from=self.clock().date() - timedelta(days=number),
            valid_to=self.clock().date() - timedelta(days=number),
        )

        def decide(store: Store) -> None:
            store.shifts.add(shift)
            with suppress(UsageError):  # the person has one on that day
                store.shifts.assign(assignment)

        self._decide(f"{user} has the shift from {hour}:00 on one day", decide)

    def _holiday(self) -> None:
        day = self.clock().date() - timedelta(days=self.random.randrange(3))
        self._decide(f"holiday on {day}", lambda store: store.holidays.put([Holiday(day=day, name=f"Feast of {day}")]))

    def _correct(self) -> None:
        name, now = self._registered(), self.clock().replace(tzinfo=None, microsecond=0)
        seconds = self.random.choice([600, -3600, 86_400])
        span: dict[str, Any] = {"from_local": now - timedelta(hours=30), "to_local": now - timedelta(hours=10)}

        def decide(store: Store) -> None:
            if not _corrections(store, name):
                store.clock_corrections.add(name, **span, add_seconds=seconds)

        self._decide(f"clock of {name} corrected by {seconds}", decide)

    def _revoke(self) -> None:
        name = self._registered()

        def decide(store: Store) -> None:
            for one in _corrections(store, name):
                store.clock_corrections.revoke(one)

        self._decide(f"clock of {name} was right", decide)

    def _new_token(self) -> None:
        name = f"token {len(self.steps)}"
        self.steps.append(f"created {name}")
        self._both(lambda pipeline: pipeline.store.api_tokens.create(name, "read"))

    def _revoke_token(self) -> None:
        names = [name for name, _ in self.other.good_tokens()]
        if names:
            name = self.random.choice(names)
            self.steps.append(f"revoked {name}")
            self._both(lambda pipeline: pipeline.store.api_tokens.revoke(name))

    def _restore(self, backup: Path, kept: int) -> None:
        """Restore, follow the printed advice to the letter, and decide again what was decided since the backup."""
        undone = self.decisions[kept:]
        self.steps.append(f"--- restore; undone: {', '.join(what for what, _ in undone) or 'nothing'}")
        one, attempts = self.one, len(self.one.crm.ledger.attempts)
        seen = preview_restore(one.store, one.settings, backup, last=LAST)
        done = one.store.restore.run(backup)
        assert (seen.restored.tables, seen.failed) == (done.tables, {})
        assert done.is_history_complete, done.not_carried
        assert rows(one.store, REGISTERED) == rows(self.other.store, REGISTERED)
        assert one.good_tokens() == self.other.good_tokens()
        for command in next_commands(one.settings, done):
            {"poll": one.poll, "process": one.process, "sync": one.sync}[command]()
        self.other.poll()
        self.other.process()
        if not undone:
            self._both(Pipeline.sync)
            assert rows(one.store, DAYS) == rows(self.other.store, DAYS)
            assert len(one.crm.ledger.attempts) - attempts == len(self.other.crm.ledger.attempts) - attempts
        elif self.random.random() < 0.5:
            one.sync()  # the CRM may hear of the days without the decisions, and of the days with them afterwards
        for _, decision in undone:
            decision(one.store)

    def _compare(self) -> None:
        one, other = self.one, self.other
        for question in (PUNCHES, DAYS, REGISTERED):
            found, expected = rows(one.store, question), rows(other.store, question)
            assert found == expected, [pair for pair in zip(found, expected, strict=False) if pair[0] != pair[1]][:3]
        assert one.standing() == other.standing()
        assert one.good_tokens() == other.good_tokens()
        for pipeline in (one, other):
            assert pipeline.crm.ledger.anomalies == []
            assert set(pipeline.crm.ledger.attempts.values()) <= {1}, "delivered twice"
            assert rows(pipeline.store, "SELECT count(*) FROM crm_deliveries WHERE state = 'pending'") == [(0,)]


def _corrections(store: Store, device: str) -> list[int]:
    return [one.id for one in store.clock_corrections.all() if one.device == device and one.revoked_at is None]


def main(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder) / "template.duckdb"
        Store(Database(template)).devices.all()
        pipeline = RestoredPipeline(seed, Path(folder), template)
        try:
            pipeline.run()
        finally:
            print("\n".join(pipeline.steps))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
