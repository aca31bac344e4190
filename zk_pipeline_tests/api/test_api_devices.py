"""Devices over HTTP: paths, fields and responses of the contract."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on

FIELDS = {"id", "name", "ip_address", "port", "enabled", "last_sync", "created_at", "updated_at"}


Added = Callable[..., dict[str, Any]]


def test_a_device_is_added_listed_changed_and_removed(admin: httpx.Client, added: Added) -> None:
    before = admin.get("/api/devices/").json()
    new = added("Gate", port=4371, timezone="Europe/Istanbul")
    assert new.keys() >= FIELDS
    assert admin.get("/api/devices/").json() == sorted([*before, new], key=lambda one: str(one["name"]))
    path = f"/api/devices/{new['id']}/"
    assert admin.get(path).json() == new
    changed = admin.patch(path, json={"enabled": False}).json()
    assert (changed["enabled"], changed["port"]) == (False, 4371)
    assert admin.patch(path, json={"direction": "out"}).json()["direction"] == "out"
    assert admin.patch(path, json={"port": 4372}).json()["direction"] == "out"
    assert admin.patch(path, json={"direction": None}).json()["direction"] is None
    replaced = admin.put(path, json={"name": "Gate", "ip_address": "192.0.2.11"}).json()
    assert (replaced["ip_address"], replaced["port"], replaced["timezone"]) == ("192.0.2.11", 4370, "UTC")
    assert replaced["enabled"] is True
    gone = admin.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert admin.get(path).status_code == 404
    assert admin.get("/api/devices/").json() == before


def test_a_client_may_send_back_what_it_was_given(admin: httpx.Client, added: Added) -> None:
    new = added("Mirror")
    answer = admin.put(f"/api/devices/{new['id']}/", json=new | {"port": 4400})
    assert (answer.status_code, answer.json()["port"]) == (200, 4400)


def test_devices_are_registered_in_the_networks_of_the_settings_only(
    served: Served, admin: httpx.Client, added: Added
) -> None:
    path = f"/api/devices/{added('Gate')['id']}/"
    with served.with_settings(device_networks=(ip_network("192.0.2.0/24"),)):
        outside = {"name": "Gate", "ip_address": "198.51.100.7"}
        for answer in (
            admin.post("/api/devices/", json=outside | {"name": "Other"}),
            admin.put(path, json=outside),
            admin.patch(path, json={"ip_address": "198.51.100.7"}),
        ):
            assert answer.status_code == 400
            assert "address 198.51.100.7 is outside DEVICE_NETWORKS (192.0.2.0/24)" in answer.json()["detail"]
        assert admin.patch(path, json={"ip_address": "192.0.2.77"}).status_code == 200
        assert admin.patch(path, json={"ip_address": "gate.example"}).status_code == 200


@pytest.mark.parametrize("path", ["/api/devices", "/api/devices/", "/api/raw-attendance", "/api/processed-attendance"])
def test_paths_are_answered_with_and_without_the_slash_at_the_end(admin: httpx.Client, path: str) -> None:
    answer = admin.get(path)
    assert (answer.status_code, answer.history) == (200, [])
    assert admin.post("/api/devices", json={}).status_code == 400


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ip_address": "1.2.3.4; reboot"}, "host '1.2.3.4; reboot' is not valid"),
        ({"ip_address": "$(reboot)"}, "is not valid"),
        ({"ip_address": "0.0.0.0"}, "no single terminal can have this address"),
        ({"port": 70000}, "port: Input should be less than or equal to 65535"),
        ({"port": "4370"}, "port: Input should be a valid integer"),
        ({"timezone": "Europe/Istambul"}, "did you mean Europe/Istanbul?"),
        ({"name": "a/b"}, "file names cannot contain a slash"),
        ({"name": "../../etc/passwd"}, "is not valid"),
        ({"name": "\ud800"}, "is not valid"),
        ({"comm_key_env": "PATH; echo"}, "a name such as GATE_COMM_KEY is expected"),
        ({"encoding": "utf-7000"}, "encoding 'utf-7000' is not known"),
        ({"direction": "none"}, "direction: Input should be 'in' or 'out'"),
        ({"protocol": "carrier pigeon"}, "protocol: Input should be"),
        ({"nmae": "x"}, "nmae: there is no such field"),
    ],
)
def test_what_is_wrong_with_a_device_is_said(admin: httpx.Client, given: dict[str, Any], words: str) -> None:
    before = admin.get("/api/devices/").json()
    body = json.dumps({"name": "Wrong", "ip_address": "192.0.2.10"} | given)
    answer = admin.post("/api/devices/", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert words in answer.json()["detail"]
    assert admin.get("/api/devices/").json() == before


def test_a_name_is_taken_once_and_stays(admin: httpx.Client, added: Added) -> None:
    new = added("Once")
    again = admin.post("/api/devices/", json={"name": "Once", "ip_address": "192.0.2.12"})
    assert (again.status_code, "is registered already" in again.json()["detail"]) == (400, True)
    renamed = admin.patch(f"/api/devices/{new['id']}/", json={"name": "Door"})
    assert (renamed.status_code, "cannot be renamed" in renamed.json()["detail"]) == (400, True)


@pytest.mark.parametrize("key", ["99", "0", "-1", "abc", "1.5", "99999999999999999999", "1%00"])
def test_a_device_that_is_not_there_is_not_found(admin: httpx.Client, key: str) -> None:
    for answer in (admin.get(f"/api/devices/{key}/"), admin.post(f"/api/devices/{key}/poll/")):
        assert answer.status_code == 404
        assert answer.json()["detail"]


@pytest.fixture
def gates(admin: httpx.Client, fleet: Fleet, served: Served) -> Iterator[dict[str, int]]:
    """A terminal that answers and one that is switched off, and their ids."""
    names = switch_on(fleet, served.services.store, gate("Awake", *present(MONDAY)), gate("Asleep"))
    fleet.switch_off("Asleep")
    ids = {one["name"]: one["id"] for one in admin.get("/api/devices/").json() if one["name"] in names}
    yield ids
    for number in ids.values():
        admin.delete(f"/api/devices/{number}/")


def test_info_is_what_the_terminal_says_now(admin: httpx.Client, gates: dict[str, int]) -> None:
    path = f"/api/devices/{gates['Awake']}"
    said = admin.get(f"{path}/info/").json()
    assert (said["device_name"], said["connected"]) == ("Awake", True)
    assert (said["user_count"], said["attendance_count"]) == (4, 2)
    assert said["firmware_version"]
    assert said["serial_number"]
    assert said["platform"]
    assert [one["user_id"] for one in admin.get(f"{path}/users/").json()][:3] == ["1001", "1002", "1003"]
    assert abs(admin.post(f"{path}/set-clock/").json()["drift_after_seconds"]) <= 2


def test_a_terminal_that_does_not_answer_is_503_with_its_failure_class(
    admin: httpx.Client, gates: dict[str, int]
) -> None:
    answer = admin.get(f"/api/devices/{gates['Asleep']}/info/")
    assert answer.status_code == 503
    assert answer.json()["error_code"] in ("refused", "unreachable")
    assert "Asleep" in answer.json()["detail"]
