"""The demo's three steps through Dagster, and the reckoning over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zk_pipeline.config.settings import Settings
from zk_pipeline.demo.verification import Check, TruePunch, check_crm, check_days, check_punches
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.simulator.company.workforce import Workforce
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store, utc_now

if TYPE_CHECKING:
    from zk_pipeline.defs.partitions import DateRange
    from zk_pipeline.runs.launcher import Launcher, RunResult


@dataclass(frozen=True)
class Summary:
    """What the demo did in this run, and whether everything agrees."""

    terminals: int
    employees: int
    punches_new: int
    days_made: int
    delivered: int
    checks: tuple[Check, ...]

    @property
    def agrees(self) -> bool:
        return all(check.agrees for check in self.checks)


@dataclass(frozen=True)
class Walkthrough:
    """Everything the steps need: settings of the demo's home, terminals that answer, a CRM that listens."""

    settings: Settings
    workforce: Workforce
    fleet: Fleet
    crm: CrmReceiver
    say: Callable[[str], None]

    @property
    def store(self) -> Store:
        return Store.at(self.settings.store)

    def register(self) -> None:
        """The emulated terminals as devices; their ports differ from run to run."""
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
        )

    def run(self, launcher: Launcher, truth: Sequence[TruePunch]) -> Summary:
        """Poll, process, sync; then count. Raises ZkPipelineError where a run failed."""
        names = [one.name for one in self.workforce.terminals]
        self.say(f"polling {len(names)} terminals ...")
        polled = [_succeeded(run) for run in launcher.poll(names, names)]
        self.say("making days ...")
        dates = self._all_dates()
        made = _succeeded(launcher.process(dates))
        self.say("delivering to the CRM ...")
        sent = _succeeded(launcher.sync(dates, {"retry": True}))
        self.say("counting ...")
        held = sum(self.fleet.terminal(name).record_count for name in names)
        return Summary(
            terminals=len(names),
            employees=len(self.workforce.employees),
            punches_new=sum(values["new_punches"] for run in polled for values in run.partitions.values()),
            days_made=sum(values["added"] + values["changed"] for values in made.partitions.values()),
            delivered=sent.observed["delivered"],
            checks=(
                check_punches(held, truth, self.store),
                check_days(truth, self.store),
                check_crm(self.crm.ledger.latest(), self.crm.ledger.anomalies, self.store),
            ),
        )

    def _all_dates(self) -> DateRange:
        """Not only those that are stale or due: a date without punches shall be seen to be done, too."""
        from zk_pipeline.defs.partitions import DateRange, last_work_date  # noqa: PLC0415 (Dagster, slow to import)

        return DateRange(self.settings.history_start, last_work_date(self.settings, utc_now()))


def comm_key_variable(terminal: str) -> str:
    """The variable in which the demo passes a terminal's comm key."""
    return "DEMO_COMM_KEY_" + "".join(c if c.isalnum() else "_" for c in terminal).upper()


def _succeeded(result: RunResult) -> RunResult:
    if result.failure:
        raise ZkPipelineError(f"run {result.run_id} failed: {result.failure}")
    return result
