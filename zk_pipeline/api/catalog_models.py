"""Response models whose field descriptions come from the catalog of the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from zk_pipeline.store.schema.catalog import TABLES, VIEWS

_CATALOG = {**TABLES, **VIEWS}


def catalog_model(
    name: str, kind: type[Any], table: str, descriptions: dict[str, str] | None = None
) -> type[BaseModel]:
    """A model with the fields of a dataclass; `descriptions` are for fields that are no columns of the table."""
    meanings = _CATALOG[table][1] | (descriptions or {})
    hints = get_type_hints(kind)
    columns: dict[str, Any] = {
        one.name: (hints[one.name], Field(description=meanings[one.name], json_schema_extra=_without_zone(one.name)))
        for one in fields(kind)
    }
    return create_model(name, __config__=ConfigDict(from_attributes=True), **columns)


def _without_zone(name: str) -> Callable[[dict[str, Any]], None] | None:
    """Remove the format `date-time` from wall-clock times, which have no offset."""

    def strip(schema: dict[str, Any]) -> None:
        for part in (schema, *schema.get("anyOf", ())):
            part.pop("format", None)

    return strip if name.endswith("_local") else None
