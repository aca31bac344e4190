"""Pagination: query parameters of lists, and links to the next and previous page."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from urllib.parse import urlencode

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.errors import UsageError
from zk_pipeline.http.fields import DATE, as_date
from zk_pipeline.store.queries.keyset_pagination import Key, Kind, PageRequest, Value
from zk_pipeline.store.queries.lists import Rows

MAX_PAGE_SIZE = 1000
Row = TypeVar("Row")


def _unless_empty(value: Any) -> Any:
    return None if value == "" else value


def _real_date(value: str) -> str:
    if value:
        try:
            date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value} is not a valid date") from None
    return value


# Forms and Django clients send an empty parameter if nothing is chosen.
Empty = Literal[""]
DateText = Annotated[
    Annotated[str, Field(pattern=DATE, json_schema_extra={"format": "date"})] | Empty | None,
    AfterValidator(lambda value: _unless_empty(value and _real_date(value))),
]
FlagText = Annotated[Literal["true", "false", "True", "False", "1", "0", ""] | None, AfterValidator(_unless_empty)]
Number = Annotated[Annotated[int, Field(ge=1, le=2**31 - 1)] | Empty | None, AfterValidator(_unless_empty)]
PageSize = Annotated[int, Field(ge=1, le=MAX_PAGE_SIZE)]
Text = Annotated[Annotated[str, Field(max_length=200)] | None, AfterValidator(_unless_empty)]


class PageParameters(BaseModel):
    """Parameters of every paged list. Unknown ones are refused: a mistyped filter must not select all rows."""

    model_config = ConfigDict(extra="forbid")

    page: Annotated[int, Field(ge=1, le=10**9)] = Field(1, description="Page number")
    page_size: PageSize = Field(100, description=f"Rows per page, at most {MAX_PAGE_SIZE}")

    @property
    def size(self) -> int:
        return self.page_size

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.size


class KeysetParameters(PageParameters):
    """Parameters of keyset pagination: links carry the end of the previous page, so that new rows shift no page."""

    until: Annotated[int, Field(ge=0, le=2**62)] | None = Field(
        None, description="No rows with a higher id; part of the links, so that new rows shift no page"
    )
    after: Text = Field(None, description="End of the previous page; part of the links, opaque")

    def page_request(self, order: Sequence[Key]) -> PageRequest:
        """Raises UsageError for an invalid `after`."""
        behind = None if self.after is None else _decode(self.after, [*order, Key("id", "number")])
        return PageRequest(self.page, self.size, self.until, behind)


class ListParameters(KeysetParameters):
    """Parameters of every list of attendance."""

    user_id: Text = Field(None, description="Only this user")
    device: Number = Field(None, description="Only this device (its id)")
    start_date: DateText = Field(None, description="First date, such as 2026-11-01")
    end_date: DateText = Field(None, description="Last date, included")
    ordering: Text = Field(
        None,
        description="Fields to order by, separated by commas; prefix `-` for descending; `device` orders by its name",
    )
    format: Literal["json", ""] | None = Field(None, description="For old clients; the response is always JSON")

    @property
    def first(self) -> date | None:
        return as_date(self.start_date)

    @property
    def device_id(self) -> int | None:
        return self.device if isinstance(self.device, int) else None

    @property
    def last(self) -> date | None:
        return as_date(self.end_date)

    def keys(self, possible: Mapping[str, tuple[str, Kind]], default: str) -> list[Key]:
        """The requested order. Raises UsageError naming the possible fields."""
        keys = []
        for word in (self.ordering or default).split(","):
            name = word.strip().removeprefix("-")
            if name not in possible:
                raise UsageError(f"ordering: cannot order by {name[:50]!r}; possible are {', '.join(possible)}")
            column, kind = possible[name]
            keys.append(Key(column, kind, descending=word.strip().startswith("-")))
        if len(keys) > 4:
            raise UsageError("ordering: at most four fields are possible")
        return keys


def flag(text: str | None) -> bool | None:
    return None if text is None else text.lower() in ("true", "1")


class PageOf(BaseModel, Generic[Row]):
    """One page: total number of rows, links to its neighbours, the rows."""

    count: int
    next: str | None
    previous: str | None
    results: list[Row]


def page_of(request: Request, asked: PageParameters, rows: Rows[Any]) -> dict[str, Any]:
    """The response with its links. Raises HTTPException 404 for a page after the last one."""
    if asked.page > 1 and not rows.rows:
        raise HTTPException(404, "Invalid page.")
    following = None
    if rows.has_more and rows.last is not None:
        following = _link(request, page=asked.page + 1, until=rows.until, after=_encode(rows.last))
    previous = _link(request, page=asked.page - 1, until=rows.until, after=None) if asked.page > 1 else None
    return {"count": rows.count, "next": following, "previous": previous, "results": rows.rows}


def numbered_page(request: Request, asked: PageParameters, count: int, rows: Sequence[Any]) -> dict[str, Any]:
    """The response of a list that is paged by offset. Raises HTTPException 404 for a page after the last one."""
    if asked.page > 1 and not rows:
        raise HTTPException(404, "Invalid page.")
    following = _link(request, page=asked.page + 1) if asked.offset + len(rows) < count else None
    previous = _link(request, page=asked.page - 1) if asked.page > 1 else None
    return {"count": count, "next": following, "previous": previous, "results": rows}


def _link(request: Request, **changed: object) -> str:
    query = {**request.query_params, **{name: value for name, value in changed.items() if value is not None}}
    query = {name: value for name, value in query.items() if name not in changed or changed[name] is not None}
    return str(request.url.replace(query=urlencode(query)))


def _encode(values: Sequence[Value]) -> str:
    plain = [value.isoformat() if isinstance(value, (date, datetime)) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain, ensure_ascii=False).encode()).decode().rstrip("=")


def _decode(text: str, keys: Sequence[Key]) -> tuple[Value, ...]:
    problem = UsageError("after: not valid for this list; start again without it")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise problem
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not isinstance(values, list) or len(values) != len(keys):
            raise problem
        return tuple(_READ[key.kind](value) for key, value in zip(keys, values, strict=True))
    except (ValueError, TypeError, RecursionError):
        raise problem from None


def _exactly(kind: type[Any]) -> Any:
    def read(value: Any) -> Any:
        if type(value) is not kind or (kind is int and abs(value) >= 2**63):
            raise ValueError(f"not a {kind.__name__}")
        if kind is str:
            value.encode()  # raises for a lone surrogate
        return value

    return read


def _instant(value: Any) -> datetime:
    instant = datetime.fromisoformat(value)
    if instant.tzinfo is None:
        raise ValueError("no zone")
    return instant


_READ: Mapping[Kind, Any] = {
    "text": _exactly(str),
    "number": _exactly(int),
    "flag": _exactly(bool),
    "date": date.fromisoformat,
    "instant": _instant,
}
