"""Which work dates somebody asked for: one, a range, or none in particular. Commands and the API ask alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from zk_pipeline.errors import UsageError


def check_span(first: date | None, last: date | None, *, word: Callable[[str], str] = str) -> None:
    """Raises UsageError for a span that ends before it begins; `word` is how the one who asked calls a parameter."""
    if first is not None and last is not None and last < first:
        raise UsageError(f"{word('end_date')} {last} is before {word('start_date')} {first}")


def asked_span(
    day: date | None, first: date | None, last: date | None, *, word: Callable[[str], str] = str
) -> tuple[date, date] | None:
    """First and last work date, or None where no date was given. Raises UsageError for what contradicts itself."""
    start, end = word("start_date"), word("end_date")
    if day is not None and (first is not None or last is not None):
        raise UsageError(f"give either {word('date')} or {start} and {end}")
    if (first is None) != (last is None):
        raise UsageError(f"{start} and {end} belong together")
    check_span(first, last, word=word)
    if first is not None and last is not None:
        return first, last
    return None if day is None else (day, day)


def check_in_history(
    first: date, last: date, *, begins: date, today: date, names: tuple[str, str] | None = None
) -> None:
    """Raises UsageError for work dates before the history begins or after today; `names`: of the two parameters."""
    start, end = ("", "") if names is None else (f"{name}: " for name in names)
    if first < begins:
        raise UsageError(f"{start}{first} is before ZK_PIPELINE_HISTORY_START ({begins}): there is no such partition")
    if last > today:
        raise UsageError(f"{end}{last} is in the future: the newest work date is {today}")


def option(name: str) -> str:
    """As the commands call it."""
    return f"--{name.replace('_', '-')}"
