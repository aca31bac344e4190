"""A made-up company and what each of its terminals has recorded, all from one seed.

Who and what there is comes from `company`, when people punch from `schedules`; `storage` keeps it on disk.
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
from zk_pipeline.simulator.company.company import enrolled, people_of, terminals_of
from zk_pipeline.simulator.company.schedules import IN, OUT, Person, SitePunches, site_punches
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import PUNCH_COLUMNS
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal, PunchStore, utc_now

TRUTH_COLUMNS = ["device", "site", "timezone", "user_id", "punched_at_local"]

_UNDEFINED_STATE = 255  # what a terminal without state keys records
_LAYOUT_WITHOUT_STATE_KEYS = 8
_SHARE_OF_DOUBLES = 0.04
_NOON = 12


@dataclass(frozen=True)
class LivePunch:
    """A punch that somebody is about to make; the terminal will stamp it."""

    terminal: str
    user_id: str
    verify_type: int
    punch_state: int


@dataclass(frozen=True, kw_only=True)
class Workforce:
    """Terminals, people, and `punches`: columns `device` and PUNCH_COLUMNS, per terminal as recorded.

    Times are naive and by each terminal's own clock, its error included. No (device, user_id, time) twice.
    """

    terminals: tuple[TerminalDefinition, ...]
    people: tuple[Person, ...] = field(repr=False)
    punches: pd.DataFrame = field(repr=False)

    def log_of(self, terminal: str) -> pd.DataFrame:
        """One terminal's log, columns PUNCH_COLUMNS."""
        is_its_own = self.punches["device"] == terminal
        log: pd.DataFrame = self.punches.loc[is_its_own, PUNCH_COLUMNS].reset_index(drop=True)
        return log

    def emulated(
        self,
        clock: Callable[[], datetime] = utc_now,
        stores: Mapping[str, PunchStore] | None = None,
    ) -> list[EmulatedTerminal]:
        """The terminals with their logs, ready to be served; `stores` by terminal name."""
        logs = {str(name): log for name, log in self.punches.groupby("device", sort=False)}
        stores = stores or {}
        return [
            EmulatedTerminal(one, log=logs.get(one.name), clock=clock, store=stores.get(one.name))
            for one in self.terminals
        ]

    def truth(self) -> pd.DataFrame:
        """Every punch with its terminal's site and zone, columns TRUTH_COLUMNS."""
        return with_sites(self.punches, self.terminals)

    def next_punches(self, rng: np.random.Generator, now: datetime, count: int = 1) -> list[LivePunch]:
        """What `count` different people do next, at the aware instant `now`.

        Asked for and made at least a second apart, no two of one person fall into the same second.
        """
        chosen = rng.choice(len(self.people), size=min(count, len(self.people)), replace=False)
        return [self._next_punch(rng, now, self.people[index]) for index in chosen]

    def _next_punch(self, rng: np.random.Generator, now: datetime, person: Person) -> LivePunch:
        gates = [one for one in self.terminals if one.name == person.home]
        if person.uses_all_gates:
            gates = [one for one in self.terminals if one.site == person.site]
        gate = gates[rng.integers(len(gates))]
        state = IN if now.astimezone(ZoneInfo(gate.timezone)).hour < _NOON else OUT
        if gate.layout == _LAYOUT_WITHOUT_STATE_KEYS:
            state = _UNDEFINED_STATE
        return LivePunch(gate.name, person.user_id, person.verify_type, state)


