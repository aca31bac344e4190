"""Search of people, terminals, sites and dates: a page, and the suggestions below its field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from fastapi import APIRouter, Request
from starlette.responses import Response

from zk_pipeline.http.services import Given
from zk_pipeline.store.queries.search import Found, search
from zk_pipeline.web.list_pages import address, person_address, site_address, today_of
from zk_pipeline.web.rendering import Reader, is_from_script, render

router = APIRouter(include_in_schema=False)
_MAX_LENGTH = 100
_SUGGESTED, _LISTED = 5, 50  # results of each kind
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_NUMBERS = re.compile(r"(\d{1,2})([./-])(\d{1,2})(?:\2(\d{4})?)?", re.ASCII)
_DAY_MONTH = re.compile(r"(\d{1,2})\.?\s+([a-z]{3,9})\.?(?:\s+(\d{4}))?", re.ASCII)
_MONTH_DAY = re.compile(r"([a-z]{3,9})\.?\s+(\d{1,2})(?:,?\s+(\d{4}))?", re.ASCII)


@dataclass(frozen=True)
class Hit:
    """A result as a link; `detail` distinguishes results of the same title."""

    title: str
    detail: str
    address: str


@router.get("/search")
def find(request: Request, services: Given, identity: Reader, q: str = "") -> Response:
    """The results for `q`, of a script the first of them as a fragment."""
    query, is_fragment = q.strip()[:_MAX_LENGTH], is_from_script(request)
    found = search(services.store.database, query, limit=_SUGGESTED if is_fragment else _LISTED)
    groups = _groups(found, dates_of(query, today_of(services)))
    template = "_hits.html" if is_fragment else "search.html"
    return render(request, template, identity, query=query, groups=groups)


def _groups(found: Found, dates: Sequence[date]) -> list[tuple[str, list[Hit]]]:
    """Titles and results of each kind that has any."""
    groups = [
        ("Dates", [hit for day in dates for hit in _of_date(day)]),
        (
            "People",
            [
                Hit(one.name or one.user_id, f"{one.user_id}, {one.site}", person_address(one.site, one.user_id))
                for one in found.users
            ],
        ),
        ("Terminals", [Hit(one.name, one.site, f"/devices/{one.id}") for one in found.devices]),
        ("Sites", [Hit(site, "", site_address(site)) for site in found.sites]),
    ]
    return [(title, hits) for title, hits in groups if hits]


def _of_date(day: date) -> list[Hit]:
    title = f"{day:%A} {day}"
    return [
        Hit(title, "attendance", address("/attendance", start_date=day, end_date=day)),
        Hit(title, "daily report", address("/report", date=day)),
        Hit(title, "punches", address("/punches", start_date=day, end_date=day)),
    ]


def dates_of(text: str, today: date) -> list[date]:
    """Dates that a text names, the likeliest first; without a year the latest one up to `today`.

    Understood are `2026-03-02`, `2.3.2026`, `2/3` (the day first, and the month first if that is another date),
    `2 March`, `Mar 2, 2026`, `today`, `yesterday` and weekdays.
    """
    text = text.lower().strip()
    if found := _ISO.fullmatch(text):
        return _valid([(int(found[1]), int(found[2]), int(found[3]))])
    if found := _NUMBERS.fullmatch(text):
        one, other, year = int(found[1]), int(found[3]), found[4]
        return _of_year(year, [(other, one), (one, other)], today)
    if found := _DAY_MONTH.fullmatch(text):
        return _of_year(found[3], [(_month(found[2]), int(found[1]))], today)
    if found := _MONTH_DAY.fullmatch(text):
        return _of_year(found[3], [(_month(found[1]), int(found[2]))], today)
    return _of_word(text, today)


def _of_word(text: str, today: date) -> list[date]:
    if text in ("today", "yesterday"):
        return [today - timedelta(days=text == "yesterday")]
    number = next((number for number, day in enumerate(_WEEKDAYS) if text == day or text == _full_name(number)), None)
    return [] if number is None else [today - timedelta(days=(today.weekday() - number) % 7)]


def _full_name(weekday: int) -> str:
    return f"{date(2026, 3, 2) + timedelta(days=weekday):%A}".lower()


def _month(name: str) -> int:
    """Number of a month by its first letters; 0 for another word."""
    number = _MONTHS.index(name[:3]) + 1 if name[:3] in _MONTHS else 0
    return number if number and f"{date(2026, number, 1):%B}".lower().startswith(name) else 0


def _of_year(year: str | None, days: list[tuple[int, int]], today: date) -> list[date]:
    """Valid ones of these (month, day) in a year; None: the latest up to `today`."""
    if year is not None:
        return _valid([(int(year), month, day) for month, day in days])
    found = [_valid([(today.year - back, month, day) for back in range(9)]) for month, day in days]
    latest = [next((one for one in dates if one <= today), None) for dates in found]
    return list(dict.fromkeys(one for one in latest if one is not None))


def _valid(parts: list[tuple[int, int, int]]) -> list[date]:
    """The parts (year, month, day) that are dates, without repetitions."""
    dates = []
    for part in parts:
        try:
            dates.append(date(*part))
        except ValueError:
            continue
    return list(dict.fromkeys(dates))
