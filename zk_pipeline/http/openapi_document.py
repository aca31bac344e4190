"""OpenAPI document with the statuses that the API answers, in order. FastAPI documents 422, which is 400 here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

_METHODS = ("get", "post", "put", "patch", "delete")
_UNUSED_SCHEMAS = ("HTTPValidationError", "ValidationError")
_PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
NOT_FOUND = "Not found"
# Of operations with a body: `http.middleware` limits its size and its duration.
_BODY_STATUSES = {"408": "The body did not arrive in time", "413": "The body is too large"}


class DocumentedApp(FastAPI):
    """An application whose OpenAPI document has true statuses."""

    def openapi(self) -> dict[str, Any]:
        """The document, made at the first call."""
        if self.openapi_schema is None:
            document = super().openapi()
            for path, operation in operations(document):
                operation["responses"] = _true_statuses(path, operation)
            for name in _UNUSED_SCHEMAS:
                document.get("components", {}).get("schemas", {}).pop(name, None)
        return super().openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and object of each operation."""
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield path, methods[method]


def _true_statuses(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    responses = {status: response for status, response in operation["responses"].items() if status != "422"}
    if path.startswith("/api/") and _may_be_missing(path, operation):
        responses.setdefault("404", {"description": NOT_FOUND, "content": _PROBLEM})
    if "requestBody" in operation:
        for status, description in _BODY_STATUSES.items():
            responses.setdefault(status, {"description": description, "content": _PROBLEM})
    return dict(sorted(responses.items()))


def _may_be_missing(path: str, operation: dict[str, Any]) -> bool:
    """True if the path names an object, or the query a page, that may not exist."""
    return "{" in path or any(one["name"] == "page" for one in operation.get("parameters", ()))
