"""Actions: polling, processing, delivering, each as Dagster runs. They wait for their runs, up to a point."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from zk_pipeline.api.attendance import DayId
from zk_pipeline.api.devices import DeviceId
from zk_pipeline.api.responses import FAILURES, TERMINAL_FAILURES, Problem, TerminalProblem
from zk_pipeline.http.auth import Operator
from zk_pipeline.http.fields import Date, Id, UserId, as_date
from zk_pipeline.http.pagination import DateText, FlagText, Text, flag
from zk_pipeline.http.run_workers import LOST, Action, ActionLost, ActionResult
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.strict_input import StrictRoute, with_body
from zk_pipeline.operations.date_range import check_date_range, check_in_history, parse_date_range
from zk_pipeline.operations.sync import check_crm
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.terminals.punches import PollRecord

router = APIRouter(prefix="/api", tags=["actions"], route_class=StrictRoute)

_CalendarDate = date  # a field of that name hides the type
_MOST_ERRORS = 100
_WORDS = "Whether to wait for the run; `false` answers 202 with its id at once"


class Waiting(BaseModel):
    """What every action takes."""

    model_config = ConfigDict(extra="forbid")

    wait: FlagText = Field(None, description=_WORDS)


class ProcessParameters(Waiting):
    """Which work dates; without, every one whose punches are newer than its days."""

    date: DateText = Field(None, description="One work date")
    start_date: DateText = Field(None, description="First work date of a range")
    end_date: DateText = Field(None, description="Last work date of a range, included")


class SyncParameters(Waiting):
    """Which deliveries; without, all that are due."""

    limit: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(None, description="At most this many records")
    start_date: DateText = Field(None, description="First work date")
    end_date: DateText = Field(None, description="Last work date, included")
    user_id: Text = Field(None, description="Only this person")
    retry_failed: FlagText = Field(None, description="Also what ended in retry, and dead letters")


class WaitingBody(BaseModel):
    """The same in a JSON body, which may be left out."""

    model_config = ConfigDict(extra="forbid")

    wait: bool | None = Field(None, strict=True, description=_WORDS)


class ProcessBody(WaitingBody):
    """Which work dates; without, every one whose punches are newer than its days."""

    date: Date | None = Field(None, description="One work date")
    start_date: Date | None = Field(None, description="First work date of a range")
    end_date: Date | None = Field(None, description="Last work date of a range, included")


class SyncBody(WaitingBody):
    """Which deliveries; without, all that are due."""

    limit: Id | None = Field(None, description="At most this many records")
    start_date: Date | None = Field(None, description="First work date")
    end_date: Date | None = Field(None, description="Last work date, included")
    user_id: UserId | None = Field(None, description="Only this person")
    retry_failed: bool | None = Field(None, strict=True, description="Also what ended in retry, and dead letters")


class Started(BaseModel):
    """The run goes on; ask `status_url` how it stands."""

    run_id: str = Field(description="Dagster run of the action, the first one where it needs several")
    status: Literal["started"]
    status_url: str


class Polled(BaseModel):
    """One terminal's poll."""

    status: Literal["success", "failed"]
    device: str
    total_fetched: int = Field(description="Records read from its log")
    new_records: int = Field(description="Punches that were not known before")
    run_id: str | None
    error: str | None = None
    error_code: str | None = None
    last_sync: datetime | None = Field(None, description="Its last successful poll (instant, UTC)")
    warnings: str | None = Field(None, description="What went wrong without failing the poll, a line each")


class AllPolled(BaseModel):
    """Every enabled terminal's poll."""

    total_devices: int
    successful: int
    failed: int
    devices: list[Polled]
    run_ids: list[str]


class ProcessedCounts(BaseModel):
    """What processing made."""

    total_records: int = Field(description="Days looked at, and work dates that failed")
    processed: int = Field(description="Days made or found unchanged")
    outliers: int = Field(description="Days of these that are unusual")
    failed: int = Field(description="Runs that failed; `errors` says why")
    errors: list[str]
    work_dates: int
    run_ids: list[str]


