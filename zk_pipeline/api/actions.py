"""Actions: poll, process, sync, each as Dagster runs. Responses wait for the runs, up to a timeout."""

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
from zk_pipeline.devices.errors import check_polled
from zk_pipeline.http.auth import Operator
from zk_pipeline.http.fields import Date, Id, UserId, as_date
from zk_pipeline.http.pagination import DateText, FlagText, Text, flag
from zk_pipeline.http.run_workers import WORKER_LOST, Action, ActionLost, ActionResult
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.strict_input import StrictRoute, with_body
from zk_pipeline.operations.date_range import check_date_range, check_in_history, parse_date_range
from zk_pipeline.operations.sync import check_crm
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.terminals.punches import PollRecord

router = APIRouter(prefix="/api", tags=["actions"], route_class=StrictRoute)

_CalendarDate = date  # a field of that name hides the type
_MAX_ERRORS = 100
_WAIT_HELP = "Whether to wait for the run; `false` returns 202 with its id at once"


class Waiting(BaseModel):
    """Parameters of every action."""

    model_config = ConfigDict(extra="forbid")

    wait: FlagText = Field(None, description=_WAIT_HELP)


class ProcessParameters(Waiting):
    """Work dates to process; default: every stale one."""

    date: DateText = Field(None, description="One work date")
    start_date: DateText = Field(None, description="First work date of a range")
    end_date: DateText = Field(None, description="Last work date of a range, included")


class SyncParameters(Waiting):
    """Deliveries to send; default: all that are due."""

    limit: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(None, description="At most this many records")
    start_date: DateText = Field(None, description="First work date")
    end_date: DateText = Field(None, description="Last work date, included")
    user_id: Text = Field(None, description="Only this user")
    retry_failed: FlagText = Field(None, description="Also state `retry`, and dead letters")


class WaitingBody(BaseModel):
    """The same parameters in an optional JSON body."""

    model_config = ConfigDict(extra="forbid")

    wait: bool | None = Field(None, strict=True, description=_WAIT_HELP)


class ProcessBody(WaitingBody):
    """Work dates to process; default: every stale one."""

    date: Date | None = Field(None, description="One work date")
    start_date: Date | None = Field(None, description="First work date of a range")
    end_date: Date | None = Field(None, description="Last work date of a range, included")


class SyncBody(WaitingBody):
    """Deliveries to send; default: all that are due."""

    limit: Id | None = Field(None, description="At most this many records")
    start_date: Date | None = Field(None, description="First work date")
    end_date: Date | None = Field(None, description="Last work date, included")
    user_id: UserId | None = Field(None, description="Only this user")
    retry_failed: bool | None = Field(None, strict=True, description="Also state `retry`, and dead letters")


class Started(BaseModel):
    """The run is in progress; `status_url` has its state."""

    run_id: str = Field(description="Dagster run of the action; the first one of several")
    status: Literal["started"]
    status_url: str


class Polled(BaseModel):
    """Result of the poll of one terminal."""

    status: Literal["success", "failed"]
    device: str
    total_fetched: int = Field(description="Records read from the log")
    new_records: int = Field(description="Punches that were not stored before")
    run_id: str | None
    error: str | None = None
    error_code: str | None = None
    last_sync: datetime | None = Field(None, description="Last successful poll of the device (instant, UTC)")
    warnings: str | None = Field(None, description="Problems that did not fail the poll, one per line")


class AllPolled(BaseModel):
    """Results of the polls of all enabled terminals."""

    total_devices: int
    successful: int
    failed: int
    devices: list[Polled]
    run_ids: list[str]


class ProcessedCounts(BaseModel):
    """Results of processing."""

    total_records: int = Field(description="Attendance days processed, and work dates that failed")
    processed: int = Field(description="Attendance days written or unchanged")
    outliers: int = Field(description="Attendance days of these with an outlier code")
    failed: int = Field(description="Failed runs; `errors` has the reasons")
    errors: list[str]
    work_dates: int
    run_ids: list[str]


class RecordError(BaseModel):
    """A failed delivery, or a failed run: then without user and date."""

    user_id: str | None = None
    date: _CalendarDate | None = None
    error: str


class SyncCounts(BaseModel):
    """Results of the deliveries."""

    total: int = Field(description="Records attempted, and due ones that were not attempted")
    successful: int
    failed: int
    errors: list[RecordError] = Field(description=f"At most {_MAX_ERRORS}")
    run_ids: list[str]


_STARTED: dict[int | str, dict[str, Any]] = {202: {"model": Started, "description": "The run is in progress"}}
_WORKER_LOST: dict[int | str, dict[str, Any]] = {500: {"model": Problem, "description": "The worker process has ended"}}
_ACTION: dict[int | str, dict[str, Any]] = FAILURES | _STARTED | _WORKER_LOST
_POLL: dict[int | str, dict[str, Any]] = _ACTION | TERMINAL_FAILURES


