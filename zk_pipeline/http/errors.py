"""Error responses: `{"detail": …}` with a message for users and without internals."""

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
from zk_pipeline.http.fields import EXPECTED
from zk_pipeline.http.run_workers import TooManyActions
from zk_pipeline.store.errors import (
    LeaveExists,
    OwnPunchRequest,
    PayrollPeriodConflict,
    PunchesRequested,
    PunchNotApproved,
    PunchRequestDecided,
    StoreBusy,
    StoreUnusable,
    TerminalAdopted,
    UnknownDevice,
    UnknownLeave,
    UnknownPayrollPeriod,
    UnknownPunchRequest,
    UnknownTerminal,
)

_log = logging.getLogger("zk_pipeline.api")


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ZkPipelineError, _application_error)


# Subclasses first: status, seconds for Retry-After.
_STATUS: tuple[tuple[type[ZkPipelineError], int, int | None], ...] = (
    (StoreBusy, 503, 5),
    (StoreUnusable, 503, 60),
    (TooManyActions, 503, 30),
    (TerminalError, 503, None),
    (CrmMisconfigured, 503, None),
    (UnknownDevice, 404, None),
    (UnknownTerminal, 404, None),
    (TerminalAdopted, 409, None),
    (UnknownPayrollPeriod, 404, None),
    (PayrollPeriodConflict, 409, None),
    (UnknownPunchRequest, 404, None),
    (OwnPunchRequest, 403, None),
    (PunchRequestDecided, 409, None),
    (PunchNotApproved, 409, None),
    (PunchesRequested, 409, None),
    (UnknownLeave, 404, None),
    (LeaveExists, 409, None),
    (UsageError, 400, None),
    (ZkPipelineError, 500, None),
)
# The messages of these errors reveal process ids and paths; never send them to clients.
_PUBLIC_MESSAGES = {
    StoreBusy: "the store is locked by another operation: try again in a few seconds",
    StoreUnusable: "the store cannot be used; see the log of the API for the reason",
}


def error_body(error: ZkPipelineError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers of the response to an error."""
    kind, status, wait = next(one for one in _STATUS if isinstance(error, one[0]))
    if kind in _PUBLIC_MESSAGES:
        _log.warning("%s", error)
    body: dict[str, Any] = {"detail": _PUBLIC_MESSAGES.get(kind, str(error))}
    if isinstance(error, TerminalError):
        body["error_code"] = error.code
    return status, body, {} if wait is None else {"Retry-After": str(wait)}


def validation_message(errors: list[Any]) -> str:
    """The first five validation errors, each with the name of its parameter, never with the value: unknown names first,
    since a misspelt one is often also missing.
    """
    messages: dict[str, str] = {}
    for error in sorted(errors, key=lambda one: one["type"] != "extra_forbidden"):
        messages.setdefault(_location(error["loc"]), _message(error))
    return "; ".join(f"{location}{message}" for location, message in list(messages.items())[:5])


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return f"there is no such {'field' if error['loc'][0] == 'body' else 'parameter'}"
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "string_too_short":
        return "must not be empty"
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] in EXPECTED:
        return f"{EXPECTED[error['ctx']['pattern']]} is expected"
    return str(error["msg"]).removeprefix("Value error, ")


def _location(loc: tuple[Any, ...]) -> str:
    """The parameter or field, without the rest of pydantic's location."""
    return f"{str(loc[1])[:50]}: " if len(loc) > 1 else "body: "


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_response(request, error.status_code, {"detail": error.detail}, error.headers)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(one["loc"][0] == "path" for one in error.errors()):
        return error_response(request, 404, {"detail": "Not found."})
    return error_response(request, 400, {"detail": validation_message(list(error.errors()))})


async def _application_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ZkPipelineError)
    return error_response(request, *error_body(error))


def unexpected_error_response(request: Request, error: Exception) -> Response:
    """The response to an unexpected exception, which is logged with its traceback."""
    _log.error("unexpected error at %s %s", request.method, request.url.path, exc_info=error)
    return error_response(request, 500, {"detail": "internal error; see the log of the API"})


def error_response(
    request: Request, status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """JSON for the API; an HTML page for other paths, if the web admin has registered `error_page`."""
    page = getattr(request.app.state, "error_page", None)
    if page is not None and not request.url.path.startswith(("/api/", "/health/", "/metrics")):
        response: Response = page(request, status, str(body["detail"]), headers)
        return response
    return JSONResponse(body, status, dict(headers or {}))
