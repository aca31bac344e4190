"""All tests of terminals: each ends its threads and closes its sockets; families of cases are sampled by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from zk_pipeline_tests.leftovers import nothing_left_behind
from zk_pipeline_tests.matrix_sample import mark_unsampled

# No Hypothesis deadline: the time of an example depends on the load of the machine.
hypothesis.settings.register_profile("devices", deadline=None)
hypothesis.settings.load_profile("devices")

# Their parameters do not depend on each other: the sample has each value of each.
SAMPLED = {
    "test_a_counter_that_counts_deleted_records_too_hides_no_punches",
    "test_a_counter_that_did_not_move_does_not_hide_another_log",
    "test_a_datagram_lost_doubled_or_swapped_is_made_good",
    "test_a_transient_refusal_is_retried",
    "test_datagrams_that_are_always_lost_never_make_wrong_data",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    families = [item for item in items if getattr(item, "originalname", None) in SAMPLED]
    mark_unsampled(config, families, Path(__file__).parent)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    with nothing_left_behind(seconds=5):
        yield
