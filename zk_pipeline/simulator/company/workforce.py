"""Generate a company and the log of each of its terminals, from one seed.

Terminals and employees come from `company`, punch times from `schedules`; `storage` persists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.company.company import enroll, make_employees, make_terminals
from zk_pipeline.simulator.company.schedules import IN, OUT, Employee, SitePunches, site_punches
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import PUNCH_COLUMNS
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal, PunchStore, utc_now

TRUTH_COLUMNS = ["device", "site", "timezone", "user_id", "punched_at_local"]

_UNDEFINED_STATE = 255  # what a terminal without state keys records
_LAYOUT_WITHOUT_STATE_KEYS = 8
_DUPLICATE_SHARE = 0.04
_NOON = 12


@dataclass(frozen=True)
class NextPunch:
    """The next punch of an employee, still without a time, which the terminal records."""

    terminal: str
    user_id: str
    verify_type: int
    punch_state: int


@dataclass(frozen=True, kw_only=True)
class Workforce:
    """Terminals, employees, and `punches`: columns `device` and PUNCH_COLUMNS, per terminal as recorded.

    Times are naive and by each terminal's own clock, including its error. (device, user_id, time) is unique.
    """

    terminals: tuple[TerminalDefinition, ...]
    employees: tuple[Employee, ...] = field(repr=False)
    punches: pd.DataFrame = field(repr=False)

    def log_of(self, terminal: str) -> pd.DataFrame:
        """One terminal's log, columns PUNCH_COLUMNS."""
        is_its_own = self.punches["device"] == terminal
        log: pd.DataFrame = self.punches.loc[is_its_own, PUNCH_COLUMNS].reset_index(drop=True)
        return log

    def emulated_terminals(
        self,
        clock: Callable[[], datetime] = utc_now,
        stores: Mapping[str, PunchStore] | None = None,
    ) -> list[EmulatedTerminal]:
        """The terminals with their logs, ready to be served; `stores` by terminal name."""
        logs = {str(name): log for name, log in self.punches.groupby("device", sort=False)}
        stores = stores or {}
        return [
            EmulatedTerminal(terminal, log=logs.get(terminal.name), clock=clock, store=stores.get(terminal.name))
            for terminal in self.terminals
        ]

    def truth(self) -> pd.DataFrame:
        """All punches with their terminal's site and time zone, columns TRUTH_COLUMNS."""
        return with_sites(self.punches, self.terminals)

    def next_punches(self, rng: np.random.Generator, now: datetime, count: int = 1) -> list[NextPunch]:
        """The next punch of `count` different employees, at the aware instant `now`.

        With at least a second between two calls, no employee has two punches in the same second.
        """
        chosen = rng.choice(len(self.employees), size=min(count, len(self.employees)), replace=False)
        return [self._next_punch(rng, now, self.employees[index]) for index in chosen]

    def _next_punch(self, rng: np.random.Generator, now: datetime, employee: Employee) -> NextPunch:
        gates = [terminal for terminal in self.terminals if terminal.name == employee.home]
        if employee.uses_all_gates:
            gates = [terminal for terminal in self.terminals if terminal.site == employee.site]
        gate = gates[rng.integers(len(gates))]
        state = IN if now.astimezone(ZoneInfo(gate.timezone)).hour < _NOON else OUT
        if gate.layout == _LAYOUT_WITHOUT_STATE_KEYS:
            state = _UNDEFINED_STATE
        return NextPunch(gate.name, employee.user_id, employee.verify_type, state)


