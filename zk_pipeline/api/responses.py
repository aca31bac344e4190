"""Error responses shared by many endpoints, as in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from zk_pipeline.http.openapi_document import NOT_FOUND


class Problem(BaseModel):
    """An error message."""

    detail: str


class TerminalProblem(Problem):
    """An error of a terminal; `error_code` is stable, for programs."""

    error_code: str | None = Field(None, description="Such as unreachable, no_answer or wrong_comm_key")


FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Invalid request; the message names the parameter or field"},
    401: {"model": Problem, "description": "No token, or an invalid one"},
    403: {"model": Problem, "description": "The scope of the token does not allow the request"},
    429: {"model": Problem, "description": "Too many invalid tokens from this address"},
    503: {"model": Problem, "description": "The store is busy, or a service does not respond; try again later"},
}
# `http.openapi_document` adds 404 to operations on an object in the path, and to lists with pages.
MISSING: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": NOT_FOUND}}
TERMINAL_FAILURES: dict[int | str, dict[str, Any]] = {
    503: {"model": TerminalProblem, "description": "The terminal cannot be read, or the store is busy"}
}
