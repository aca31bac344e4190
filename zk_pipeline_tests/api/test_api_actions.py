"""Actions over HTTP: poll, process and sync, from punch to CRM, each as Dagster runs."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import SpawnProcess
from pathlib import Path

import httpx
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.http import run_workers
from zk_pipeline.http.run_workers import NOT_STARTED, WORKER_LOST, Action, RunWorkerPool, TooManyActions
from zk_pipeline.http.services import Parts
from zk_pipeline.server import base_app
from zk_pipeline.simulator.crm.faults import no_fault, refusal
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.network_faults import LateAnswers
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Served, finished, serve
from zk_pipeline_tests.api.quick_work import quick_work
from zk_pipeline_tests.gates import MONDAY, TUESDAY, gate, present, switch_on
from zk_pipeline_tests.waiting import until

DAY_FIELDS = {
    "id", "device", "device_name", "user_id", "date", "clock_in", "clock_out", "is_outlier", "outlier_reason",
    "synced_to_crm", "sync_attempts", "last_sync_attempt", "created_at", "updated_at",
}  # fmt: skip


@pytest.fixture
def served(home: Path, home_store: Store, crm: CrmReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:  # noqa: ARG001
    """An API whose actions are real; a worker process is started by the first of them."""
    monkeypatch.setenv("GATE_KEY", "47114711")
    monkeypatch.setattr(run_workers, "NICENESS", 1)
    with serve(load_settings(), home_store, Parts(actions=RunWorkerPool(workers=1))) as served:
        yield served


@pytest.mark.timeout(300)
def test_from_punch_to_crm_in_the_words_of_the_contract(
    admin: httpx.Client, crm: CrmReceiver, fleet: Fleet, home_store: Store
) -> None:
    """One API, and one worker process, for everything that actions do in order."""
    switch_on(fleet, home_store, gate("North", *present(MONDAY), ("1002", f"{TUESDAY} 14:30:00")))
    switch_on(fleet, home_store, gate("South", *present(MONDAY, "1003")))
    polled = admin.post("/api/devices/1/poll/").json()
    assert polled | {"status": "success", "device": "North", "total_fetched": 3, "new_records": 3} == polled
    (worker,) = workers()
    assert worker.pid is not None
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 1)
    assert os.getsid(worker.pid) == os.getsid(0), "Linux divides CPU time by session first"
    assert os.getpgid(worker.pid) != os.getpgid(0), "Ctrl-C reaches the API alone"
    everything = admin.post("/api/devices/poll_all/").json()
    assert (everything["total_devices"], everything["successful"], everything["failed"]) == (2, 2, 0)
    assert [one["device"] for one in everything["devices"]] == ["North", "South"]

    made = admin.post("/api/processed-attendance/process/").json()
    assert (made["total_records"], made["processed"], made["outliers"], made["failed"]) == (3, 3, 1, 0)
    backfill = admin.post(f"/api/processed-attendance/process/?start_date={MONDAY}&end_date=2024-03-07").json()
    assert (backfill["work_dates"], len(backfill["run_ids"]), backfill["failed"]) == (4, 1, 0)
    crm.fault_rule = lambda received: refusal(422) if "1003" in received.user_ids else None
    first = admin.post("/api/processed-attendance/sync/?limit=1&user_id=1001").json()
    assert (first["total"], first["successful"], first["failed"], first["errors"]) == (1, 1, 0, [])
    sent = admin.post("/api/processed-attendance/sync/").json()
    assert (sent["total"], sent["successful"], sent["failed"], bool(sent["errors"])) == (2, 1, 1, True)

    (dead,) = admin.get("/api/processed-attendance/?sync_state=failed").json()["results"]
    assert (dead["user_id"], bool(dead["sync_error"]), dead["synced_to_crm"]) == ("1003", True, False)
    assert admin.get("/api/processed-attendance/unsynced/").json()["results"] == [dead]
    crm.fault_rule = no_fault
    again = admin.post("/api/processed-attendance/sync/").json()
    assert again["total"] == 0  # a dead letter is not tried by itself
    assert admin.post(f"/api/processed-attendance/{dead['id']}/retry/").json()["successful"] == 1
    posts = crm.posts
    assert admin.post(f"/api/processed-attendance/{dead['id']}/retry/").json()["total"] == 0, "the CRM holds it"
    assert crm.posts == posts
    assert admin.get("/api/processed-attendance/unsynced/").json()["count"] == 0
    assert len(crm.ledger.latest()) == 3

    days = admin.get("/api/processed-attendance/").json()
    assert days["count"] == 3
    assert days["results"][0].keys() >= DAY_FIELDS
    assert {one["synced_to_crm"] for one in days["results"]} == {True}
    stats = admin.get("/api/processed-attendance/stats/").json()
    assert stats == {"total": 3, "synced": 3, "unsynced": 0, "failed": 0, "sync_percentage": 100.0}

    answer = admin.post("/api/devices/poll_all/?wait=false")
    assert answer.status_code == 202
    run_id = answer.json()["run_id"]
    assert answer.headers["location"].endswith(f"/api/runs/{run_id}/")
    run = finished(admin, run_id)
    assert (run["status"], [one["job_name"] for one in run["runs"]]) == ("SUCCESS", ["poll_devices"])
    assert run["runs"][0]["run_id"] == run_id
    nothing = admin.post("/api/processed-attendance/sync/?wait=false").json()["run_id"]
    assert finished(admin, nothing)["detail"] == "there was nothing to do"
    jobs = [(one["job_name"], one["status"], one["started_by"]) for one in admin.get("/api/runs/").json()]
    assert {one[0] for one in jobs} == {"poll_devices", "process_attendance", "sync_to_crm"}
    assert {one[2] for one in jobs} == {"api"}

    for query, words in (
        ("start_date=2026-01-01", "must be given together"),
        ("start_date=2026-01-02&end_date=2026-01-01", "is before start_date"),
        ("date=1999-01-01", "ZK_PIPELINE_HISTORY_START"),
        ("date=2999-01-01", "is in the future"),
    ):
        answer = admin.post(f"/api/processed-attendance/process/?{query}")
        assert (answer.status_code, words in answer.json()["detail"]) == (400, True), answer.text

    switch_on(fleet, home_store, gate("Locked", comm_key=4711), comm_key_env="GATE_KEY")
    fleet.switch_off("South")
    locked, dark = admin.post("/api/devices/3/poll/"), admin.post("/api/devices/2/poll/")
    assert (locked.status_code, locked.json()["error_code"]) == (503, "wrong_comm_key")
    assert "47114711" not in locked.text
    assert (dark.status_code, dark.json()["error_code"] in ("refused", "unreachable")) == (503, True)


def workers() -> list[multiprocessing.process.BaseProcess]:
    """The workers of the run pool, without the children of other tests in this process, which a fork server makes."""
    return [child for child in multiprocessing.active_children() if isinstance(child, SpawnProcess)]


def see_a_worker_killed(
    admin: httpx.Client, served: Served, hanging: int, quick: int, has_started: Callable[[str], object]
) -> str:
    """Kill a worker during a poll, while another one waits; check both responses. Returns the id of the run."""
    until(lambda: not workers(), seconds=60)  # the worker of an earlier test may still be ending
    run_id = admin.post(f"/api/devices/{hanging}/poll/?wait=false").json()["run_id"]
    with ThreadPoolExecutor(1) as waiting:
        until(lambda: has_started(run_id), seconds=60)
        asked = waiting.submit(admin.post, f"/api/devices/{quick}/poll/")
        until(lambda: len(served.services.actions.unfinished()) == 2, seconds=60)
        (worker,) = workers()
        worker.kill()
        state = finished(admin, run_id)
        lost = asked.result(60)
    assert (state["status"], state["detail"] in (WORKER_LOST, NOT_STARTED)) == ("FAILURE", True)
    assert (lost.status_code, WORKER_LOST in lost.json()["detail"]) == (500, True)
    return run_id


def test_when_a_worker_is_killed_the_api_says_so_and_starts_another(home: Path, filled: Store) -> None:
    assert home.exists()
    actions = RunWorkerPool(workers=1, work=quick_work)
    with serve(load_settings(), filled, Parts(actions=actions)) as served, served.client() as admin:
        see_a_worker_killed(admin, served, 1, 1, lambda _: workers())
        again = admin.post("/api/devices/poll_all/")
        assert (again.status_code, again.json()["successful"]) == (200, 1)


def test_who_waits_for_a_run_is_told_its_id_when_the_api_is_stopped(
    home: Path, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.exists()
    monkeypatch.setattr(base_app, "RUN_TIMEOUT_SECONDS", 0.1)  # the run has no end
    actions = RunWorkerPool(workers=1, work=quick_work)
    parts = Parts(actions=actions)
    with ThreadPoolExecutor(1) as waiting, serve(load_settings(), filled, parts) as served, served.client() as admin:
        asked = waiting.submit(admin.post, "/api/devices/1/poll/")
        until(workers, seconds=60)
        served.server.handle_exit(signal.SIGTERM, None)
        answer = asked.result(60)
    assert (answer.status_code, answer.json()["status"]) == (202, "started")
    until(lambda: not workers())
    with pytest.raises(TooManyActions, match="is stopping"):
        actions.submit(Action(kind="poll"))


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_when_a_worker_is_killed_in_a_run_dagster_knows_it_too(
    admin: httpx.Client, served: Served, fleet: Fleet, home_store: Store
) -> None:
    switch_on(fleet, home_store, gate("North", *present(MONDAY)), gate("South", *present(MONDAY)))
    fleet.inject("South", LateAnswers(seconds=60.0))
    run_id = see_a_worker_killed(admin, served, 2, 1, lambda begun: admin.get(f"/api/runs/{begun}/").json()["runs"])
    fleet.inject("South", Faults())
    again = admin.post("/api/devices/1/poll/").json()
    assert (again["status"], again["device"]) == ("success", "North")
    (dead,) = [one for one in admin.get("/api/runs/").json() if one["run_id"] == run_id]
    assert dead["status"] == "FAILURE"  # since the next action looked for runs whose process is gone


def test_a_run_that_there_is_not_is_not_found(admin: httpx.Client) -> None:
    for key in ("00000000-0000-0000-0000-000000000000", "not-a-run"):
        assert admin.get(f"/api/runs/{key}/").status_code == 404


def test_without_a_crm_a_sync_is_refused_and_nothing_is_attempted(
    home: Path, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.exists()
    monkeypatch.delenv("CRM_API_URL", raising=False)
    with serve(load_settings(), home_store) as served, served.client() as admin:
        answer = admin.post("/api/processed-attendance/sync/")
    assert (answer.status_code, "CRM_API_URL is not set" in answer.json()["detail"]) == (503, True)
