"""Examples of requests in curl and Python, made from the OpenAPI document."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

Schema = Mapping[str, Any]
# Values of parameters and fields by name, before those of their schema.
_VALUES: Mapping[str, Any] = {
    "add_seconds": -3600,
    "at": "2026-03-02T18:10",
    "date": "2026-03-02",
    "day": "2026-05-01",
    "enabled": False,
    "first_date": "2026-03-09",
    "from_local": "2026-03-02T08:00",
    "ip_address": "192.0.2.12",
    "pattern": "early*2 late*2",
    "period": "2026-11",
    "reason": "no power",
    "run_id": "6d7ffa5c-6cbe-4a5f-9d3f-8b9b6c3c1b58",
    "serial": "CEXA230760001",
    "shift": "early",
    "site": "North",
    "to_local": "2026-03-02T10:00",
    "use": "late",
    "user_id": "1001",
    "valid_from": "2026-03-01",
    "valid_to": "2026-03-31",
    "what": "attendance",
}
# Names and kinds differ by what they are of: the tag of the operation.
_BY_TAG: Mapping[tuple[str, str], Any] = {
    ("devices", "name"): "Side Door",
    ("hours", "name"): "early",
    ("days off", "name"): "Labour Day",
    ("days off", "kind"): "annual leave",
}


@dataclass(frozen=True)
class ExampleRequest:
    """A request that the document permits, with its required parameters only. `path` is quoted; `body` is JSON."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    @property
    def body_text(self) -> str:
        return "" if self.body is None else json.dumps(self.body, indent=2)

    def curl(self, base_url: str) -> str:
        """A command for a POSIX shell, with the token in the variable TOKEN."""
        parts = ["curl"] if self.method == "GET" else [f"curl -X {self.method}"]
        parts.append('-H "Authorization: Token $TOKEN"')
        if self.body is not None:
            parts += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(self.body))}"]
        return " \\\n  ".join([*parts, shlex.quote(base_url + self.target)])

    def python(self, base_url: str) -> str:
        """A script for `requests`, with the token in the environment variable TOKEN."""
        lines = [f'    "{base_url}{self.path}",', '    headers={"Authorization": f"Token {os.environ[\'TOKEN\']}"},']
        if self.query:
            lines.append(f"    params={dict(self.query)!r},")
        if self.body is not None:
            lines.append(f"    json={self.body!r},")
        return "\n".join(
            [
                "import os",
                "",
                "import requests",
                "",
                f"response = requests.{self.method.lower()}(",
                *lines,
                "    timeout=60,",
                ")",
                "response.raise_for_status()",
                "print(response.text)",
            ]
        )


def example_request(document: Schema, method: str, path: str) -> ExampleRequest:
    """The example of an operation of the document; `method` in capital letters."""
    operation = document["paths"][path][method.lower()]
    tag = operation["tags"][0]
    query = {}
    for one in operation.get("parameters", ()):
        if one["in"] == "path":
            value = str(_value(document, one["name"], one["schema"], tag))
            path = path.replace(f"{{{one['name']}}}", quote(value, safe=""))
        elif one["in"] == "query" and one.get("required"):
            query[one["name"]] = str(_value(document, one["name"], one["schema"], tag))
    return ExampleRequest(method, path, query, _body(document, operation, tag))


def _body(document: Schema, operation: Schema, tag: str) -> Any:
    """The required fields of a required body, or one field if none is required; None for an optional body."""
    body = operation.get("requestBody", {})
    if not body.get("required"):
        return None
    return _example(document, "", body["content"]["application/json"]["schema"], tag)


def _value(document: Schema, name: str, schema: Schema, tag: str) -> Any:
    for known in (_BY_TAG.get((tag, name)), _VALUES.get(name)):
        if known is not None:
            return known
    return _example(document, name, schema, tag)


def _example(document: Schema, name: str, schema: Schema, tag: str) -> Any:
    """The first permitted value of a schema: a model, a choice, a list of one, a number or a text."""
    if "$ref" in schema:
        return _example(document, name, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]], tag)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return _example(document, name, schema[word][0], tag)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        fields = schema.get("properties", {})
        required = schema.get("required") or [one for one in fields if one in _VALUES][:1]
        return {one: _value(document, one, fields[one], tag) for one in required}
    if schema.get("type") == "array":
        return [_example(document, name, schema["items"], tag)]
    values = {"integer": schema.get("minimum", 1), "number": 1.5, "boolean": True}
    return values.get(str(schema.get("type")), name or "text")
