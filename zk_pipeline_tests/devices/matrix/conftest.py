"""Fault matrix: a sample of its cases in the default run, all with `-m matrix`; each says how it ended."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from zk_pipeline_tests.devices.matrix.matrix_judge import OUTCOME, Timing

HERE = Path(__file__).parent
SEED = 20261129  # of the sample
SAMPLED = 6  # one case of so many of each test, at least one
LEAST = 2

Settle = Callable[[str, str | Timing], None]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the cases `matrix` that the default run leaves out; where they are asked for by that mark, all of them."""
    cases: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if HERE in item.path.parents:
            cases[item.nodeid.partition("[")[0]].append(item)
    is_sampled = "not matrix" in config.option.markexpr
    for name, grid in cases.items():
        chosen = random.Random(f"{SEED} {name}").sample(grid, min(len(grid), max(LEAST, len(grid) // SAMPLED)))
        for item in grid:
            if not is_sampled or item not in chosen:
                item.add_marker("matrix")


@pytest.fixture
def settle(record_property: Callable[[str, object], None]) -> Settle:
    """Puts the outcome of a case on record and fails the test where it is another than the pinned one."""

    def settle(outcome: str, expected: str | Timing) -> None:
        record_property(OUTCOME, outcome)
        assert outcome in (expected.either if isinstance(expected, Timing) else (expected,))

    return settle
