"""Answers that many endpoints share, as the OpenAPI document names them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """What went wrong, for a person."""

    detail: str


class TerminalProblem(Problem):
    """What went wrong with a terminal; `error_code` is stable, for programs."""

    error_code: str | None = Field(None, description="Such as unreachable, no_answer or wrong_comm_key")


FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The request is wrong: what and where"},
    401: {"model": Problem, "description": "No token, or not a good one"},
    403: {"model": Problem, "description": "The token's scope does not allow it"},
    404: {"model": Problem, "description": "There is no such thing"},
    429: {"model": Problem, "description": "Too many wrong tokens from this address"},
    503: {"model": Problem, "description": "The store is busy, or what this depends on does not answer; try later"},
}
TERMINAL_FAILURES: dict[int | str, dict[str, Any]] = {
    503: {"model": TerminalProblem, "description": "The terminal cannot be read, or the store is busy"}
}
