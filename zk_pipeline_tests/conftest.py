"""A migrated, empty store for whoever needs one; made once per process, copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_bench import StoppedClock, store_at


@pytest.fixture(scope="session")
def empty_store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "store.duckdb"
    assert store_at(path).devices.all() == []
    return path


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def store(empty_store_file: Path, tmp_path: Path, clock: StoppedClock) -> Store:
    path = tmp_path / "store.duckdb"
    shutil.copyfile(empty_store_file, path)  # nobody has the template open
    return store_at(path, clock)
