"""The contract's table of the REST API, tried over HTTP: every path, method and field that clients rely on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.http.run_workers import Action, ActionResult
from zk_pipeline.http.services import Parts
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import NothingToDo, serve
from zk_pipeline_tests.gates import gate, switch_on

DEVICE = "id name ip_address port enabled last_sync created_at updated_at polled pushes serial_number last_contact"
INFO = "device_name ip_address port firmware_version serial_number platform user_count attendance_count connected"
POLLED = "status device total_fetched new_records"
PUNCH = "id device device_name user_id timestamp status punch_state verify_type work_code source created_at"
DAY = (
    "id device device_name user_id date clock_in clock_out is_outlier outlier_reason synced_to_crm sync_attempts "
    "last_sync_attempt created_at updated_at"
)
PAGE = "count next previous results"
NEW = {"name": "Side door", "ip_address": "192.0.2.9"}
DAYS = "/api/processed-attendance/"

# Method and path, body, status, fields of the answer, fields of each row of it.
Case = tuple[str, str, Any, int, str, str]
CONTRACT: list[Case] = [
    ("GET", "/api/devices/", None, 200, "", DEVICE),
    ("POST", "/api/devices/", NEW, 201, DEVICE, ""),
    ("GET", "/api/devices/1/", None, 200, DEVICE, ""),
    ("PUT", "/api/devices/3/", NEW, 200, DEVICE, ""),
    ("PATCH", "/api/devices/3/", {"enabled": False}, 200, DEVICE, ""),
    ("DELETE", "/api/devices/3/", None, 204, "", ""),
    ("GET", "/api/devices/3/", None, 404, "detail", ""),
    ("GET", "/api/devices/2/info/", None, 200, INFO, ""),
    ("GET", "/api/devices/1/info/", None, 503, "detail", ""),
    ("POST", "/api/devices/1/poll/", None, 200, POLLED, ""),
    ("POST", "/api/devices/1/poll/?wait=false", None, 202, "run_id", ""),
    ("POST", "/api/devices/poll_all/", None, 200, "total_devices successful failed devices", ""),
    ("POST", "/api/devices/poll_all/?wait=false", None, 202, "run_id", ""),
    *(("GET", f"/api/raw-attendance/{query}", None, 200, PAGE, PUNCH) for query in (
        "", "?user_id=1001", "?device=1", "?start_date=2026-03-02&end_date=2026-03-02", "?page=2&page_size=50",
        "?ordering=-timestamp",
    )),
    *(("GET", f"{DAYS}{query}", None, 200, PAGE, DAY) for query in (
        "", "unsynced/", "outliers/", "?user_id=1001", "?device=1", "?start_date=2026-03-02", "?end_date=2026-03-02",
        "?is_outlier=true", "?synced_to_crm=false", "?page=2&page_size=50", "?ordering=date",
    )),
    ("GET", f"{DAYS}?is_reviewed=false", None, 200, PAGE, DAY),
    ("GET", f"{DAYS}1/reviews/", None, 200, "", ""),
    ("GET", f"{DAYS}stats/", None, 200, "total synced unsynced failed sync_percentage", ""),
    ("POST", f"{DAYS}process/", None, 200, "total_records processed outliers failed", ""),
    ("POST", f"{DAYS}process/?wait=false", None, 202, "run_id", ""),
    ("POST", f"{DAYS}sync/?limit=5", None, 200, "total successful failed errors", ""),
    ("POST", f"{DAYS}sync/?limit=5&wait=false", None, 202, "run_id", ""),
    ("GET", "/api/runs/6d7ffa5c-6cbe-4a5f-9d3f-8b9b6c3c1b58/", None, 200, "status", ""),
    ("GET", "/health/live", None, 200, "", ""),
    ("GET", "/health/ready", None, 503, "status", ""),  # no daemon beats here
    ("GET", "/metrics", None, 200, "", ""),
    ("GET", "/api/docs", None, 200, "", ""),
    ("GET", "/api/openapi.json", None, 200, "openapi", ""),
    ("GET", f"{DAYS}?is_outlier=perhaps", None, 400, "detail", ""),
]  # fmt: skip


class Done(NothingToDo):
    """Actions that say they did what the store holds already, as the runs that filled it did."""

    def submit(self, action: Action) -> Future[ActionResult]:  # noqa: ARG002
        future: Future[ActionResult] = Future()
        made = {"2026-03-02": {"dagster/partition_row_count": 2, "outlier_rows": 1}}
        future.set_result(ActionResult(["poll run"], [], made, {"delivered": 1}))
        return future

    def find(self, run_id: str) -> Future[ActionResult] | None:  # noqa: ARG002
        return self.submit(Action(kind="poll"))


@pytest.fixture
def client(filled: Store, fleet: Fleet, crm: CrmReceiver, home: Path) -> Iterator[httpx.Client]:  # noqa: ARG001
    """Device 1 has punches and does not answer; device 2 does."""
    filled.devices.update("North", ip_address="127.0.0.1", port=1)
    switch_on(fleet, filled, gate("Awake"))
    with serve(load_settings(), filled, Parts(actions=Done())) as served, served.client() as client:
        yield client


def test_every_path_method_and_field_of_the_contract_is_there(client: httpx.Client) -> None:
    lacking = []
    for method, path, body, status, fields, row_fields in CONTRACT:
        answer = client.request(method, path, json=body)
        where = f"{method} {path}"
        if answer.status_code != status:
            lacking.append(f"{where}: {answer.status_code} instead of {status}: {answer.text[:200]}")
            continue
        given = answer.json() if fields or row_fields else {}
        rows = given if isinstance(given, list) else given.get("results", given.get("devices", []))
        if fields:
            lacking += [f"{where}: {name}" for name in fields.split() if name not in given]
        if row_fields:
            lacking += [f"{where}: no row"] if not rows else []
            lacking += [f"{where}: {name} of a row" for name in row_fields.split() if any(name not in r for r in rows)]
        if path.startswith("/api/") and method == "GET" and "?" not in path:
            without = client.get(path.rstrip("/"))
            lacking += [] if without.status_code == status else [f"{where}: without the slash {without.status_code}"]
    assert not lacking, "\n".join(lacking)


def test_values_are_of_the_kinds_that_clients_of_the_bridge_parse(client: httpx.Client) -> None:
    polled = client.post("/api/devices/1/poll/").json()
    assert (polled["status"], polled["device"], polled["total_fetched"]) == ("success", "North", 120)
    every = client.post("/api/devices/poll_all/").json()
    assert [set(one) >= set(POLLED.split()) for one in every["devices"]] == [True]
    punch = client.get("/api/raw-attendance/").json()["results"][0]
    assert datetime.fromisoformat(punch["timestamp"].replace("Z", "+00:00")).utcoffset() is not None
    assert {type(punch[name]) for name in ("id", "device", "status", "punch_state", "verify_type")} == {int}
    day = client.get(DAYS).json()["results"][0]
    assert date.fromisoformat(day["date"])
    assert datetime.fromisoformat(day["clock_in"].replace("Z", "+00:00")).utcoffset() is not None
    assert (type(day["is_outlier"]), type(day["synced_to_crm"]), type(day["sync_attempts"])) == (bool, bool, int)
    for scheme in ("Token", "Bearer"):
        secret = client.headers["authorization"].split()[1]
        assert client.get("/api/devices/", headers={"Authorization": f"{scheme} {secret}"}).status_code == 200
    assert client.get("/api/devices/", headers={"Authorization": "Token x"}).status_code == 401
    assert client.get(f"{DAYS}?page_size=1000").json()["count"] == 80
    assert client.get("/api/docs").headers["content-type"].startswith("text/html")
    assert client.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")
