"""Restores at random instants of a running pipeline, following the printed advice: the result is as without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from zk_pipeline.store.engine.database import Where
from zk_pipeline_tests.operations.restored_pipeline import RestoredPipeline

pytestmark = pytest.mark.file_engine


def run(seed: int, folder: Path, template: Where) -> None:
    pipeline = RestoredPipeline(seed, folder, template)
    try:
        pipeline.run()
    except BaseException:
        print("\n".join(pipeline.steps))  # noqa: T201
        raise


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(2))
def test_a_pipeline_restored_at_some_instant_ends_as_one_that_was_not(
    seed: int, tmp_path: Path, empty_store_file: Where
) -> None:
    run(seed, tmp_path, empty_store_file)


@pytest.mark.stress
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2, 22))
def test_a_pipeline_restored_at_any_of_twenty_instants_ends_as_one_that_was_not(
    seed: int, tmp_path: Path, empty_store_file: Where
) -> None:
    run(seed, tmp_path, empty_store_file)
