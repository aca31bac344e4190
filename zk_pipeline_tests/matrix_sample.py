"""Sample of a fault matrix for the default run: each value of each parameter at least once, chosen by a fixed seed."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

SEED = 20261129

_Values = frozenset[tuple[str, str]]


def mark_unsampled(config: pytest.Config, items: Iterable[pytest.Item], folder: Path, share: float = 0.0) -> None:
    """Mark `matrix` the cases below `folder` that the default run and `-m fast` leave out; with any other `-m`, all.

    The sample of a test has each value of each of its parameters, at least two cases and at least `share` of them.
    Cases that are marked already are not sampled.
    """
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if folder in item.path.parents and not item.get_closest_marker("matrix"):
            cases[item.nodeid.partition("[")[0]].append(item)
    is_sampled = "not matrix" in config.option.markexpr or config.option.markexpr == "fast"
    for name, grid in cases.items():
        sample = _sample(name, grid, max(2, int(len(grid) * share))) if is_sampled else set()
        for number, item in enumerate(grid):
            if number not in sample:
                item.add_marker("matrix")


def _sample(name: str, grid: Sequence[pytest.Item], least: int) -> set[int]:
    values = [_values_of(item) for item in grid]
    order = random.Random(f"{SEED} {name}").sample(range(len(grid)), len(grid))
    sample: set[int] = set()
    missing = frozenset().union(*values)
    while missing:
        best = max(order, key=lambda number: len(values[number] & missing))
        sample.add(best)
        missing -= values[best]
    for number in order:
        if len(sample) >= least:
            break
        sample.add(number)
    return sample


def _values_of(item: pytest.Item) -> _Values:
    parameters = getattr(item, "callspec", None)
    return frozenset((name, repr(value)) for name, value in parameters.params.items()) if parameters else frozenset()
