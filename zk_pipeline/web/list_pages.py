"""List pages: query parameters, their validation messages, and links to the previous and next page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

from fastapi import Request
from pydantic import BaseModel, ValidationError

from zk_pipeline.errors import UsageError
from zk_pipeline.http.errors import validation_message
from zk_pipeline.http.pagination import ListParameters, PageSize, numbered_page, page_of
from zk_pipeline.http.pagination import PageParameters as OffsetParameters
from zk_pipeline.http.services import Services
from zk_pipeline.store.queries.lists import Rows

Query = TypeVar("Query", bound=BaseModel)
ROWS_OF_A_PAGE = 50


class PageParameters(ListParameters):
    """Query parameters of a list page: those of the API with fewer rows."""

    page_size: PageSize = ROWS_OF_A_PAGE


@dataclass(frozen=True)
class Listed:
    """Rows of one page with links to its neighbours. `typed`: the filters as given, valid or not; `problem`: their
    validation message, without rows.
    """

    typed: Mapping[str, str]
    count: int = 0
    first: int = 0  # number of the first row shown, from 1
    rows: list[Any] = field(default_factory=list)
    previous: str | None = None
    following: str | None = None
    problem: str | None = None

    @property
    def status(self) -> int:
        return 400 if self.problem else 200

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1

    @property
    def filters(self) -> dict[str, str]:
        """The given filters without ordering and page."""
        return {name: value for name, value in self.typed.items() if value and name not in _NOT_FILTERS}

    @property
    def is_filtered(self) -> bool:
        return bool(self.filters)


_NOT_FILTERS = {"page", "page_size", "until", "after", "ordering", "format"}


def parse_query(request: Request, model: type[Query]) -> Query:
    """The query as `model`. Raises UsageError with each invalid parameter and its reason."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise UsageError(validation_messages(error)) from None


def validation_messages(error: ValidationError) -> str:
    """Messages of invalid parameters or fields, by name."""
    return validation_message([{**one, "loc": ("page", *one["loc"])} for one in error.errors()])


Parameters = TypeVar("Parameters", bound=PageParameters)


def listed(request: Request, model: type[Parameters], read: Callable[[Parameters], Rows[Any]]) -> Listed:
    """One page of the rows that `read` returns, or the validation message of the query."""
    typed = dict(request.query_params)
    try:
        asked = parse_query(request, model)
        check_date_range(asked.first, asked.last)
        rows = read(asked)
    except UsageError as error:
        return Listed(typed, problem=str(error))
    page = page_of(request, asked, rows)
    number = (asked.page - 1) * min(asked.page_size, 1000) + 1
    return Listed(
        typed,
        count=rows.count,
        first=number,
        rows=rows.rows,
        previous=_query_of(page["previous"]),
        following=_query_of(page["next"]),
    )


Numbered = TypeVar("Numbered", bound=OffsetParameters)


def listed_by_number(
    request: Request, path: str, model: type[Numbered], read: Callable[[Numbered], tuple[int, list[Any]]]
) -> Listed:
    """As `listed`, for the list at `path`, which is paged by offset; `read` returns count and rows."""
    typed = {name: value for name, value in request.query_params.items() if name != "done"}
    try:
        asked = parse_query(request, model)
        count, rows = read(asked)
    except UsageError as error:
        return Listed(typed, problem=str(error))
    page = numbered_page(request, asked, count, rows)
    return Listed(
        typed,
        count=count,
        first=asked.offset + 1,
        rows=rows,
        previous=page["previous"] and f"{path}{_query_of(page['previous'])}",
        following=page["next"] and f"{path}{_query_of(page['next'])}",
    )


Page = TypeVar("Page")


def page_after(
    request: Request,
    model: type[Query],
    read: Callable[[Query], Page],
    *,
    empty: Page,
    place: Sequence[str],
    following: Callable[[Page], Sequence[str] | None],
) -> dict[str, Any]:
    """Values for `render` of a list whose pages begin after a row, which the parameters `place` name: status, filters
    as given, problem, page (`empty` with a problem), and links to the first and the next page.

    `following`: the values of `place` for the next page; None on the last one.
    """
    typed = {name: value for name, value in request.query_params.items() if value}
    filters = {name: value for name, value in typed.items() if name not in place}
    page, problem = empty, None
    try:
        page = read(parse_query(request, model))
    except UsageError as error:
        problem = str(error)
    after = following(page)
    return {
        "status": 400 if problem else 200,
        "typed": typed,
        "is_filtered": bool(filters),
        "problem": problem,
        "page": page,
        "first_page": None if filters == typed else address(request.url.path, **filters),
        "next_page": address(request.url.path, **filters, **dict(zip(place, after, strict=True))) if after else None,
    }


def check_date_range(first: date | None, last: date | None) -> None:
    if first is not None and last is not None and last < first:
        raise UsageError(f"end_date: {last} is before start_date {first}")


def address(path: str, **query: object) -> str:
    """A local path with an encoded query; None and empty values are omitted."""
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def day_address(site: str, user_id: str, day: date) -> str:
    """Address of the page of an attendance day. Names are in the query: they may contain slashes or be dots."""
    return address("/attendance/day", site=site, user_id=user_id, date=day)


def person_address(site: str, user_id: str) -> str:
    """Address of the page of a user at a site."""
    return address("/people/person", site=site, user_id=user_id)


def site_address(site: str) -> str:
    """Address of the page of a site."""
    return address("/sites/site", site=site)


def today_of(services: Services) -> date:
    """The date now in the default time zone."""
    return services.clock().astimezone(ZoneInfo(services.settings.timezone)).date()


@dataclass(frozen=True)
class Preset:
    """A span of dates as a link. `is_current`: the list shows it."""

    title: str
    address: str
    is_current: bool


def date_presets(path: str, found: Listed, today: date) -> list[Preset]:
    """Links to the list at `path` with its other filters and usual spans of dates."""
    others = {name: value for name, value in found.filters.items() if name not in ("start_date", "end_date")}
    asked = found.typed.get("start_date", ""), found.typed.get("end_date", "")
    return [
        Preset(
            title,
            address(path, **others, start_date=first, end_date=last),
            asked == (first.isoformat(), last.isoformat()),
        )
        for title, first, last in date_spans(today)
    ]


def date_spans(today: date) -> list[tuple[str, date, date]]:
    """Usual spans of dates up to `today`: title, first and last date. Weeks begin on Monday."""
    yesterday, first_of_month = today - timedelta(days=1), today.replace(day=1)
    end_of_last_month = first_of_month - timedelta(days=1)
    return [
        ("Today", today, today),
        ("Yesterday", yesterday, yesterday),
        ("This week", today - timedelta(days=today.weekday()), today),
        ("This month", first_of_month, today),
        ("Last month", end_of_last_month.replace(day=1), end_of_last_month),
    ]


def _query_of(url: str | None) -> str | None:
    """Query of a URL; scheme and host may differ behind a proxy."""
    return None if url is None else f"?{urlsplit(url).query}"
