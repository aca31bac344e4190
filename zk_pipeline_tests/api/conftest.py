"""A running API on an empty home, and a client for each scope."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from zk_pipeline.settings import load_settings
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_bench import Served, serve


@pytest.fixture
def served(home: Path, home_store: Store) -> Iterator[Served]:  # noqa: ARG001 (exports the home)
    with serve(load_settings(), home_store) as served:
        yield served


@pytest.fixture
def admin(served: Served) -> Iterator[httpx.Client]:
    with served.client("admin") as client:
        yield client


@pytest.fixture
def stranger(served: Served) -> Iterator[httpx.Client]:
    with served.client(None) as client:
        yield client