def generate(
    *, employees: int = 120, devices: int = 3, pushing: int = 0, days: int = 60, seed: int = 20, until: datetime
) -> Workforce:
    """Generate a company with `days` calendar days of punches up to the aware instant `until`.

    `devices` terminals are polled, `pushing` further ones push. The same arguments give the same company. Raises
    UsageError for numbers below 1.
    """
    for name, value in (("employees", employees), ("devices", devices), ("days", days)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")
    if until.tzinfo is None:
        raise ValueError("`until` has to be aware")
    terminals = make_terminals(devices, pushing)
    staff = make_employees(employees, terminals)
    punches = _recorded(terminals, staff, _true_log(terminals, staff, days, seed=seed, until=until))
    counts = punches["device"].value_counts()
    by_site = {site: [one for one in staff if one.site == site] for site in {one.site for one in terminals}}
    return Workforce(
        terminals=tuple(enroll(one, by_site[one.site], int(counts.get(one.name, 0))) for one in terminals),
        employees=tuple(staff),
        punches=punches,
    )


def with_sites(punches: pd.DataFrame, terminals: Sequence[TerminalDefinition]) -> pd.DataFrame:
    """Punches with their `device`, joined with that terminal's site and time zone: columns TRUTH_COLUMNS."""
    sites = pd.DataFrame([(t.name, t.site, t.timezone) for t in terminals], columns=TRUTH_COLUMNS[:3])
    joined: pd.DataFrame = punches.merge(sites, on="device", how="left")[TRUTH_COLUMNS]
    return joined


def _true_log(
    terminals: Sequence[TerminalDefinition],
    employees: Sequence[Employee],
    days: int,
    *,
    seed: int,
    until: datetime,
) -> pd.DataFrame:
    """Punches of all sites, unordered: gate and employee (indexes), at_local (true wall clock), state."""
    logs = []
    for number, site in enumerate(dict.fromkeys(one.site for one in terminals)):
        gates = np.array([index for index, one in enumerate(terminals) if one.site == site])
        staff = np.array([index for index, one in enumerate(employees) if one.site == site], np.int64)
        if not len(staff):
            continue
        rng = np.random.default_rng([seed, number])
        zone = ZoneInfo(terminals[gates[0]].timezone)
        end_local = np.datetime64(until.astimezone(zone).replace(tzinfo=None), "s")
        dates = end_local.astype("datetime64[D]") - np.arange(days)[::-1]
        punches = site_punches(rng, [employees[index] for index in staff], dates)

        index_of = {terminals[index].name: index for index in gates}
        home = np.array([index_of[employees[index].home] for index in staff])
        roams = np.array([employees[index].uses_all_gates for index in staff])
        gate = np.where(roams[punches.employee], rng.choice(gates, len(punches.employee)), home[punches.employee])
        log = _site_log(rng, punches, staff, gate)
        logs.append(log[log["at_local"] <= end_local])
    true_log: pd.DataFrame = pd.concat(logs, ignore_index=True)
    return true_log


def _site_log(
    rng: np.random.Generator,
    punches: SitePunches,
    staff: npt.NDArray[np.int64],
    gate: npt.NDArray[np.int64],
) -> pd.DataFrame:
    """The log of one site; some punches are repeated within seconds, as after a missed beep."""
    log = pd.DataFrame(
        {"gate": gate, "employee": staff[punches.employee], "at_local": punches.at_local, "state": punches.state}
    )
    duplicates = log[rng.random(len(log)) < _DUPLICATE_SHARE].copy()
    duplicates["at_local"] += rng.integers(2, 20, len(duplicates)).astype("timedelta64[s]")
    both: pd.DataFrame = pd.concat([log, duplicates], ignore_index=True)
    return both


def _recorded(
    terminals: Sequence[TerminalDefinition], employees: Sequence[Employee], true_log: pd.DataFrame
) -> pd.DataFrame:
    """The punches as the terminals record them: in order, by their own clocks, with states if they have state keys."""
    log = true_log.sort_values(["gate", "at_local"], kind="stable")
    offsets = np.array([one.clock_offset_seconds for one in terminals], "timedelta64[s]")
    log["at_local"] += offsets[log["gate"]]
    has_no_keys = np.array([one.layout == _LAYOUT_WITHOUT_STATE_KEYS for one in terminals])[log["gate"]]
    recorded: pd.DataFrame = pd.DataFrame(
        {
            "device": np.array([one.name for one in terminals], object)[log["gate"]],
            "user_id": np.array([one.user_id for one in employees], object)[log["employee"]],
            "punched_at_local": log["at_local"].to_numpy("datetime64[s]"),
            "verify_type": np.array([one.verify_type for one in employees], "u1")[log["employee"]],
            "punch_state": np.where(has_no_keys, _UNDEFINED_STATE, log["state"]).astype("u1"),
        }
    )
    return recorded
