"""The API conforms to its OpenAPI document: schemathesis sends valid and invalid requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from zk_pipeline.config.settings import load_settings
from zk_pipeline.http.services import Parts
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import NothingToDo, Served, serve

# What a document cannot say: these refusals are of the meaning of what was sent, or of what is stored at the time.
OF_MEANING = (
    "after: not valid for this list",
    "device: there is none with the id",
    "ordering: ",
    "name: ",
    "timezone: ",
    "time zone ",
    "encoding ",
    "comm_key_env: ",
    "variable ",
    "site: ",
    "give either date or",
    "device name ",
    "device '",
    "the command ",
    "start_date and end_date must be given together",
    "end_date: ",
    "end_date ",
    "host ",
    "shift ",
    "no shift ",
    "rotation ",
    "assignment ",
    "no site ",
    "the user_id is empty",
    "holiday ",
    "period ",
    "no payroll profile ",
    "valid_",
    "a shift is assigned to ",
    "the span ends at ",
    "as_of: ",
    "at: ",
    "from_local: ",
    "to_local: ",
    "is_outlier: contradicts",
    "synced_to_crm: contradicts",
)
MODES: tuple[Any, ...] = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


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
    """`same`: with the same examples each time."""
    document = schemathesis.openapi.from_url(f"{served.url}/api/openapi.json")
    headers = {"Authorization": f"Token {served.tokens['admin']}"}
    problems = []
    for found in document.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        for mode in MODES:
            try:
                _try(operation, mode, headers, examples, same=same)
            except Unsatisfiable:
                continue  # nothing of it can be wrong
            except BaseException as error:
                inner = getattr(error, "exceptions", "")
                problems.append(f"{operation.label} ({mode.value}): {error!r:.1500} {inner}")
    assert not problems, "\n".join(problems)


def _try(operation: Any, mode: Any, headers: dict[str, str], examples: int, *, same: bool) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=same,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def one(case: Any) -> None:
        response = case.call(headers=headers)
        excluded = [not_a_server_error] if response.status_code == 503 else []
        if response.status_code == 400 and response.json()["detail"].startswith(OF_MEANING):
            excluded.append(positive_data_acceptance)
        if any(value in (None, []) for value in (case.query or {}).values()):  # what was wrong is not in the URL
            excluded.append(negative_data_rejection)
        case.validate_response(response, excluded_checks=excluded)

    one()
