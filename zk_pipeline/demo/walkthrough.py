"""Walkthrough of the demo: poll, process and sync through Dagster, then the recount."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zk_pipeline.config.settings import Settings
from zk_pipeline.counted import counted
from zk_pipeline.demo.pushing import adopt, wait_for_uploads
from zk_pipeline.demo.verification import Comparison, TruePunch, check_crm, check_days, check_punches
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.simulator.company.workforce import Workforce
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.push.fleet import PushFleet
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store, utc_now

if TYPE_CHECKING:
    from zk_pipeline.defs.partitions import DateRange
    from zk_pipeline.runs.launcher import Launcher, RunResult


@dataclass(frozen=True)
class Summary:
    """Counts of one demo run, and the results of the recount."""

    terminals: int
    terminals_pushing: int
    employees: int
    punches_new: int
    punches_pushed: int
    days_made: int
    delivered: int
    checks: tuple[Comparison, ...]

    @property
    def agrees(self) -> bool:
        return all(check.agrees for check in self.checks)


@dataclass(frozen=True)
class Walkthrough:
    """The demo's settings, simulated terminals and simulated CRM, and its steps."""

    settings: Settings
    workforce: Workforce
    fleet: Fleet
    pushing: PushFleet
    crm: CrmReceiver
    say: Callable[[str], None]

    @property
    def store(self) -> Store:
        return Store.at(self.settings.store)

    def register(self) -> None:
        """Register the terminals that are polled as devices; their ports differ from run to run."""
        self.store.devices.apply(
            Device(
                name=one.name,
                ip_address=self.fleet.host,
                port=self.fleet.port_of(one.name),
                timezone=one.timezone,
                site=one.site,
                encoding=one.encoding,
                comm_key_env=comm_key_variable(one.name) if one.comm_key else None,
            )
            for one in self.workforce.terminals
            if not one.pushes
        )

    def run(self, launcher: Launcher, truth: Sequence[TruePunch]) -> Summary:
        """Poll and receive, process and sync, then recount. Raises ZkPipelineError if a run failed."""
        names = [one.name for one in self.workforce.terminals if not one.pushes]
        self.say(f"polling {counted(len(names), 'terminal')} ...")
        polled = [_succeeded(run) for run in launcher.poll(names, names)]
        new = sum(values["new_punches"] for run in polled for values in run.partitions.values())
        pushed = self._receive()
        self.say("processing attendance days ...")
        dates = self._all_dates()
        made = _succeeded(launcher.process(dates))
        self.say("delivering to the CRM ...")
        sent = _succeeded(launcher.sync(dates, {"retry": True}))
        self.say("recounting ...")
        recorded = sum(self.fleet.terminal(one.name).record_count for one in self.workforce.terminals)
        return Summary(
            terminals=len(self.workforce.terminals),
            terminals_pushing=len(self.pushing.names),
            employees=len(self.workforce.employees),
            punches_new=new + pushed,
            punches_pushed=pushed,
            days_made=sum(
                values["changes"]["added"] + values["changes"]["changed"] for values in made.partitions.values()
            ),
            delivered=sent.observed["delivered"],
            checks=(
                check_punches(recorded, truth, self.store),
                check_days(truth, self.store),
                check_crm(self.crm.ledger.latest(), self.crm.ledger.anomalies, self.store),
            ),
        )

    def _receive(self) -> int:
        """Adopt the terminals that push and wait for their uploads; returns the number of new punches."""
        names = self.pushing.names
        self.say(f"receiving from {counted(len(names), 'pushing terminal')} ...")
        before = self._stored(names)
        adopt(self.pushing, self.store)
        wait_for_uploads(self.pushing)
        return self._stored(names) - before

    def _stored(self, names: Sequence[str]) -> int:
        return sum(device in names for device, _, _ in self.store.audit.punches())

    def _all_dates(self) -> DateRange:
        """All work dates, not only stale or due ones, so that dates without punches are processed, too."""
        from zk_pipeline.defs.partitions import DateRange  # noqa: PLC0415 (Dagster, slow to import)
        from zk_pipeline.operations.work_dates import last_work_date  # noqa: PLC0415 (Dagster, slow to import)

        return DateRange(self.settings.history_start, last_work_date(self.settings, utc_now()))


def comm_key_variable(terminal: str) -> str:
    """The variable in which the demo passes a terminal's comm key."""
    return "DEMO_COMM_KEY_" + "".join(c if c.isalnum() else "_" for c in terminal).upper()


def _succeeded(result: RunResult) -> RunResult:
    if result.failure:
        raise ZkPipelineError(f"run {result.run_id} failed: {result.failure}")
    return result
