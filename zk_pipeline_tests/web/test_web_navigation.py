"""Navigation: numbers of what waits, date presets, dates that the search understands."""

from __future__ import annotations

from datetime import date

import pytest

from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.queries.waiting import Waiting
from zk_pipeline.web.list_pages import Listed, date_presets, date_spans
from zk_pipeline.web.navigation import GROUPS, WaitingCache, served_groups, shown_count
from zk_pipeline.web.search import dates_of

TODAY = date(2026, 3, 11)  # a Wednesday


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("2026-03-02", ["2026-03-02"]),
        ("2026-3-2", ["2026-03-02"]),
        ("2026-02-30", []),
        ("2.3.2026", ["2026-03-02"]),
        ("02/03/2026", ["2026-03-02", "2026-02-03"]),
        ("2.3.", ["2026-03-02", "2026-02-03"]),
        ("31.12", ["2025-12-31"]),  # without a year the latest one
        ("29.2.", ["2024-02-29"]),
        ("2 March", ["2026-03-02"]),
        ("Mar 2, 2024", ["2024-03-02"]),
        ("2 marble", []),
        ("today", ["2026-03-11"]),
        ("Yesterday", ["2026-03-10"]),
        ("wed", ["2026-03-11"]),
        ("Thursday", ["2026-03-05"]),
        ("thursd", []),
        ("anna", []),
        ("", []),
    ],
)
def test_dates_are_understood_in_usual_forms(text: str, dates: list[str]) -> None:
    found = [day.isoformat() for day in dates_of(text, TODAY)]
    assert found[: len(dates)] == dates
    assert bool(found) == bool(dates)


def test_presets_are_spans_up_to_today() -> None:
    assert [(title, str(first), str(last)) for title, first, last in date_spans(TODAY)] == [
        ("Today", "2026-03-11", "2026-03-11"),
        ("Yesterday", "2026-03-10", "2026-03-10"),
        ("This week", "2026-03-09", "2026-03-11"),
        ("This month", "2026-03-01", "2026-03-11"),
        ("Last month", "2026-02-01", "2026-02-28"),
    ]
    assert str(date_spans(date(2026, 1, 1))[-1][1]) == "2025-12-01"


def test_a_preset_keeps_the_other_filters_and_the_chosen_one_is_marked() -> None:
    typed = {"site": "Head office", "start_date": "2026-03-10", "end_date": "2026-03-10", "page": "3"}
    presets = date_presets("/punches", Listed(typed), TODAY)
    assert [one.title for one in presets if one.is_current] == ["Yesterday"]
    assert presets[0].address == "/punches?site=Head+office&start_date=2026-03-11&end_date=2026-03-11"


def test_pages_that_are_not_mounted_have_no_entry() -> None:
    assert [one.path for group in served_groups({"/", "/runs"}) for one in group.entries] == ["/", "/runs"]
    waited_for = [one.waiting for group in GROUPS for one in group.entries if one.waiting]
    assert sorted(waited_for) == sorted(Waiting.__dataclass_fields__)
    assert [shown_count(number) for number in (1, 99, 100)] == ["1", "99", "99+"]


def test_the_numbers_are_read_again_when_they_are_old_or_a_form_was_sent() -> None:
    seconds, numbers = [0.0], iter(range(1, 9))
    cache = WaitingCache(monotonic=lambda: seconds[0])

    def read() -> Waiting:
        return Waiting(outliers=next(numbers))

    def busy() -> Waiting:
        raise StoreBusy("locked by process 17")

    assert [cache.current(read).outliers for _ in range(3)] == [1, 1, 1]
    seconds[0] = 9.9
    assert cache.current(read).outliers == 1
    seconds[0] = 10.0
    assert cache.current(read).outliers == 2
    cache.forget()
    assert cache.current(busy).outliers == 2
    seconds[0] = 20.0
    assert cache.current(read).outliers == 3
