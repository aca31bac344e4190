"""State of a run and of the other runs of the same action."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any
from uuid import UUID

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.http.run_workers import NOT_STARTED, WORKER_LOST, ActionResult
from zk_pipeline.http.services import Services

_FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}


def run_state(services: Services, run_id: UUID) -> dict[str, Any] | None:
    """Fields of `api.runs.RunOfAction`; None for a run that neither the API nor Dagster knows."""
    key = str(run_id)
    future = services.actions.find(key)
    known = services.watch.runs_of(key) or [one for one in [services.watch.run(key)] if one is not None]
    if future is None and not known:
        return None
    status, detail = (
        _action_status(future, has_started=bool(known))
        if future is not None
        else _runs_status([one.status for one in known])
    )
    return {
        "run_id": key,
        "status": "STARTED" if status == "QUEUED" and known else status,
        "is_finished": status in _FINISHED,
        "detail": detail,
        "runs": known,
    }


def _action_status(future: Future[ActionResult], *, has_started: bool) -> tuple[str, str | None]:
    if future.cancelled():
        return "CANCELED", "the API was stopped before the run started"
    if not future.done():
        return "QUEUED", None
    error = future.exception()
    if error is not None:
        return "FAILURE", str(error) if isinstance(
            error, ZkPipelineError
        ) else WORKER_LOST if has_started else NOT_STARTED
    result = future.result()
    if not result.run_ids:
        return "SUCCESS", "there was nothing to do"
    return ("FAILURE", "; ".join(result.failures)) if result.failures else ("SUCCESS", None)


def _runs_status(statuses: list[str]) -> tuple[str, str | None]:
    """Combined status of several runs: unfinished before failed before succeeded."""
    for status in ("STARTED", "STARTING", "CANCELING", "QUEUED", "NOT_STARTED", "FAILURE", "CANCELED"):
        if status in statuses:
            return status, None
    return statuses[0], None
