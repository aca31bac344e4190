"""Fixture for all tests of terminals: each test ends its threads and closes its sockets."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from zk_pipeline_tests.leftovers import nothing_left_behind

# No Hypothesis deadline: the time of an example depends on the load of the machine.
hypothesis.settings.register_profile("devices", deadline=None)
hypothesis.settings.load_profile("devices")


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    with nothing_left_behind(seconds=5):
        yield
