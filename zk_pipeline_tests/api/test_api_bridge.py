"""The API of the Django bridge that this one replaces: every call of its published collection and documentation, with
its parameters, as a client written for it makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
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
from zk_pipeline_tests.api.api_fixtures import NothingToDo, Served, serve
from zk_pipeline_tests.gates import gate, switch_on
from zk_pipeline_tests.store.store_fixtures import execute, rows

DEVICES, RAW, DAYS = "/api/devices/", "/api/raw-attendance/", "/api/processed-attendance/"
NEW = {"name": "Branch Office", "ip_address": "192.0.2.101", "port": 4370, "enabled": True}
RUN = "1" * 8

DEVICE = ("id", "name", "ip_address", "port", "enabled", "last_sync", "created_at", "updated_at")
INFO = ("device_name", "ip_address", "port", "firmware_version", "serial_number", "platform", "user_count",
        "attendance_count", "connected")  # fmt: skip
POLLED = ("status", "total_fetched", "new_records", "device")
PUNCH = (
    "id",
    "device",
    "device_name",
    "user_id",
    "timestamp",
    "status",
    "punch_state",
    "verify_type",
    "work_code",
    "source",
    "created_at",
)
DAY = ("id", "device", "device_name", "user_id", "date", "clock_in", "clock_out", "is_outlier", "outlier_reason",
       "synced_to_crm", "sync_attempts", "last_sync_attempt", "created_at", "updated_at")  # fmt: skip
SYNCED = ("total", "successful", "failed", "errors")

# Method, path, body, status, fields of the answer or of each row of its page or list.
CALLS: list[tuple[str, str, Any, int, tuple[str, ...]]] = [
    ("GET", DEVICES, None, 200, DEVICE),
    ("POST", DEVICES, NEW, 201, DEVICE),
    ("GET", f"{DEVICES}3/", None, 200, DEVICE),
    ("PUT", f"{DEVICES}3/", NEW | {"port": 4371}, 200, DEVICE),
    ("PATCH", f"{DEVICES}3/", {"enabled": False}, 200, DEVICE),
    ("DELETE", f"{DEVICES}3/", None, 204, ()),
    ("GET", f"{DEVICES}2/info/", None, 200, INFO),
    ("GET", f"{DEVICES}1/info/", None, 503, ("detail",)),
    ("POST", f"{DEVICES}1/poll/", "", 200, POLLED),
    ("POST", f"{DEVICES}poll_all/", None, 200, ("total_devices", "successful", "failed", "devices")),
    ("POST", f"{DEVICES}poll_all/", "", 200, ("total_devices", "successful", "failed", "devices")),
    *(
        ("GET", RAW + query, None, 200, PUNCH)
        for query in (
            "", "?user_id=1001", "?device=1", "?start_date=2026-03-01&end_date=2026-03-11", "?start_date=&end_date=",
            "?page=1", "?page_size=100", "?ordering=-timestamp", "?ordering=timestamp", "?ordering=created_at",
        )
    ),
    *(
        ("GET", DAYS + query, None, 200, DAY)
        for query in (
            "", "?user_id=1001", "?device=1", "?start_date=2026-03-01&end_date=2026-03-11", "?is_outlier=true",
            "?synced_to_crm=false", "?page=1&page_size=100", "?ordering=date", "?ordering=-date",
            "unsynced/", "unsynced/?limit=10", "unsynced/?limit=50", "unsynced/?limit=100", "unsynced/?limit=5000",
            "outliers/",
        )
    ),
    ("GET", f"{DAYS}stats/", None, 200, ("total", "synced", "unsynced", "failed", "sync_percentage")),
    ("POST", f"{DAYS}process/", None, 200, ("total_records", "processed", "outliers", "failed")),
    ("POST", f"{DAYS}sync/", None, 200, SYNCED),
    ("POST", f"{DAYS}sync/?limit=100", None, 200, SYNCED),
    ("GET", f"{DAYS}999999/", None, 404, ("detail",)),
    ("GET", f"{RAW}?start_date=11.11.2026", None, 400, ("detail",)),
]  # fmt: skip


class Synced(NothingToDo):
    """Actions that polled North, made nothing, and failed to deliver one record."""

    def submit(self, action: Action) -> Future[ActionResult]:  # noqa: ARG002
        future: Future[ActionResult] = Future()
        future.set_result(ActionResult([RUN, "poll run"], [], {}, {"retry": 1}))
        return future


@pytest.fixture
def bridged(filled: Store, fleet: Fleet, crm: CrmReceiver, home: Path) -> Iterator[Served]:  # noqa: ARG001
    """Device 1 has punches and does not answer; device 2 does. The delivery of the first day failed."""
    filled.devices.update("North", ip_address="127.0.0.1", port=1)
    switch_on(fleet, filled, gate("Awake"))
    execute(
        filled,
        "UPDATE crm_deliveries SET state = 'retry', run_id = ?, attempts = 1, last_error = 'Connection timeout' "
        "WHERE user_id = '1001' AND work_date = (SELECT min(work_date) FROM crm_deliveries)",
        [RUN],
    )
    with serve(load_settings(), filled, Parts(actions=Synced())) as served:
        yield served


@pytest.fixture
def client(bridged: Served) -> Iterator[httpx.Client]:
    with bridged.client() as client:
        yield client


def test_every_call_of_the_bridges_collection_and_documentation_is_answered(client: httpx.Client) -> None:
    problems = []
    for method, path, body, status, fields in CALLS:
        sent: dict[str, Any] = {"content": b"", "headers": {"Content-Type": "application/json"}} if body == "" else {}
        for there in (path, path.replace("/?", "?").removesuffix("/")) if method == "GET" else (path,):
            answer = client.request(method, there, **(sent or {"json": body}))
            if answer.status_code != status:
                problems.append(f"{method} {there}: {answer.status_code}: {answer.text[:200]}")
            elif status != 204:
                given = answer.json()
                objects = given if isinstance(given, list) else given.get("results", [given])
                problems += [f"{method} {there}: nothing in it"] if not objects else []
                problems += [f"{method} {there}: no {name}" for name in fields if any(name not in o for o in objects)]
    assert not problems, "\n".join(problems)


def test_limit_takes_so_many_unsynced_days_and_the_links_go_on(client: httpx.Client) -> None:
    first = client.get(f"{DAYS}unsynced/?limit=30").json()
    assert (first["count"], len(first["results"])) == (80, 30)
    second = client.get(first["next"]).json()
    assert len({day["id"] for day in (*first["results"], *second["results"])}) == 60
    assert len(client.get(f"{DAYS}unsynced/?limit=").json()["results"]) == 80
    for query in ("limit=0", "limit=-1", "limit=x", "limit=1.5", "limit=5&page_size=5", "limits=5"):
        answer = client.get(f"{DAYS}unsynced/?{query}")
        assert (answer.status_code, "limit" in answer.json()["detail"]) == (400, True), (query, answer.text)
    assert client.get(f"{DAYS}?limit=5").status_code == 400, "the bridge documents it for unsynced/ and sync/ only"


def test_polls_and_errors_have_the_fields_that_the_bridge_documents(client: httpx.Client) -> None:
    (polled,) = client.post(f"{DEVICES}poll_all/").json()["devices"]
    assert polled | {"device": "North", "status": "success"} == polled
    assert polled["last_sync"] == client.get(f"{DEVICES}1/").json()["last_sync"]
    assert client.post(f"{DAYS}sync/?limit=100").json()["errors"] == [
        {"user_id": "1001", "date": "2026-03-02", "error": "Connection timeout"}
    ]


def test_who_has_no_token_is_answered_as_by_the_bridge(bridged: Served) -> None:
    with bridged.client(None) as stranger:
        answer = stranger.get(DEVICES)
    assert answer.status_code == 401
    assert "detail" in answer.json()


def test_rows_of_a_device_that_the_registry_has_lost_are_in_every_list(client: httpx.Client, filled: Store) -> None:
    """What a restore of an earlier version left behind; every list, export and page shows them."""
    execute(filled, "DELETE FROM devices WHERE name = 'North'")
    assert rows(filled, "SELECT count(*) FROM processed_attendance WHERE device IS NULL") == [(80,)]
    for path in ("unsynced/", "outliers/", "?synced_to_crm=false", "?page_size=1000", "?is_reviewed=false", "1/"):
        answer = client.get(DAYS + path)
        assert answer.status_code == 200, (path, answer.text)
        day = answer.json().get("results", [answer.json()])[0]
        assert (day["device"], day["device_name"]) == (None, "North")
    assert client.get(RAW).json()["results"][0]["device"] is None
    samples = {"day_id": 1, "what": "raw", "run_id": RUN, "name": "none", "device_id": 2, "period": "2026-11"}
    lists = [path for path, methods in client.get("/api/openapi.json").json()["paths"].items() if "get" in methods]
    for path in (*lists, "/api/export/attendance/", "/api/explain/?user_id=1001&date=2026-03-02"):
        answer = client.get(path.format(**samples))
        assert answer.status_code in (200, 400, 404) or path == "/health/ready", (path, answer.text[:300])
