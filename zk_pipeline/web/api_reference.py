"""API reference page, rendered from the OpenAPI document. It works without scripts; `static/api_docs.js` adds requests
with the visitor's own token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from markupsafe import Markup, escape
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import identify
from zk_pipeline.http.pagination import Text
from zk_pipeline.web.api_examples import ExampleRequest, example_request
from zk_pipeline.web.list_pages import parse_query
from zk_pipeline.web.rendering import render

router = APIRouter(include_in_schema=False)
_SCHEMA_NAME = re.compile(r"#/components/schemas/([\w.-]+)")
_BOOLEANS = {"true", "false"}  # among the texts of a flag


class ReferenceQuery(BaseModel):
    """Words that an operation must contain."""

    model_config = ConfigDict(extra="forbid")

    q: Text = None


@dataclass(frozen=True)
class Operation:
    """One operation of the document. `anchor`: its id on the page; `scope`: of the token, None if it needs none."""

    method: str
    path: str
    group: str
    anchor: str
    summary: str
    description: str
    scope: str | None
    parameters: list[dict[str, Any]]
    body: dict[str, Any] | None  # its schema
    responses: list[tuple[str, str, dict[str, Any]]]  # status, description and schema, by status
    example: ExampleRequest

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """Schemas of its body and responses."""
        return [*([self.body] if self.body else []), *(schema for _, _, schema in self.responses)]

    def has(self, words: list[str]) -> bool:
        """True if its path, texts or parameters contain each of the words, in small letters."""
        names = " ".join(one["name"] for one in self.parameters)
        text = f"{self.method} {self.path} {self.group} {self.summary} {self.description} {names}".lower()
        return all(word in text for word in words)


@router.get("/api/docs")
def docs(request: Request) -> Response:
    problem, wanted = None, ""
    try:
        wanted = parse_query(request, ReferenceQuery).q or ""
    except UsageError as error:
        problem = str(error)
    document = request.app.openapi()
    everything = list(_operations(document))
    found = [one for one in everything if one.has(wanted.lower().split())]
    groups: dict[str, list[Operation]] = {}
    for operation in found:
        groups.setdefault(operation.group, []).append(operation)
    return render(
        request,
        "docs.html",
        identify(request),  # for the navigation; the page is public
        status=400 if problem else 200,
        wanted=wanted,
        problem=problem,
        groups=groups,
        count=len(found),
        total=len(everything),
        models=_models(document, found) if wanted else document["components"]["schemas"],
        kind_of=kind_of,
        base_url=str(request.base_url).rstrip("/"),
    )


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for name, found in methods.items():
            method = name.upper()
            body = found.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            yield Operation(
                method=method,
                path=path,
                group=found["tags"][0],
                anchor=re.sub(r"[^a-z0-9]+", "-", f"{name}{path}".lower()).strip("-"),
                summary=found["summary"],
                description=found.get("description", ""),
                scope=_scope(found),
                parameters=[one for one in found.get("parameters", ()) if one["in"] != "header"],
                body=body,
                responses=[(status, one["description"], _schema(one)) for status, one in found["responses"].items()],
                example=example_request(document, method, path),
            )


def _scope(operation: Mapping[str, Any]) -> str | None:
    """Scope of the token that the operation needs; None for an operation without a token."""
    return next((scope for one in operation.get("security", ()) for scopes in one.values() for scope in scopes), None)


def _schema(response: Mapping[str, Any]) -> dict[str, Any]:
    return next((content.get("schema", {}) for content in response.get("content", {}).values()), {})


def _models(document: Mapping[str, Any], found: list[Operation]) -> dict[str, Any]:
    """Types of these operations, and the types in them."""
    every = document["components"]["schemas"]
    names: set[str] = set()
    waiting = {name for one in found for schema in one.schemas for name in _SCHEMA_NAME.findall(repr(schema))}
    while waiting:
        names |= waiting
        waiting = {name for one in waiting for name in _SCHEMA_NAME.findall(repr(every[one]))} - names
    return {name: model for name, model in every.items() if name in names}


def kind_of(schema: Mapping[str, Any]) -> Markup:
    """Short form of a schema, such as `string or null`, with links to types of the page."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return Markup('<a href="#{}">{}</a>').format(name, name)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            kinds = (kind_of(one) for one in schema[word] if one.get("const") != "")  # "" is as null
            return Markup(" or ").join(dict.fromkeys(kinds))
    if "const" in schema:
        return escape(repr(schema["const"]))
    if "enum" in schema:
        is_flag = set(schema["enum"]) >= _BOOLEANS
        return escape("boolean") if is_flag else Markup(" or ").join(map(repr, schema["enum"]))
    if schema.get("type") == "array":
        return Markup("list of {}").format(kind_of(schema.get("items", {})))
    kind = str(schema.get("type", "any"))
    return escape(f"{kind} ({schema['format']})" if "format" in schema else kind)
