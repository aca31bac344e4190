"""Polling, processing and delivering over HTTP, from punch to CRM, each as runs that Dagster shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from zk_pipeline.settings import load_settings
from zk_pipeline.simulator.crm_misbehaviour import behave, refusal
from zk_pipeline.simulator.crm_receiver import CrmReceiver
from zk_pipeline.simulator.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_bench import Served, serve
from zk_pipeline_tests.gates import MONDAY, TUESDAY, gate, present, switch_on
from zk_pipeline_tests.waiting import until

DAY_FIELDS = {
    "id", "device", "device_name", "user_id", "date", "clock_in", "clock_out", "is_outlier", "outlier_reason",
    "synced_to_crm", "sync_attempts", "last_sync_attempt", "created_at", "updated_at",
}  # fmt: skip


@pytest.fixture
def gates(fleet: Fleet, home_store: Store) -> Fleet:
    switch_on(fleet, home_store, gate("North", *present(MONDAY), ("1002", f"{TUESDAY} 14:30:00")))
    switch_on(fleet, home_store, gate("South", *present(MONDAY, "1003")))
    return fleet


@pytest.fixture
def served(home: Path, home_store: Store, crm: CrmReceiver) -> Iterator[Served]:  # noqa: ARG001 (set variables)
    with serve(load_settings(), home_store) as served:
        yield served


def run_of(admin: httpx.Client, run_id: str) -> httpx.Response:
    return admin.get(f"/api/runs/{run_id}/")


@pytest.mark.usefixtures("gates")
def test_from_punch_to_crm_in_the_words_of_the_contract(admin: httpx.Client, crm: CrmReceiver) -> None:
    polled = admin.post("/api/devices/1/poll/").json()
    assert polled | {"status": "success", "device": "North", "total_fetched": 3, "new_records": 3} == polled
    everything = admin.post("/api/devices/poll_all/").json()
    assert (everything["total_devices"], everything["successful"], everything["failed"]) == (2, 2, 0)
    assert [one["device"] for one in everything["devices"]] == ["North", "South"]
    made = admin.post("/api/processed-attendance/process/").json()
    assert (made["total_records"], made["processed"], made["outliers"], made["failed"]) == (3, 3, 1, 0)
    first = admin.post("/api/processed-attendance/sync/?limit=1").json()
    assert (first["total"], first["successful"], first["failed"], first["errors"]) == (1, 1, 0, [])
    assert admin.post("/api/processed-attendance/sync/").json()["successful"] == 2
    assert len(crm.ledger.latest()) == 3
    days = admin.get("/api/processed-attendance/").json()
    assert days["count"] == 3
    assert days["results"][0].keys() >= DAY_FIELDS
    assert {one["synced_to_crm"] for one in days["results"]} == {True}
    stats = admin.get("/api/processed-attendance/stats/").json()
    assert stats == {"total": 3, "synced": 3, "unsynced": 0, "failed": 0, "sync_percentage": 100.0}
    jobs = [(one["job_name"], one["status"], one["started_by"]) for one in admin.get("/api/runs/").json()]
    assert {one[0] for one in jobs} == {"poll_devices", "process_attendance", "sync_to_crm"}
    assert {one[1:] for one in jobs} == {("SUCCESS", "api")}


@pytest.mark.usefixtures("gates")
def test_without_waiting_the_runs_id_is_answered_at_once_and_can_be_followed(admin: httpx.Client) -> None:
    answer = admin.post("/api/devices/poll_all/?wait=false")
    assert answer.status_code == 202
    run_id = answer.json()["run_id"]
    assert answer.headers["location"].endswith(f"/api/runs/{run_id}/")
    until(lambda: run_of(admin, run_id).json()["is_finished"], seconds=90)
    run = run_of(admin, run_id).json()
    assert (run["status"], [one["job_name"] for one in run["runs"]]) == ("SUCCESS", ["poll_devices"])
    assert run["runs"][0]["run_id"] == run_id
    assert admin.get("/api/raw-attendance/").json()["count"] == 5
    nothing = admin.post("/api/processed-attendance/sync/?wait=false").json()["run_id"]
    until(lambda: run_of(admin, nothing).json()["is_finished"], seconds=90)
    assert run_of(admin, nothing).json()["detail"] == "there was nothing to do"


@pytest.mark.usefixtures("gates")
def test_a_dead_letter_is_listed_with_its_error_and_goes_out_when_retried(
    admin: httpx.Client, crm: CrmReceiver
) -> None:
    admin.post("/api/devices/poll_all/")
    admin.post("/api/processed-attendance/process/")
    crm.misbehave = lambda received: refusal(422) if "1003" in received.user_ids else None
    sent = admin.post("/api/processed-attendance/sync/").json()
    assert (sent["total"], sent["successful"], sent["failed"]) == (3, 2, 1)
    assert sent["errors"]
    (dead,) = admin.get("/api/processed-attendance/?sync_state=failed").json()["results"]
    assert (dead["user_id"], bool(dead["sync_error"]), dead["synced_to_crm"]) == ("1003", True, False)
    assert admin.get("/api/processed-attendance/unsynced/").json()["results"] == [dead]
    crm.misbehave = behave
    assert admin.post("/api/processed-attendance/sync/").json()["total"] == 0
    assert admin.post(f"/api/processed-attendance/{dead['id']}/retry/").json()["successful"] == 1
    assert admin.get("/api/processed-attendance/unsynced/").json()["count"] == 0


def test_what_fails_before_a_run_begins_is_told(admin: httpx.Client) -> None:
    for query, words in (
        ("start_date=2026-01-01", "belong together"),
        ("start_date=2026-01-02&end_date=2026-01-01", "is before start_date"),
        ("date=1999-01-01", "ZK_PIPELINE_HISTORY_START"),
        ("date=2999-01-01", "is in the future"),
    ):
        answer = admin.post(f"/api/processed-attendance/process/?{query}")
        assert (answer.status_code, words in answer.json()["detail"]) == (400, True), answer.text
    assert run_of(admin, "00000000-0000-0000-0000-000000000000").status_code == 404
    assert run_of(admin, "not-a-run").status_code == 404


def test_without_a_crm_a_sync_is_refused_and_nothing_is_attempted(
    home: Path, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.exists()
    monkeypatch.delenv("CRM_API_URL", raising=False)
    with serve(load_settings(), home_store) as served, served.client() as admin:
        answer = admin.post("/api/processed-attendance/sync/")
    assert (answer.status_code, "CRM_API_URL is not set" in answer.json()["detail"]) == (503, True)