def generate(*, employees: int = 120, devices: int = 3, days: int = 60, seed: int = 20, until: datetime) -> Workforce:
    """A company with `days` calendar days of punches up to the aware instant `until`, none after it.

    The same arguments give the same company. Raises UsageError for numbers that make none.
    """
    for name, value in (("employees", employees), ("devices", devices), ("days", days)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")
    if until.tzinfo is None:
        raise ValueError("`until` has to be aware")
    terminals = terminals_of(devices)
    people = people_of(employees, terminals)
    punches = _recorded(terminals, people, _true_log(terminals, people, days, seed=seed, until=until))
    held = punches["device"].value_counts()
    staff = {site: [one for one in people if one.site == site] for site in {one.site for one in terminals}}
    return Workforce(
        terminals=tuple(enrolled(one, staff[one.site], int(held.get(one.name, 0))) for one in terminals),
        people=tuple(people),
        punches=punches,
    )


def with_sites(punches: pd.DataFrame, terminals: Sequence[TerminalDefinition]) -> pd.DataFrame:
    """Punches with their `device`, joined with that terminal's site and zone: columns TRUTH_COLUMNS."""
    known = pd.DataFrame([(t.name, t.site, t.timezone) for t in terminals], columns=TRUTH_COLUMNS[:3])
    joined: pd.DataFrame = punches.merge(known, on="device", how="left")[TRUTH_COLUMNS]
    return joined


def _true_log(
    terminals: Sequence[TerminalDefinition],
    people: Sequence[Person],
    days: int,
    *,
    seed: int,
    until: datetime,
) -> pd.DataFrame:
    """All sites' punches, unordered: gate and person (positions), at_local (true wall clock), state."""
    logs = []
    for number, site in enumerate(dict.fromkeys(one.site for one in terminals)):
        gates = np.array([index for index, one in enumerate(terminals) if one.site == site])
        staff = np.array([index for index, one in enumerate(people) if one.site == site], np.int64)
        if not len(staff):
            continue
        rng = np.random.default_rng([seed, number])
        zone = ZoneInfo(terminals[gates[0]].timezone)
        end_local = np.datetime64(until.astimezone(zone).replace(tzinfo=None), "s")
        dates = end_local.astype("datetime64[D]") - np.arange(days)[::-1]
        made = site_punches(rng, [people[index] for index in staff], dates)

        number_of = {terminals[index].name: index for index in gates}
        home = np.array([number_of[people[index].home] for index in staff])
        roams = np.array([people[index].uses_all_gates for index in staff])
        gate = np.where(roams[made.person], rng.choice(gates, len(made.person)), home[made.person])
        log = _site_log(rng, made, staff, gate)
        logs.append(log[log["at_local"] <= end_local])
    true_log: pd.DataFrame = pd.concat(logs, ignore_index=True)
    return true_log


def _site_log(
    rng: np.random.Generator,
    made: SitePunches,
    staff: npt.NDArray[np.int64],
    gate: npt.NDArray[np.int64],
) -> pd.DataFrame:
    """One site's log, some punches in it twice within seconds by people who missed the beep."""
    log = pd.DataFrame({"gate": gate, "person": staff[made.person], "at_local": made.at_local, "state": made.state})
    doubles = log[rng.random(len(log)) < _SHARE_OF_DOUBLES].copy()
    doubles["at_local"] += rng.integers(2, 20, len(doubles)).astype("timedelta64[s]")
    both: pd.DataFrame = pd.concat([log, doubles], ignore_index=True)
    return both


def _recorded(
    terminals: Sequence[TerminalDefinition], people: Sequence[Person], true_log: pd.DataFrame
) -> pd.DataFrame:
    """What the terminals made of it: in order, by their own clocks, states where there are keys for them."""
    log = true_log.sort_values(["gate", "at_local"], kind="stable")
    offsets = np.array([one.clock_offset_seconds for one in terminals], "timedelta64[s]")
    log["at_local"] += offsets[log["gate"]]
    has_no_keys = np.array([one.layout == _LAYOUT_WITHOUT_STATE_KEYS for one in terminals])[log["gate"]]
    recorded: pd.DataFrame = pd.DataFrame(
        {
            "device": np.array([one.name for one in terminals], object)[log["gate"]],
            "user_id": np.array([one.user_id for one in people], object)[log["person"]],
            "punched_at_local": log["at_local"].to_numpy("datetime64[s]"),
            "verify_type": np.array([one.verify_type for one in people], "u1")[log["person"]],
            "punch_state": np.where(has_no_keys, _UNDEFINED_STATE, log["state"]).astype("u1"),
        }
    )
    return recorded
