"""Every case of the fault matrix says how it ended; the whole suite's summary adds them up."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from zk_pipeline_tests.devices.matrix.matrix_judge import OUTCOME

Settle = Callable[[str, Collection[str]], None]


@pytest.fixture
def settle(record_property: Callable[[str, object], None]) -> Settle:
    """Puts the outcome of a case on record and fails the test where it is not one of those allowed."""

    def settle(outcome: str, allowed: Collection[str]) -> None:
        record_property(OUTCOME, outcome)
        assert outcome in allowed

    return settle