class RecordError(BaseModel):
    """A delivery that failed, or a run that did: then without a person and date."""

    user_id: str | None = None
    date: _CalendarDate | None = None
    error: str


class SyncCounts(BaseModel):
    """Outcome of the deliveries."""

    total: int = Field(description="Records attempted, and due ones that were not attempted after all")
    successful: int
    failed: int
    errors: list[RecordError] = Field(description=f"At most {_MOST_ERRORS}")
    run_ids: list[str]


_STARTED: dict[int | str, dict[str, Any]] = {202: {"model": Started, "description": "The run goes on"}}
_LOST: dict[int | str, dict[str, Any]] = {500: {"model": Problem, "description": "The process that did it is gone"}}
_ACTION: dict[int | str, dict[str, Any]] = FAILURES | _STARTED | _LOST
_POLL: dict[int | str, dict[str, Any]] = _ACTION | TERMINAL_FAILURES


@router.post("/devices/poll_all/", response_model=AllPolled, responses=_ACTION)
async def poll_all(
    request: Request, services: Given, _: Operator, asked: Annotated[Waiting, Query()], body: WaitingBody | None = None
) -> Response | dict[str, Any]:
    """Read all enabled terminals and store their punches. One that fails does not fail the others."""
    action = Action(kind="poll", arguments={"names": None})
    return await _run(request, services, with_body(asked, body), action, _all_polled)


@router.post("/devices/{device_id}/poll/", response_model=Polled, responses=_POLL)
async def poll(
    request: Request,
    services: Given,
    _: Operator,
    device_id: DeviceId,
    asked: Annotated[Waiting, Query()],
    body: WaitingBody | None = None,
) -> Response | dict[str, Any]:
    """Read one terminal and store its punches."""
    device = await run_in_threadpool(services.store.devices.by_id, device_id)
    action = Action(kind="poll", arguments={"names": [device.name]})
    answer = await _run(request, services, with_body(asked, body), action, _all_polled)
    if isinstance(answer, Response):
        return answer
    polled = next((one for one in answer["devices"] if one["device"] == device.name), None)
    if polled is None:
        raise HTTPException(503, f"{device.name}: {answer['problem']}")
    if polled["status"] == "failed":
        problem = TerminalProblem(detail=polled["error"], error_code=polled["error_code"])
        return JSONResponse(problem.model_dump() | {"run_id": polled["run_id"]}, 503)
    return dict(polled)


@router.post("/processed-attendance/process/", response_model=ProcessedCounts, responses=_ACTION)
async def process(
    request: Request,
    services: Given,
    _: Operator,
    asked: Annotated[ProcessParameters, Query()],
    body: ProcessBody | None = None,
) -> Response | dict[str, Any]:
    """Make days from punches: of a date, of a range (a year, too) as one run, or of every date that is stale."""
    asked = with_body(asked, body)
    dates = parse_date_range(as_date(asked.date), as_date(asked.start_date), as_date(asked.end_date))
    if dates is not None:
        today = await run_in_threadpool(services.last_work_date)
        names = ("start_date", "end_date") if asked.date is None else ("date", "date")
        check_in_history(*dates, begins=services.settings.history_start, today=today, names=names)
    action = Action(kind="process", arguments={"dates": dates})
    return await _run(request, services, asked, action, _processed)


@router.post("/processed-attendance/sync/", response_model=SyncCounts, responses=_ACTION)
async def sync(
    request: Request,
    services: Given,
    _: Operator,
    asked: Annotated[SyncParameters, Query()],
    body: SyncBody | None = None,
) -> Response | dict[str, Any]:
    """Deliver to the CRM what is due. Each day's latest revision goes out once."""
    asked = with_body(asked, body)
    first, last = as_date(asked.start_date), as_date(asked.end_date)
    check_date_range(first, last)
    scope = SyncScope(first=first, last=last, user_id=asked.user_id)
    retry = flag(asked.retry_failed) or False
    return await _sync(request, services, asked, {"scope": scope, "limit": asked.limit, "retry": retry})


