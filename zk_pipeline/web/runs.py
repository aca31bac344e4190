"""Pages of Dagster runs: starting one, its progress, and the latest runs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.run_state import run_state
from zk_pipeline.http.run_workers import Action
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.sync import check_crm
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.web.devices.pages import DeviceId
from zk_pipeline.web.rendering import OperatorForm, Reader, render

router = APIRouter(include_in_schema=False)
_SHOWN = 50
_KINDS = {"SUCCESS": "ok", "FAILURE": "bad", "CANCELED": "warn", "CANCELING": "warn"}
_LABELS = {
    "QUEUED": "queued",
    "NOT_STARTED": "queued",
    "STARTING": "starting",
    "STARTED": "in progress",
    "CANCELING": "being canceled",
    "SUCCESS": "done",
    "FAILURE": "failed",
    "CANCELED": "canceled",
}


@router.get("/runs")
def runs(request: Request, services: Given, identity: Reader) -> Response:
    return render(request, "runs.html", identity, runs=services.watch.newest(_SHOWN), **_labels())


@router.get("/runs/{run_id}")
def run(request: Request, services: Given, identity: Reader, run_id: UUID) -> Response:
    """Progress of a run. The page refreshes until the run has ended, with and without scripts."""
    state = run_state(services, run_id)
    if state is None:
        raise HTTPException(404, "Not found.")
    polls = [poll for one in state["runs"] for poll in services.store.punches.polls_of(one.run_id)]
    ids = {device.name: device.id for device in services.store.devices.all()}
    return render(request, "run.html", identity, run=state, polls=polls, device_ids=ids, **_labels())


@router.post("/runs")
def start(services: Given, form: OperatorForm) -> Response:
    """Start the run of `kind`: `poll` (all enabled terminals), `process` (stale dates) or `sync` (due deliveries)."""
    kind = form.fields.get("kind", "")
    if kind == "sync":
        check_crm(services.settings)  # a wrong setting is reported here, not by a run
        action = Action(kind="sync", arguments={"scope": SyncScope(), "limit": None})
    elif kind == "process":
        action = Action(kind="process", arguments={"dates": None})
    elif kind == "poll":
        action = Action(kind="poll", arguments={"names": None})
    else:
        raise UsageError("kind: one of poll, process and sync is expected")
    return to_run(services, action)


@router.post("/devices/{device_id}/poll")
def poll(services: Given, form: OperatorForm, device_id: DeviceId) -> Response:  # noqa: ARG001 (checks the scope)
    name = services.store.devices.by_id(device_id).name
    return to_run(services, Action(kind="poll", arguments={"names": [name]}))


def to_run(services: Services, action: Action) -> Response:
    """Start an action and redirect to its page. Raises TooManyActions."""
    services.start(action)
    return RedirectResponse(f"/runs/{action.run_id}", 303)


def _labels() -> dict[str, Any]:
    return {"kinds": _KINDS, "labels": _LABELS}
