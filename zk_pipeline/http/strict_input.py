"""Strict input of requests that change data: unknown parameters, fields and bodies are errors.

Ignored, a misspelt field would make the action do something else than requested. The models of each route validate the
values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.types import Message

from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import REQUIREMENTS
from zk_pipeline.http.origin import SAFE_METHODS

Parameters = TypeVar("Parameters", bound=BaseModel)
_JSON = re.compile(r"application/([\w.-]+\+)?json", re.IGNORECASE)


class StrictRoute(APIRoute):
    """A route that refuses unknown input. `{}`, with any content type, counts as no body where the body is optional."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            if request.method in SAFE_METHODS:
                return await handle(request)
            try:
                request = await self._checked(request)
            except UsageError:
                for one in self.dependant.dependencies:
                    if one.call in REQUIREMENTS:  # a missing permission is reported first
                        await run_in_threadpool(one.call, request, None)
                raise
            return await handle(request)

        return handle_strictly

    async def _checked(self, request: Request) -> Request:
        """Raises UsageError naming the unknown parameter or field."""
        if not self.dependant.query_params:
            for name in request.query_params:
                raise UsageError(f"{name[:50]}: there is no such parameter")
        content = (await request.body()).strip()
        body = _parsed(content) if content else {}
        if self.body_field is None and body != {}:
            field = f"{next(iter(body))[:50]}: there is no such field" if isinstance(body, dict) else "body: not empty"
            raise UsageError(f"{field}; this action takes no body")
        if body == {} and (self.body_field is None or not self.body_field.field_info.is_required()):
            return Request(request.scope, _nothing)
        if content and not _JSON.match(request.headers.get("content-type", "")):
            raise UsageError("body: JSON is expected, with Content-Type: application/json")
        return request


def with_body(parameters: Parameters, body: BaseModel | None) -> Parameters:
    """Query parameters, completed by fields of the body. Raises UsageError for a name that is in both."""
    given = {} if body is None else {name: value for name, value in body if value is not None}
    for name in given:
        if getattr(parameters, name) is not None:
            raise UsageError(f"{name}: given both as a parameter and in the body")
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
    return parameters.model_copy(update=texts)


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise UsageError("body: not valid JSON") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        raise UsageError(f"{next(name for name in names if names.count(name) > 1)[:50]}: given more than once")
    return fields


def _no_number(text: str) -> None:
    raise ValueError(text)
