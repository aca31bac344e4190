"""Terminals that push over the API: adoption, commands, events, and the limits of each scope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.http.services import Parts
from zk_pipeline.store.push.terminals import secret_digest
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import NothingToDo, Served, serve
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, event, push

PENDING = "/api/pending-devices/"


@pytest.fixture
def own(filled: Store) -> Iterator[Served]:
    """An API of the test's own."""
    with serve(load_settings(), filled, Parts(actions=NothingToDo())) as served:
        yield served


@pytest.fixture
def pushing(own: Served) -> Store:
    """Its store: SN1 pushes for the device Yard."""
    store = own.services.store
    adopt(store, "Yard", "SN1")
    return store


@pytest.fixture
def client(own: Served) -> Iterator[httpx.Client]:
    with own.client() as client:
        yield client


def number(store: Store, name: str) -> int:
    found = store.devices.get(name).id
    assert found is not None
    return found


def test_a_pending_terminal_is_listed_and_adopted_with_a_secret_that_is_shown_once(
    client: httpx.Client, pushing: Store
) -> None:
    contact(pushing, "SN2", family="C")
    (waiting,) = client.get(PENDING).json()
    assert (waiting["serial_number"], waiting["family"], waiting["registered_as"]) == ("SN2", "C", None)
    body = {"name": "Dock", "timezone": "Asia/Kolkata", "site": "HQ", "secret": True}
    made = client.post(f"{PENDING}SN2/adopt/", json=body).json()
    assert (made["name"], made["site"], made["serial_number"]) == ("Dock", "HQ", "SN2")
    assert (made["polled"], made["pushes"], made["last_contact"] is not None) == (False, True, True)
    terminal = next(one for one in pushing.push.terminals() if one.serial_number == "SN2")
    assert (terminal.secret_hash, terminal.adopted_by) == (secret_digest(made["secret"]), "test admin")
    assert client.get(PENDING).json() == []
    assert "secret" not in client.get(f"/api/devices/{made['id']}/").json()


def test_an_adoption_that_cannot_be_is_answered_with_its_status(client: httpx.Client, pushing: Store) -> None:
    contact(pushing, "SN2")
    cases: list[tuple[str, dict[str, Any], int, str]] = [
        ("SN9", {"name": "Dock"}, 404, "no terminal with serial number 'SN9'"),
        ("a.b", {"name": "Dock"}, 404, ""),
        ("SN1", {"name": "Dock"}, 409, "is adopted already, as 'Yard'"),
        ("SN2", {"name": "Yard"}, 409, "is the terminal with serial number SN1"),
        ("SN2", {"name": "a/b"}, 400, "file names cannot contain a slash"),
        ("SN2", {"name": "Dock", "timezone": "Europe/Istambul"}, 400, "did you mean Europe/Istanbul?"),
        ("SN2", {}, 400, "name: is missing"),
    ]
    for serial, body, status, words in cases:
        answer = client.post(f"{PENDING}{serial}/adopt/", json=body)
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True), (serial, body, answer.text)
    assert [one["serial_number"] for one in client.get(PENDING).json()] == ["SN2"]


def test_only_admins_adopt_and_only_admins_restart_a_terminal_or_set_its_clock(own: Served, pushing: Store) -> None:
    contact(pushing, "SN2")
    path = f"/api/devices/{number(pushing, 'Yard')}/commands/"
    with own.client("operate") as operator, own.client("read") as reader:
        assert operator.post(f"{PENDING}SN2/adopt/", json={"name": "Dock"}).status_code == 403
        assert reader.get(PENDING).status_code == 200
        for kind in ("info", "hello", "upload", "users"):
            assert reader.post(path, json={"kind": kind}).status_code == 403
            assert operator.post(path, json={"kind": kind}).status_code == 201
        for kind in ("reboot", "set-clock"):
            refused = operator.post(path, json={"kind": kind})
            assert (refused.status_code, "needs admin" in refused.json()["detail"]) == (403, True)
    with own.client() as admin:
        assert admin.post(path, json={"kind": "reboot"}).json()["requested_by"] == "test admin"
        kinds = [one["kind"] for one in admin.get(path).json()]
    assert kinds == ["reboot", "users", "upload", "hello", "info"]


