"""How what goes wrong is told: `{"detail": …}`, worded for a person, without anything from inside."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.devices.errors import TerminalError
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.http.run_workers import TooManyActions
from zk_pipeline.store.errors import StoreBusy, StoreUnusable, UnknownDevice

_log = logging.getLogger("zk_pipeline.api")


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ZkPipelineError, _ours)


# Most particular first: status, seconds to wait before trying again.
_STATUS: tuple[tuple[type[ZkPipelineError], int, int | None], ...] = (
    (StoreBusy, 503, 5),
    (StoreUnusable, 503, 60),
    (TooManyActions, 503, 30),
    (TerminalError, 503, None),
    (CrmMisconfigured, 503, None),
    (UnknownDevice, 404, None),
    (UsageError, 400, None),
    (ZkPipelineError, 500, None),
)
# These tell of processes and paths, which are nobody's business outside.
_WORDS = {
    StoreBusy: "the store is busy with other work: try again in a few seconds",
    StoreUnusable: "the store cannot be used; the log of the API says why",
}


def message_for(error: ZkPipelineError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers for a failure of ours."""
    kind, status, wait = next(one for one in _STATUS if isinstance(error, one[0]))
    if kind in _WORDS:
        _log.warning("%s", error)
    body: dict[str, Any] = {"detail": _WORDS.get(kind, str(error))}
    if isinstance(error, TerminalError):
        body["error_code"] = error.code
    return status, body, {} if wait is None else {"Retry-After": str(wait)}


def message_for_input(errors: list[Any]) -> str:
    """What was wrong with the input, each with its name, never with what was sent."""
    words: dict[str, str] = {}
    for one in errors:
        words.setdefault(_place(one["loc"]), one["msg"].removeprefix("Value error, "))
    return "; ".join(f"{place}{message}" for place, message in list(words.items())[:5])


def _place(loc: tuple[Any, ...]) -> str:
    """The parameter or field; what follows in `loc` is pydantic's own business."""
    return f"{str(loc[1])[:50]}: " if len(loc) > 1 else "body: "


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return answer(request, error.status_code, {"detail": error.detail}, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(one["loc"][0] == "path" for one in error.errors()):
        return answer(request, 404, {"detail": "Not found."})
    return answer(request, 400, {"detail": message_for_input(list(error.errors()))})


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ZkPipelineError)
    return answer(request, *message_for(error))


def unexpected(request: Request, error: Exception) -> Response:
    """The answer to a bug, which the log gets to see."""
    _log.error("unexpected error at %s %s", request.method, request.url.path, exc_info=error)
    return answer(request, 500, {"detail": "internal error; the log of the API says more"})


def answer(request: Request, status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """JSON for the API; a page for people, where the web admin has put a way to draw one into the application."""
    page = getattr(request.app.state, "error_page", None)
    if page is not None and not request.url.path.startswith(("/api/", "/health/", "/metrics")):
        drawn: Response = page(request, status, str(body["detail"]), headers)
        return drawn
    return JSONResponse(body, status, dict(headers or {}))
