"""A running receiver with one adopted terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.receiver.receiver_fixtures import Served, adopt, receiver_of, serve
from zk_pipeline_tests.store.store_fixtures import StoppedClock, copied


@pytest.fixture(scope="session")
def adopted_store_file(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    """A store with the terminal SERIAL adopted as Gate, in UTC."""
    store = copied(empty_store_file, tmp_path_factory.mktemp("adopted"))
    adopt(store)
    return store.database.where


@pytest.fixture
def adopted(adopted_store_file: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    return copied(adopted_store_file, tmp_path, clock)


@pytest.fixture
def served(adopted: Store) -> Iterator[Served]:
    with serve(receiver_of(adopted)) as served:
        yield served
