"""State of Dagster runs, including those of actions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.responses import FAILURES
from zk_pipeline.http.auth import Reader
from zk_pipeline.http.run_state import run_state
from zk_pipeline.http.services import Given

router = APIRouter(prefix="/api/runs", tags=["runs"], responses=FAILURES)


class Run(BaseModel):
    """One Dagster run."""

    model_config = ConfigDict(from_attributes=True)

    run_id: str
    job_name: str
    status: str = Field(description="Dagster's run status, such as QUEUED, STARTED, SUCCESS, FAILURE or CANCELED")
    started_by: str | None = Field(description="`api`, `zk-pipeline` for a command, null for schedules and the UI")
    started_at: datetime | None
    finished_at: datetime | None


class RunOfAction(BaseModel):
    """State of a run, with all runs of its action."""

    run_id: str
    status: str = Field(description="Of the whole action: QUEUED until it starts, FAILURE if one of its runs failed")
    is_finished: bool
    detail: str | None = Field(description="The error, or that there was nothing to do")
    runs: list[Run]


class RunsParameters(BaseModel):
    """Limit of the list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=200)] = 25


@router.get("/", response_model=list[Run])
def runs(services: Given, _: Reader, query: Annotated[RunsParameters, Query()]) -> list[Any]:
    """The latest runs of all jobs, newest first."""
    return list(services.watch.newest(query.limit))


@router.get("/{run_id}/", response_model=RunOfAction)
def run(services: Given, _: Reader, run_id: UUID) -> dict[str, Any]:
    """State of a run and of the other runs of its action."""
    state = run_state(services, run_id)
    if state is None:
        raise HTTPException(404, "Not found.")
    return state
