"""The reference of the API is true: statuses, examples, search."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from zk_pipeline.http.middleware import MAX_BODY_BYTES
from zk_pipeline.web.api_examples import ExampleRequest, example_request
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.api.refusals import is_of_meaning

UNKNOWN = {"what": "nothing", "run_id": "00000000-0000-4000-8000-000000000000", "day": "1999-01-01"}
BUSY = 503  # no terminal responds here


@pytest.fixture
def document(served: Served) -> dict[str, Any]:
    with served.client(None) as stranger:
        found: dict[str, Any] = stranger.get("/api/openapi.json").json()
    return found


def examples(document: dict[str, Any]) -> Iterator[tuple[ExampleRequest, str, dict[str, Any]]]:
    """Each operation of the API with its example request, its path and its object."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/api/"):
                yield example_request(document, method.upper(), path), path, operation


def send(client: httpx.Client, one: ExampleRequest) -> httpx.Response:
    return client.request(one.method, one.target, json=one.body)


def test_every_documented_refusal_is_answered_and_no_other(served: Served, document: dict[str, Any]) -> None:
    wrong = []
    with served.client() as admin, served.client("read") as reader, served.client(None) as stranger:
        for one, path, operation in examples(document):
            statuses = list(operation["responses"])
            missing = re.sub(r"{(\w+)}", lambda found: UNKNOWN.get(found[1], "2147483647"), path)
            tried = {
                400: admin.request(one.method, f"{one.path}?x=1&x=2"),
                401: stranger.request(one.method, one.target),
                404: admin.request(one.method, missing, params={"page": 999} if missing == path else {}, json=one.body),
            }
            if one.method != "GET":  # which every token may
                tried[403] = reader.request(one.method, one.target, json=one.body)
            if "requestBody" in operation:
                tried[413] = admin.request(one.method, one.target, content=b"x" * (MAX_BODY_BYTES + 1))
            if missing == path and "404" not in statuses:
                del tried[404]
            if "/explain/" in path:
                tried[404] = admin.get(path, params={"user_id": "none", "date": "2026-03-02"})
            wrong += [
                f"{one.method} {path}: {status} expected, {answer.status_code}: {answer.text[:200]}"
                for status, answer in tried.items()
                if answer.status_code != status or str(status) not in statuses
            ]
            wrong += [f"{one.method} {path}: {statuses}"] if statuses != sorted(statuses) or "422" in statuses else []
    assert wrong == []


def test_every_example_is_a_valid_request(own: Served, document: dict[str, Any]) -> None:
    wrong = []
    with own.client() as admin:
        for one, path, operation in examples(document):
            answer = send(admin, one)
            is_invalid = answer.status_code == 400 and not is_of_meaning(answer.json()["detail"])
            if str(answer.status_code) not in operation["responses"] or is_invalid:
                wrong.append(f"{one.method} {one.target}: {answer.status_code} {answer.text[:200]}")
            if one.method == "GET" and answer.status_code not in (200, 404, BUSY):
                wrong.append(f"GET {path}: {answer.status_code}")
    assert wrong == []


def test_the_examples_run_in_python_and_in_a_shell(
    served: Served, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", served.tokens["admin"])
    tried = (
        "/api/devices/",
        "/api/devices/{device_id}/",
        "/api/explain/",
        "/api/processed-attendance/{day_id}/reviews/",
    )
    for path in tried:
        one = example_request(document, "GET", path)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(one.python(served.url), {})
        with served.client() as admin:
            assert printed.getvalue().strip() == send(admin, one).text, path
    review = example_request(document, "POST", "/api/processed-attendance/{day_id}/reviews/")
    scripts = [example_request(document, "GET", path).curl(served.url) for path in tried] + [review.curl(served.url)]
    for script in scripts:
        done = subprocess.run(
            ["bash", "-c", script], check=False, env=dict(os.environ), capture_output=True, text=True, timeout=60
        )
        assert done.stdout[:1] in ("{", "["), done.stderr
    assert "detail" in done.stdout  # day 1 is no outlier


def test_the_reference_names_scopes_statuses_and_examples_of_every_operation(
    served: Served, stranger: httpx.Client, document: dict[str, Any]
) -> None:
    page = stranger.get("/api/docs").text
    paths = [path for path, methods in document["paths"].items() for _ in methods]
    for path in paths:
        assert f"<code>{path}</code>" in page, path
    assert page.count("Examples in curl and Python") == len(paths)
    assert page.count("Needs no token") == 2  # health
    assert "Needs the scope <strong>approve</strong>" in page
    assert f"{served.url}/api/explain/?user_id=1001" in page
    assert "style=" not in page


def test_a_search_shows_the_operations_with_all_words_and_their_types(stranger: httpx.Client) -> None:
    found = stranger.get("/api/docs", params={"q": "POLL device"}).text
    assert "<code>/api/devices/poll_all/</code>" in found
    assert "<code>/api/holidays/</code>" not in found
    assert 'id="AllPolled"' in found
    assert 'id="HolidayBody"' not in found
    nothing = stranger.get("/api/docs", params={"q": "<b>unheard"})
    assert (nothing.status_code, "No operation contains &lt;b&gt;unheard" in nothing.text) == (200, True)
    assert stranger.get("/api/docs?query=1").status_code == 400
