"""Random histories of terminals' logs: the store has exactly the readable records, for the user of the slot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from zk_pipeline.store.engine.database import Where
from zk_pipeline_tests.engines import copy_store
from zk_pipeline_tests.operations.history_oracle import HISTORY_COUNTS
from zk_pipeline_tests.operations.history_world import TOGETHER, World

SAMPLE = 10  # histories: each layout over each transport


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("worlds", "histories"),
    [
        pytest.param([0], SAMPLE, id="sample of world 0"),
        *[
            pytest.param(range(first, first + 4), TOGETHER, id=f"worlds {first}-{first + 3}", marks=pytest.mark.stress)
            for first in range(0, 40, 4)
        ],
    ],
)
def test_the_store_holds_exactly_what_was_ever_readable(
    worlds: Sequence[int],
    histories: int,
    empty_store_file: Where,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    counts: Counter[str] = Counter()
    failed: list[str] = []
    for number in worlds:
        first = number * TOGETHER
        world = World(range(first, first + histories), copy_store(empty_store_file, tmp_path / f"{number}.duckdb"))
        world.run()
        counts.update(world.counted())
        failed += world.failures()
    record_property(HISTORY_COUNTS, dict(counts))
    assert not failed, "\n\n".join([f"{len(failed)} of {counts['histories']} histories", *failed])
