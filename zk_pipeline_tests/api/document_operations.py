"""Requests to all operations of the OpenAPI document, valid and invalid ones, by schemathesis.

Imported by the tests that use it only: schemathesis takes a second of CPU time.
"""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.api.refusals import is_of_meaning

MODES: tuple[Any, ...] = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


def try_operations(served: Served, *, examples: int, same: bool = False) -> None:
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
        if response.status_code == 400 and is_of_meaning(response.json()["detail"]):
            excluded.append(positive_data_acceptance)
        if any(value in (None, [], {}) for value in (case.query or {}).values()):  # what was wrong is not in the URL
            excluded.append(negative_data_rejection)
        if not (response.request.body or "x").strip():  # a body of blanks counts as none: clients of the bridge send it
            excluded.append(negative_data_rejection)
        case.validate_response(response, excluded_checks=excluded)

    one()
