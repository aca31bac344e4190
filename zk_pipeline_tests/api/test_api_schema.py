"""The OpenAPI document is true: schemathesis tries all of it, with what fits it and with what does not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from zk_pipeline.api.launching import Action, ActionResult
from zk_pipeline.api.services import Parts
from zk_pipeline.settings import load_settings
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_bench import Served, serve
from zk_pipeline_tests.store.store_bench import MONDAY, device, ingest, on, process


class NothingToDo:
    """Actions that end at once: runs are tried elsewhere, and thousands of them would take hours."""

    def submit(self, action: Action) -> Future[ActionResult]:  # noqa: ARG002
        future: Future[ActionResult] = Future()
        future.set_result(ActionResult([], [], {}, {}))
        return future

    def find(self, run_id: str) -> Future[ActionResult] | None:  # noqa: ARG002
        return None

    def stop(self, patience: float) -> None:
        pass


@pytest.fixture
def served(home: Path, home_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    assert home.exists()
    monkeypatch.setenv("ZKTECO_TIMEOUT", "0.2")  # nobody is there
    monkeypatch.setenv("ZKTECO_POLL_DEADLINE", "1")
    home_store.devices.add(device("Gate", ip="127.0.0.1"))
    ingest(home_store, "Gate", *on(MONDAY, "08:00", "17:00"))
    process(home_store, MONDAY)
    with serve(load_settings(), home_store, Parts(actions=NothingToDo())) as served:
        yield served


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_the_document_is_true(served: Served, mode: GenerationMode) -> None:
    """Default checks; 503 is an answer here, where no terminal, CRM and daemon is, and it is in the document."""
    document = schemathesis.openapi.from_url(f"{served.url}/api/openapi.json")
    headers = {"Authorization": f"Token {served.tokens['admin']}"}
    problems = []
    for found in document.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        try:
            _try(operation, mode, headers)
        except Unsatisfiable:
            continue  # nothing of it can be wrong
        except BaseException as error:
            problems.append(f"{operation.label}: {error!r:.1500} {getattr(error, 'exceptions', '')}")
    assert not problems, "\n".join(problems)


def _try(operation: Any, mode: GenerationMode, headers: dict[str, str]) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def one(case: Any) -> None:
        response = case.call(headers=headers)
        excluded = [not_a_server_error] if response.status_code == 503 else []
        case.validate_response(response, excluded_checks=[*excluded, positive_data_acceptance, ignored_auth])

    one()
