"""Pages of Dagster runs: starting one, its progress and effects, and a filtered list."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.fields import as_date
from zk_pipeline.http.pagination import DateText, Empty, Text
from zk_pipeline.http.run_state import run_state
from zk_pipeline.http.run_workers import Action
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.sync import check_crm
from zk_pipeline.runs.run_list import API, BACKFILL, COMMAND, UI, RunFilter, RunPage, RunState
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.queries.run_effects import RunEffects, run_effects
from zk_pipeline.web.devices.pages import DeviceId
from zk_pipeline.web.list_pages import check_date_range, page_after
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
_STATES = [
    ("in_progress", "in progress"),
    ("queued", "queued"),
    ("done", "done"),
    ("failed", "failed"),
    ("canceled", "canceled"),
]
_TRIGGERS = {API: "API or these pages", COMMAND: "a command", BACKFILL: "a backfill", UI: "Dagster UI"}
State = Literal["queued", "in_progress", "done", "failed", "canceled"]


class RunsQuery(BaseModel):
    """Filters of runs; dates are those of the default zone. `cursor`: id of the last run of the page before."""

    model_config = ConfigDict(extra="forbid")

    job: Text = None
    state: State | Empty | None = None
    trigger: Text = None
    start_date: DateText = None
    end_date: DateText = None
    cursor: Annotated[str, Field(pattern=r"^[0-9a-f-]{36}$")] | None = None

    def wanted(self, zone: ZoneInfo) -> RunFilter:
        """Raises UsageError for an end before the start."""
        first, last = as_date(self.start_date), as_date(self.end_date)
        check_date_range(first, last)
        return RunFilter(
            job=self.job,
            state=self.state or None,
            trigger=self.trigger,
            since=None if first is None else _midnight(first, zone),
            until=None if last is None else _midnight(last + timedelta(days=1), zone),
        )


@router.get("/runs")
def runs(request: Request, services: Given, identity: Reader) -> Response:
    def read(asked: RunsQuery) -> RunPage:
        wanted = asked.wanted(ZoneInfo(services.settings.timezone))
        return services.watch.page(wanted, limit=_SHOWN, cursor=asked.cursor)

    names = services.watch.names
    found = page_after(
        request,
        RunsQuery,
        read,
        empty=RunPage([], None, is_cut=False),
        place=["cursor"],
        following=lambda page: [page.cursor] if page.cursor else None,
    )
    return render(
        request,
        "runs.html",
        identity,
        jobs=names.jobs,
        states=_STATES,
        triggers=[*_TRIGGERS.items(), *((one, one) for one in sorted(names.instigators))],
        **found,
        **_labels(),
    )


@router.get("/runs/{run_id}")
def run(request: Request, services: Given, identity: Reader, run_id: UUID) -> Response:
    """Progress of a run. The page refreshes until the run has ended, with and without scripts."""
    state = run_state(services, run_id)
    if state is None:
        raise HTTPException(404, "Not found.")
    polls = [poll for one in state["runs"] for poll in services.store.punches.polls_of(one.run_id)]
    ids = {device.name: device.id for device in services.store.devices.all()}
    return render(
        request,
        "run.html",
        identity,
        breadcrumbs=[("Runs", "/runs")],
        run=state,
        polls=polls,
        effects=_effects(services, state["runs"]),
        device_ids=ids,
        **_labels(),
    )


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
    return to_run(services, action, form.identity)


@router.post("/devices/{device_id}/poll")
def poll(services: Given, form: OperatorForm, device_id: DeviceId) -> Response:
    name = services.store.devices.by_id(device_id).name
    return to_run(services, Action(kind="poll", arguments={"names": [name]}), form.identity)


def to_run(services: Services, action: Action, identity: Identity) -> Response:
    """Start an action for the user and redirect to its page. Raises TooManyActions."""
    services.start(replace(action, requested_by=identity.name))
    return RedirectResponse(f"/runs/{action.run_id}", 303)


def _effects(services: Services, known: list[RunState]) -> RunEffects | None:
    """Effects of the runs on the store; None before one has started."""
    started = [one.started_at for one in known if one.started_at is not None]
    return run_effects(services.store.database, [one.run_id for one in known], min(started)) if started else None


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)


def _labels() -> dict[str, Any]:
    return {"kinds": _KINDS, "labels": _LABELS, "trigger_labels": _TRIGGERS}
