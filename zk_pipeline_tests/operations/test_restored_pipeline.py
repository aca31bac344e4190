"""Restores at random instants of a running pipeline, following the printed advice: the result is as without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from zk_pipeline.store.engine.database import Where
from zk_pipeline_tests.operations.restored_pipeline import RestoredPipeline

pytestmark = pytest.mark.file_engine


def run(pipeline: RestoredPipeline) -> None:
    try:
        pipeline.run()
    except BaseException:
        print("\n".join(pipeline.steps))  # noqa: T201
        raise


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "seed",
    [pytest.param(11, id="nothing undone", marks=pytest.mark.matrix), pytest.param(12, id="one decision undone")],
)
def test_a_pipeline_restored_at_some_instant_ends_as_one_that_was_not(
    seed: int, tmp_path: Path, empty_store_file: Where
) -> None:
    run(RestoredPipeline(seed, tmp_path, empty_store_file, step_count=5))


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(22))
def test_a_pipeline_restored_at_any_of_many_instants_ends_as_one_that_was_not(
    seed: int, tmp_path: Path, empty_store_file: Where
) -> None:
    run(RestoredPipeline(seed, tmp_path, empty_store_file))
