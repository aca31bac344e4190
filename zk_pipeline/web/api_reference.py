"""API reference page, rendered from the OpenAPI document without scripts or external resources."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from zk_pipeline.web.rendering import render

router = APIRouter(include_in_schema=False)


@router.get("/api/docs")
def docs(request: Request) -> Response:
    document = request.app.openapi()
    operations = [
        {"method": method.upper(), "path": path, **operation, "responses_shown": _responses(operation)}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    groups: dict[str, list[dict[str, Any]]] = {}
    for operation in operations:
        groups.setdefault(operation["tags"][0], []).append(operation)
    return render(request, "docs.html", groups=groups, models=document["components"]["schemas"], kind_of=_kind_of)


def _responses(operation: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Status, description and type of each response."""
    rows = []
    for status, response in operation["responses"].items():
        schema: dict[str, Any] = next(
            (content.get("schema", {}) for content in response.get("content", {}).values()), {}
        )
        rows.append((status, response["description"], _kind_of(schema)))
    return rows


def _kind_of(schema: dict[str, Any]) -> str:
    """Short form of a schema, such as `string or null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return " or ".join(dict.fromkeys(_kind_of(one) for one in schema[word]))
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return " or ".join(repr(one) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind_of(schema.get('items', {}))}"
    kind = str(schema.get("type", "any"))
    return f"{kind} ({schema['format']})" if "format" in schema else kind
