"""Merge of golden cases into one store, each with users, sites, terminals and shifts of its own.

Creating a store per case takes most of the time of a case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import yaml

from zk_pipeline_tests.attendance.golden_days import ByHand, Case, Log, ShiftFile, Step, Terminal


def is_told_at_once(case: Case) -> bool:
    """Whether a case can be merged: no processing between its steps, one time, no holiday of all sites, no rotation."""
    return all(
        isinstance(step, Terminal | Log | ByHand)
        or (isinstance(step, ShiftFile) and _is_of_its_sites(step.text) and "rotation:" not in step.text)
        for step in case.steps
    )


def all_of(cases: Iterable[Case]) -> list[Step]:
    """Merged steps: terminals, all shifts in one file, then the logs: the first of all cases, then the second; punches
    by hand last.
    """
    terminals: dict[str, Step] = {}
    logs: dict[tuple[int, str], Log] = {}
    by_hand: list[Step] = []
    whole: dict[str, list[Any]] = {}
    for case in cases:
        for number, step in enumerate(_named(case)):
            if isinstance(step, ShiftFile):
                for section, rows in yaml.safe_load(step.text).items():
                    whole.setdefault(section, []).extend(rows)
            elif isinstance(step, Log):
                logs.setdefault((number, step.terminal), Log(step.terminal, [])).punches.extend(step.punches)
            elif isinstance(step, ByHand):
                by_hand.append(step)
            elif isinstance(step, Terminal):
                terminals[step.name] = step
    read = [logs[key] for key in sorted(logs)]
    return [*terminals.values(), *([ShiftFile(yaml.safe_dump(whole))] if whole else []), *read, *by_hand]


def _is_of_its_sites(text: str) -> bool:
    return all("site" in one for one in yaml.safe_load(text).get("holidays", []))


def _named(case: Case) -> Iterator[Step]:
    """Steps of a case with unique names; cases that differ in users only share one gate."""
    own = f"{case.name}: "
    gates = own if any(isinstance(step, Terminal | ShiftFile) for step in case.steps) else ""
    if not any(isinstance(step, Terminal) for step in case.steps):
        yield Terminal(f"{gates}Gate", "Europe/Istanbul")
    for step in case.steps:
        if isinstance(step, Terminal):
            yield replace(step, name=gates + step.name, site=gates + (step.site or step.name))
        elif isinstance(step, Log):
            yield Log(gates + step.terminal, [(own + person, at, state) for person, at, state in step.punches])
        elif isinstance(step, ByHand):
            punches = [(own + person, at, state) for person, at, state in step.punches]
            yield replace(step, site=gates + step.site, punches=punches)
        elif isinstance(step, ShiftFile):
            file: dict[str, list[dict[str, Any]]] = yaml.safe_load(step.text)
            yield ShiftFile(yaml.safe_dump({section: _rows(rows, own) for section, rows in file.items()}))


def _rows(rows: list[dict[str, Any]], own: str) -> list[dict[str, Any]]:
    names = {"shift", "use", "user", "site", "device", "alternatives"}
    return [
        {
            key: own + value if key in names or (key == "name" and "date" not in row) else value
            for key, value in row.items()
        }
        for row in rows
    ]