def test_limits_of_a_terminal_are_changed_by_admins_and_its_secret_is_shown_once(own: Served, pushing: Store) -> None:
    path = f"/api/devices/{number(pushing, 'Yard')}/push/"
    free = {"serial_number": "SN1", "has_secret": False, "networks": None, "timezone_form": None}
    with own.client("operate") as operator, own.client() as admin:
        assert operator.get(path).json() == free
        assert operator.patch(path, json={"secret": "new"}).status_code == 403
        body = {"secret": "new", "networks": "192.0.2.0/24, 2001:db8::/32", "timezone_form": "minutes"}
        made = admin.patch(path, json=body).json()
        secret = made.pop("secret")
        limited = {**free, "has_secret": True, "networks": "192.0.2.0/24,2001:db8::/32", "timezone_form": "minutes"}
        assert made == limited == operator.get(path).json()
        assert pushing.push.terminals()[0].secret_hash == secret_digest(secret)

        assert admin.patch(path, json={"networks": None}).json() == {**limited, "networks": None, "secret": None}
        assert admin.patch(path, json={}).json() == {**limited, "networks": None, "secret": None}
        for wrong in ({"networks": "192.0.2.1/24"}, {"secret": "mine"}, {"timezone_form": "auto"}, {"site": "HQ"}):
            assert admin.patch(path, json=wrong).status_code == 400, wrong
        assert admin.patch(path, json={"secret": "none", "timezone_form": None}).json() == {**free, "secret": None}
        other = f"/api/devices/{number(pushing, 'North')}/push/"
        for refused in (operator.get(other), admin.patch(other, json={"secret": "new"})):
            assert (refused.status_code, "'North' does not push" in refused.json()["detail"]) == (400, True)


def test_a_span_of_punches_is_requested_once(client: httpx.Client, pushing: Store) -> None:
    path = f"/api/devices/{number(pushing, 'Yard')}/commands/"
    body = {"kind": "punches", "start_date": "2026-11-01", "end_date": "2026-11-30"}
    queued = client.post(path, json=body).json()
    assert (queued["kind"], queued["state"], queued["times_sent"]) == ("punches", "queued", 0)
    assert (queued["start_local"], queued["end_local"]) == ("2026-11-01T00:00:00", "2026-11-30T23:59:59")
    assert client.post(path, json=body).json() == queued
    for wrong in ({"kind": "punches"}, {"kind": "info", "start_date": "2026-11-01"}, {"kind": "CLEAR DATA"}):
        assert client.post(path, json=wrong).status_code == 400
    assert client.get(path).json() == [queued]


def test_a_device_that_does_not_push_has_no_commands(client: httpx.Client, pushing: Store) -> None:
    path = f"/api/devices/{number(pushing, 'North')}/commands/"
    assert client.get(path).json() == []
    refused = client.post(path, json={"kind": "info"})
    assert (refused.status_code, "'North' does not push" in refused.json()["detail"]) == (400, True)


def test_a_terminal_that_only_pushes_is_neither_polled_nor_read(client: httpx.Client, pushing: Store) -> None:
    path = f"/api/devices/{number(pushing, 'Yard')}"
    for answer in (
        client.post(f"{path}/poll/"),
        client.post(f"{path}/poll/?wait=false"),
        client.get(f"{path}/info/"),
        client.get(f"{path}/users/"),
        client.post(f"{path}/set-clock/"),
    ):
        assert (answer.status_code, "Yard only pushes" in answer.json()["detail"]) == (400, True), answer.text


def test_polls_begin_with_an_address_and_a_replacement_without_the_field_keeps_them(
    client: httpx.Client, pushing: Store
) -> None:
    path = f"/api/devices/{number(pushing, 'Yard')}/"
    refused = client.patch(path, json={"polled": True})
    assert (refused.status_code, "name it with ip_address" in refused.json()["detail"]) == (400, True)
    assert client.put(path, json={"name": "Yard", "ip_address": "192.0.2.7"}).json()["polled"] is False
    assert client.patch(path, json={"polled": True, "ip_address": "192.0.2.8"}).json()["polled"] is True
    assert client.patch(path, json={"polled": False}).json()["polled"] is False
    row = client.get(path).json()
    assert client.put(path, json=row).json() == row | {"updated_at": client.get(path).json()["updated_at"]}


def test_events_have_descriptions_and_dates_of_the_terminals_clock(client: httpx.Client, pushing: Store) -> None:
    push(
        pushing,
        name="Yard",
        serial="SN1",
        events=[event(21, "2026-11-01T23:59:59"), event(23, "2026-11-02T08:00", user_id="7", is_operation=False)],
        table="OPERLOG",
    )
    path = f"/api/devices/{number(pushing, 'Yard')}/events/"
    newest, before = client.get(path).json()
    assert (newest["description"], newest["occurred_at_local"]) == ("refused: no access", "2026-11-02T08:00:00")
    assert (before["description"], before["code"], before["is_operation"]) == ("clock set", 21, True)
    assert client.get(path, params={"end_date": "2026-11-01"}).json() == [before]
    assert client.get(path, params={"start_date": "2026-11-03"}).json() == []
    assert client.get(path, params={"start_date": "2026-11-03", "end_date": "2026-11-01"}).status_code == 400


def test_punches_name_their_source(client: httpx.Client, pushing: Store) -> None:
    push(pushing, ("1001", "2026-11-02T08:00"), name="Yard", serial="SN1")
    device = number(pushing, "Yard")
    (punch,) = client.get("/api/raw-attendance/", params={"device": device}).json()["results"]
    assert punch["source"] == "push"
    explained = client.get("/api/explain/", params={"user_id": "1001", "date": "2026-11-02"}).json()
    assert [one["source"] for one in explained["punches"]] == ["push"]
    assert client.get("/api/raw-attendance/", params={"device": 1}).json()["results"][0]["source"] == "poll"