@router.post("/devices/poll_all/", response_model=AllPolled, responses=_ACTION)
async def poll_all(
    request: Request, services: Given, _: Operator, query: Annotated[Waiting, Query()], body: WaitingBody | None = None
) -> Response | dict[str, Any]:
    """Poll all enabled terminals and store their punches. A failure of one does not fail the others."""
    action = Action(kind="poll", arguments={"names": None})
    return await _run(request, services, with_body(query, body), action, _all_polled)


@router.post("/devices/{device_id}/poll/", response_model=Polled, responses=_POLL)
async def poll(
    request: Request,
    services: Given,
    _: Operator,
    device_id: DeviceId,
    query: Annotated[Waiting, Query()],
    body: WaitingBody | None = None,
) -> Response | dict[str, Any]:
    """Poll one terminal and store its punches. One that only pushes is refused with 400."""
    device = await run_in_threadpool(services.store.devices.by_id, device_id)
    check_polled([device])
    action = Action(kind="poll", arguments={"names": [device.name]})
    answer = await _run(request, services, with_body(query, body), action, _all_polled)
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
    query: Annotated[ProcessParameters, Query()],
    body: ProcessBody | None = None,
) -> Response | dict[str, Any]:
    """Process punches into attendance days: of one work date, of a range as one run, or of every stale work date."""
    query = with_body(query, body)
    dates = parse_date_range(as_date(query.date), as_date(query.start_date), as_date(query.end_date))
    if dates is not None:
        today = await run_in_threadpool(services.last_work_date)
        names = ("start_date", "end_date") if query.date is None else ("date", "date")
        check_in_history(*dates, begins=services.settings.history_start, today=today, names=names)
    action = Action(kind="process", arguments={"dates": dates})
    return await _run(request, services, query, action, _processed)


@router.post("/processed-attendance/sync/", response_model=SyncCounts, responses=_ACTION)
async def sync(
    request: Request,
    services: Given,
    _: Operator,
    query: Annotated[SyncParameters, Query()],
    body: SyncBody | None = None,
) -> Response | dict[str, Any]:
    """Send due deliveries to the CRM. The latest revision of each attendance day is sent once."""
    query = with_body(query, body)
    first, last = as_date(query.start_date), as_date(query.end_date)
    check_date_range(first, last)
    scope = SyncScope(first=first, last=last, user_id=query.user_id)
    retry = flag(query.retry_failed) or False
    return await _sync(request, services, query, {"scope": scope, "limit": query.limit, "retry": retry})


@router.post("/processed-attendance/{day_id}/retry/", response_model=SyncCounts, responses=_ACTION)
async def retry(
    request: Request,
    services: Given,
    _: Operator,
    day_id: DayId,
    query: Annotated[Waiting, Query()],
    body: WaitingBody | None = None,
) -> Response | dict[str, Any]:
    """Deliver one attendance day now, even a dead letter; a delivered one is not sent again (`total` 0)."""
    day = await run_in_threadpool(services.store.lists.day, day_id)
    if day is None:
        raise HTTPException(404, "Not found.")
    scope = SyncScope(first=day.date, last=day.date, user_id=day.user_id)
    return await _sync(request, services, with_body(query, body), {"scope": scope, "limit": None, "retry": True})


async def _sync(
    request: Request, services: Services, query: Waiting, arguments: dict[str, Any]
) -> Response | dict[str, Any]:
    check_crm(services.settings)  # reported now, even if the client does not wait for the run
    return await _run(request, services, query, Action(kind="sync", arguments=arguments), _synced)


async def _run(
    request: Request,
    services: Services,
    query: Waiting,
    action: Action,
    summarize: Callable[[Services, ActionResult], dict[str, Any]],
) -> Response | dict[str, Any]:
    """Start an action; returns its summary, or a 202 response after the timeout."""
    future = asyncio.wrap_future(await run_in_threadpool(services.start, action))
    if flag(query.wait) is not False:
        stopping = asyncio.ensure_future(request.app.state.stopping.wait())
        await asyncio.wait({future, stopping}, timeout=services.run_timeout, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if future.done() and not future.cancelled():
            try:
                result = future.result()
            except BrokenProcessPool:
                raise ActionLost(f"run {action.run_id}: {WORKER_LOST}") from None
            return await run_in_threadpool(summarize, services, result)
    future.add_done_callback(lambda one: one.cancelled() or one.exception())  # reported by /api/runs/
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
        "problem": "; ".join(result.failures) or "the terminal was not polled",
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
    partitions = result.partitions.values()
    rows = sum(one.get("dagster/partition_row_count", 0) for one in partitions)
    return {
        "total_records": rows + len(result.failures),
        "processed": rows,
        "outliers": sum(one.get("outlier_rows", 0) for one in partitions),
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
                for one in services.store.deliveries.errors_of(result.run_ids, limit=_MAX_ERRORS)
            ),
        ][:_MAX_ERRORS],
        "run_ids": result.run_ids,
    }
