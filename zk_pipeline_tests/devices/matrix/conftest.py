"""Fault matrix: a sample of its cases in the default run, all with `-m matrix`; each says how it ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zk_pipeline_tests.devices.matrix.matrix_judge import OUTCOME, Timing
from zk_pipeline_tests.matrix_sample import mark_unsampled

SHARE = 1 / 30  # of each test's cases, in the default run

Settle = Callable[[str, str | Timing], None]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mark_unsampled(config, items, Path(__file__).parent, SHARE)


@pytest.fixture
def settle(record_property: Callable[[str, object], None]) -> Settle:
    """Puts the outcome of a case on record and fails the test where it is another than the pinned one."""

    def settle(outcome: str, expected: str | Timing) -> None:
        record_property(OUTCOME, outcome)
        assert outcome in (expected.either if isinstance(expected, Timing) else (expected,))

    return settle
