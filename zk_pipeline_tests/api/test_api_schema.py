"""The API conforms to its OpenAPI document: schemathesis sends valid and invalid requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.http.services import Parts
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import NothingToDo, Served, serve


class Restless:
    """A clock that advances so fast that the login throttle never applies to the invalid tokens tried here."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 400.0
        return self.now


@pytest.fixture
def schema_home(home: Path, filled: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    assert home.exists()
    monkeypatch.setenv("ZKTECO_TIMEOUT", "0.1")  # no terminal responds
    monkeypatch.setenv("ZKTECO_POLL_DEADLINE", "0.5")
    filled.devices.update("North", ip_address="127.0.0.1")
    with serve(load_settings(), filled, Parts(actions=NothingToDo(), monotonic=Restless())) as served:
        yield served


@pytest.mark.timeout(300)
def test_the_document_is_true(schema_home: Served) -> None:
    """All default checks; 503 is an answer here, where no terminal, CRM and daemon is, and it is documented."""
    try_the_document(schema_home, examples=1, same=True)


@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_the_document_is_true_for_many_examples(schema_home: Served) -> None:
    try_the_document(schema_home, examples=int(os.environ.get("ZK_SCHEMA_EXAMPLES", "40")))


def try_the_document(served: Served, *, examples: int, same: bool = False) -> None:
    from zk_pipeline_tests.api.document_operations import try_operations

    try_operations(served, examples=examples, same=same)
