"""How runs stand: those that actions started, and any other that Dagster knows."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.answers import FAILURES
from zk_pipeline.api.auth import Reader
from zk_pipeline.api.launching import LOST, NOT_BEGUN, ActionResult
from zk_pipeline.api.services import Given
from zk_pipeline.errors import ZkPipelineError

router = APIRouter(prefix="/api/runs", tags=["runs"], responses=FAILURES)


class Run(BaseModel):
    """One Dagster run."""

    model_config = ConfigDict(from_attributes=True)

    run_id: str
    job_name: str
    status: str = Field(description="In Dagster's words, such as QUEUED, STARTED, SUCCESS, FAILURE or CANCELED")
    started_by: str | None = Field(description="`api`, `zk-pipeline` for a command, null for schedules and the UI")
    started_at: datetime | None
    finished_at: datetime | None


class RunOfAction(BaseModel):
    """How a run stands; of an action that needed several, all of them."""

    run_id: str
    status: str = Field(description="Of the whole action: QUEUED until it begins, FAILURE where one of its runs failed")
    is_finished: bool
    detail: str | None = Field(description="What went wrong, or that there was nothing to do")
    runs: list[Run]


class RunsParameters(BaseModel):
    """How many."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = 25


_FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}


@router.get("/", response_model=list[Run])
def runs(services: Given, _: Reader, asked: Annotated[RunsParameters, Query()]) -> list[Any]:
    """The newest runs of all, the newest first."""
    return list(services.watch.newest(asked.limit))


@router.get("/{run_id}/", response_model=RunOfAction)
def run(services: Given, _: Reader, run_id: UUID) -> dict[str, Any]:
    """How a run stands, and the others of its action."""
    key = str(run_id)
    future = services.actions.find(key)
    known = services.watch.runs_of(key) or [one for one in [services.watch.run(key)] if one is not None]
    if future is None and not known:
        raise HTTPException(404, "Not found.")
    status, detail = (
        _of_action(future, has_begun=bool(known)) if future is not None else _of_runs([one.status for one in known])
    )
    return {
        "run_id": key,
        "status": "STARTED" if status == "QUEUED" and known else status,
        "is_finished": status in _FINISHED,
        "detail": detail,
        "runs": known,
    }


def _of_action(future: Future[ActionResult], *, has_begun: bool) -> tuple[str, str | None]:
    if future.cancelled():
        return "CANCELED", "the API was stopped before it began"
    if not future.done():
        return "QUEUED", None
    error = future.exception()
    if error is not None:
        return "FAILURE", str(error) if isinstance(error, ZkPipelineError) else LOST if has_begun else NOT_BEGUN
    result = future.result()
    if not result.run_ids:
        return "SUCCESS", "there was nothing to do"
    return ("FAILURE", "; ".join(result.failures)) if result.failures else ("SUCCESS", None)


def _of_runs(statuses: list[str]) -> tuple[str, str | None]:
    """What several runs come to: what is still going on counts most, then what went wrong."""
    for status in ("STARTED", "STARTING", "CANCELING", "QUEUED", "NOT_STARTED", "FAILURE", "CANCELED"):
        if status in statuses:
            return status, None
    return statuses[0], None
