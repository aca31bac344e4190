"""CRM probe: its findings and advice, and that it creates no record."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.probe import UNKNOWN_USER, CrmProbe, probe
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline_tests.crm.crm_doubles import TOKEN, make_certificate, stub_crm


def now() -> datetime:
    return datetime.now(UTC)


def probed(url: str, *, token: Callable[[], str] = lambda: TOKEN, ca_bundle: Path | None = None) -> CrmProbe:
    return probe(CrmEndpoint(url=url, ca_bundle=ca_bundle, timeout=5), token=token, clock=now)


def test_a_crm_that_is_well_passes_every_step_and_gets_no_record(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, ends=now() + timedelta(days=58, hours=1))
    with CrmReceiver(token=TOKEN, tls=certificate.tls) as receiver:
        found = probed(receiver.url, ca_bundle=certificate.authority)
        assert (receiver.posts, receiver.ledger.latest()) == (0, {})
    assert found.is_ok
    assert [(s.name, s.is_ok) for s in found.steps] == [
        ("dns", True),
        ("tcp", True),
        ("tls", True),
        ("authentication", True),
        ("endpoint", True),
        ("idempotency", None),
    ]
    assert "cannot be tested without creating a record" in found.steps[-1].detail
    assert (found.certificate_days_left, found.status) == (58, 200)
    assert found.round_trip_ms is not None


def test_another_place_of_the_crm_is_asked_where_one_is_named() -> None:
    asked: list[str] = []

    def answer(method: str, has_token: bool, _: str) -> tuple[int, str]:
        asked.append(method)
        return (200 if has_token else 401), "{}"

    with stub_crm(answer) as url:
        endpoint = CrmEndpoint(url=f"{url}api/attendance/?key=hush", timeout=5)
        assert endpoint.elsewhere("/api/health/?full=1") == f"{url}api/health/?full=1"
        found = probe(endpoint, token=lambda: TOKEN, clock=now, path="/api/health/")
    assert (found.is_ok, found.status, "POST" in asked) == (True, 200, False)


def test_a_place_that_is_not_there_is_blamed_on_the_variable_that_names_it() -> None:
    with CrmReceiver(token=TOKEN) as receiver:
        endpoint = CrmEndpoint(url=receiver.url, timeout=5)
        found = probe(endpoint, token=lambda: TOKEN, clock=now, path="/nowhere/")
    assert found.problem is not None
    assert found.problem.startswith("CRM_PROBE_PATH names no endpoint")


def test_a_certificate_that_ends_soon_is_said(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, ends=now() + timedelta(days=3, hours=1))
    with CrmReceiver(token=TOKEN, tls=certificate.tls) as receiver:
        found = probed(receiver.url, ca_bundle=certificate.authority)
    assert found.is_ok
    assert found.certificate_days_left == 3
    assert "renew it soon" in next(s.detail for s in found.steps if s.name == "tls")


def test_a_wrong_token_is_told_and_not_shown() -> None:
    with CrmReceiver(token="another") as receiver:
        found = probed(receiver.url)
    assert found.problem is not None
    assert "CRM_API_TOKEN" in found.problem
    assert found.steps[-1].name == "authentication"
    assert TOKEN not in repr(found)


def test_a_missing_token_is_told() -> None:
    with CrmReceiver(token=TOKEN) as receiver:
        found = probed(receiver.url, token=lambda: "")
    assert "CRM_API_TOKEN" in (found.problem or "")


def test_a_wrong_path_is_told() -> None:
    with CrmReceiver(token=TOKEN) as receiver:
        found = probed(receiver.url + "nowhere/?key=hush")
    assert found.steps[-1].name == "endpoint"
    assert "CRM_API_URL" in (found.problem or "")
    assert "hush" not in repr(found)


def test_an_untrusted_certificate_is_told(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, ends=now() + timedelta(days=58), is_self_signed=True)
    with CrmReceiver(token=TOKEN, tls=certificate.tls) as receiver:
        found = probed(receiver.url)
    assert found.steps[-1].name == "tls"
    assert "CRM_CA_BUNDLE" in (found.problem or "")


def test_nobody_listening_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = probed(f"http://127.0.0.1:{port}/")
    assert [(s.name, s.is_ok) for s in found.steps] == [("dns", True), ("tcp", False)]
    assert "Connection refused" in (found.problem or "")


def test_a_name_that_does_not_exist_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    found = probed("https://crm.invalid/")
    assert [s.name for s in found.steps] == ["dns"]
    assert "crm.invalid does not exist" in (found.problem or "")


@pytest.mark.parametrize(
    ("with_token", "without", "is_ok"),
    [
        (200, 401, True),
        (405, 403, True),
        (200, 200, None),
        (403, 401, None),
        (403, 403, False),
        (401, 401, False),
    ],
)
def test_authentication_is_judged_by_what_the_token_changes(with_token: int, without: int, is_ok: bool | None) -> None:
    with stub_crm(lambda _, has_token, __: (with_token if has_token else without, "words")) as url:
        found = probed(url)
    assert [s.is_ok for s in found.steps if s.name == "authentication"] == [is_ok]
    assert found.is_ok is (is_ok is not False)
    assert found.status == with_token


@pytest.mark.parametrize(
    ("status", "words", "is_ok", "said"),
    [
        (405, "", True, "GET 405"),
        (501, "", True, "GET 501"),
        (503, "maintenance", False, "maintenance"),
        (302, "", False, "CRM_API_URL redirects"),
        (200, "<html>", None, "web page"),
    ],
)
def test_the_endpoint_is_judged_by_its_statuses(status: int, words: str, is_ok: bool | None, said: str) -> None:
    with stub_crm(lambda _, __, ___: (status, words)) as url:
        found = probed(url)
    (step,) = [one for one in found.steps if one.name == "endpoint"]
    assert step.is_ok is is_ok
    assert said in step.detail


@pytest.mark.parametrize(
    ("status", "words", "is_ok", "said"),
    [
        (200, "[]", True, "no record"),
        (200, '{"count": 0, "results": []}', True, "no record"),
        (404, '{"detail": "not found"}', None, "a wrong address may answer the same"),
        (200, '[{"user_id": "EMP001", "date": "2026-11-11", "revision": 1}]', False, "none of this day"),
        (200, '{"detail": "hello"}', False, "revision"),
        (403, "no", False, "may read there"),
        (200, "<html>sign in", False, "check its address"),
        (500, "", False, "CRM_LOOKUP"),
    ],
)
def test_the_lookup_is_asked_for_a_person_who_does_not_exist(
    status: int, words: str, is_ok: bool | None, said: str
) -> None:
    with stub_crm(lambda _, __, path: (status, words) if UNKNOWN_USER in path else (200, "{}")) as url:
        endpoint = CrmEndpoint(url=url, timeout=5, lookup="/held/?u={user_id}&d={date}")
        found = probe(endpoint, token=lambda: TOKEN, clock=now)
    (step,) = [one for one in found.steps if one.name == "lookup"]
    assert step.is_ok is is_ok
    assert said in step.detail
    assert found.is_ok is (is_ok is not False)