@router.post("/processed-attendance/{day_id}/retry/", response_model=SyncCounts, responses=_ACTION)
async def retry(
    request: Request,
    services: Given,
    _: Operator,
    day_id: DayId,
    asked: Annotated[Waiting, Query()],
    body: WaitingBody | None = None,
) -> Response | dict[str, Any]:
    """Deliver one person's day now, also where it is a dead letter; one that the CRM holds is not sent (`total` 0)."""
    day = await run_in_threadpool(services.store.lists.day, day_id)
    if day is None:
        raise HTTPException(404, "Not found.")
    scope = SyncScope(first=day.date, last=day.date, user_id=day.user_id)
    return await _sync(request, services, with_body(asked, body), {"scope": scope, "limit": None, "retry": True})


async def _sync(
    request: Request, services: Services, asked: Waiting, arguments: dict[str, Any]
) -> Response | dict[str, Any]:
    check_crm(services.settings)  # said now, also where nobody waits
    return await _run(request, services, asked, Action(kind="sync", arguments=arguments), _synced)


async def _run(
    request: Request,
    services: Services,
    asked: Waiting,
    action: Action,
    told: Callable[[Services, ActionResult], dict[str, Any]],
) -> Response | dict[str, Any]:
    """Start an action; what came of it, or 202 where it takes longer than anybody waits."""
    future = asyncio.wrap_future(await run_in_threadpool(services.actions.submit, action))
    if flag(asked.wait) is not False:
        stopping = asyncio.ensure_future(request.app.state.stopping.wait())
        await asyncio.wait({future, stopping}, timeout=services.patience, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if future.done() and not future.cancelled():
            try:
                result = future.result()
            except BrokenProcessPool:
                raise ActionLost(f"run {action.run_id}: {LOST}") from None
            return await run_in_threadpool(told, services, result)
    future.add_done_callback(lambda one: one.cancelled() or one.exception())  # told where its state is asked for
    url = str(request.url.replace(path=f"/api/runs/{action.run_id}/", query=""))
    started = Started(run_id=action.run_id, status="started", status_url=url)
    return JSONResponse(started.model_dump(), 202, {"Location": url})


def _all_polled(services: Services, result: ActionResult) -> dict[str, Any]:
    polls = [(run_id, one) for run_id in result.run_ids for one in services.store.punches.polls_of(run_id)]
    last_sync = {one.name: one.last_sync for one in services.store.devices.all()}
    devices = [_polled(run_id, one) | {"last_sync": last_sync.get(one.device)} for run_id, one in polls]
    successful = sum(one["status"] == "success" for one in devices)
    return {
        "total_devices": len(devices),
        "successful": successful,
        "failed": len(devices) - successful,
        "devices": devices,
        "run_ids": result.run_ids,
        "problem": "; ".join(result.failures) or "it was not polled",
    }


def _polled(run_id: str, poll: PollRecord) -> dict[str, Any]:
    return {
        "status": poll.status,
        "device": poll.device,
        "total_fetched": poll.fetched or 0,
        "new_records": poll.new or 0,
        "run_id": run_id,
        "error": poll.error,
        "error_code": poll.error_code,
        "warnings": poll.warnings,
    }


def _processed(_: Services, result: ActionResult) -> dict[str, Any]:
    made = result.partitions.values()
    rows = sum(one.get("dagster/partition_row_count", 0) for one in made)
    return {
        "total_records": rows + len(result.failures),
        "processed": rows,
        "outliers": sum(one.get("outlier_rows", 0) for one in made),
        "failed": len(result.failures),
        "errors": result.failures,
        "work_dates": len(result.partitions),
        "run_ids": result.run_ids,
    }


def _synced(services: Services, result: ActionResult) -> dict[str, Any]:
    successful = result.observed.get("delivered", 0)
    failed = sum(result.observed.get(name, 0) for name in ("retry", "failed", "unsent"))
    return {
        "total": successful + failed,
        "successful": successful,
        "failed": failed,
        "errors": [
            *({"error": text} for text in result.failures),
            *(
                {"user_id": one.user_id, "date": one.work_date, "error": one.error}
                for one in services.store.deliveries.errors_of(result.run_ids, limit=_MOST_ERRORS)
            ),
        ][:_MOST_ERRORS],
        "run_ids": result.run_ids,
    }
