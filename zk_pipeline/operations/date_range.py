"""Date range options of commands and API requests: one work date, a range, or none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from zk_pipeline.errors import UsageError


def check_date_range(first: date | None, last: date | None, *, word: Callable[[str], str] = str) -> None:
    """Raises UsageError for a range that ends before it begins; `word` maps a parameter to its displayed name."""
    if first is not None and last is not None and last < first:
        raise UsageError(f"{word('end_date')} {last} is before {word('start_date')} {first}")


def parse_date_range(
    day: date | None, first: date | None, last: date | None, *, word: Callable[[str], str] = str
) -> tuple[date, date] | None:
    """First and last work date, or None without a date. Raises UsageError for contradicting parameters."""
    start, end = word("start_date"), word("end_date")
    if day is not None and (first is not None or last is not None):
        raise UsageError(f"give either {word('date')} or {start} and {end}")
    if (first is None) != (last is None):
        raise UsageError(f"{start} and {end} must be given together")
    check_date_range(first, last, word=word)
    if first is not None and last is not None:
        return first, last
    return None if day is None else (day, day)


def check_in_history(
    first: date, last: date, *, begins: date, today: date, names: tuple[str, str] | None = None
) -> None:
    """Raises UsageError for work dates before the history start or after today; `names`: of the two parameters."""
    start, end = ("", "") if names is None else (f"{name}: " for name in names)
    if first < begins:
        raise UsageError(f"{start}{first} is before ZK_PIPELINE_HISTORY_START ({begins}): there is no such partition")
    if last > today:
        raise UsageError(f"{end}{last} is in the future: the newest work date is {today}")


def option_name(name: str) -> str:
    """The command-line option of a parameter."""
    return f"--{name.replace('_', '-')}"
