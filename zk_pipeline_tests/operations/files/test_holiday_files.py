"""Importing holidays again: moved or canceled events are updated, manual entries stay."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePath

import pytest

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.holiday_file import HolidayImport, import_holidays
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.shifts.shift_plan import ShiftPlan
from zk_pipeline.store.store import Store
from zk_pipeline_tests.operations.files.test_holiday_calendar import calendar
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    copied,
    device,
    ingest,
    on,
    process,
    rows,
    stale,
)

Import = Callable[..., HolidayImport]
MID_2026 = datetime(2026, 6, 1, tzinfo=UTC)
NEW_YEAR = "UID:ny|SUMMARY:New Year|DTSTART;VALUE=DATE:20260101"
CHRISTMAS = "UID:xmas|SUMMARY:Christmas|DTSTART;VALUE=DATE:20261225|DURATION:P2D"


def feast(day: date = TUESDAY, name: str = "Feast", uid: str = "feast", more: str = "") -> str:
    return f"UID:{uid}|SUMMARY:{name}|DTSTART;VALUE=DATE:{day:%Y%m%d}{more}"


@pytest.fixture(scope="module")
def two_days_file(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("two days"), StoppedClock(MID_2026))
    store.devices.add(device(site="HQ"))
    ingest(store, "Gate", *on(MONDAY, "09:00", "18:00"), *on(TUESDAY, "09:00", "18:00"))
    process(store, *stale(store))
    return store.database.where


@pytest.fixture
def store(two_days_file: Where, tmp_path: Path) -> Store:
    """In mid-2026; one person was there on Monday and Tuesday."""
    return copied(two_days_file, tmp_path, StoppedClock(MID_2026))


@pytest.fixture
def take(store: Store) -> Import:
    """Imports events as a calendar."""

    def import_(*events: str, name: str = "h.ics", site: str | None = None, head: str = "") -> HolidayImport:
        content = calendar(*events, head=head)
        return import_holidays(store, PurePath(name), content, site, history_start=date(2020, 1, 1))

    return import_


def days(store: Store) -> dict[date, str]:
    return {one.day: one.name for one in store.holidays.all()}


def test_a_feast_that_was_moved_follows_and_makes_both_dates_stale(take: Import, store: Store) -> None:
    done = take(NEW_YEAR, feast(TUESDAY), CHRISTMAS)
    assert (len(done.added), done.removed, done.skipped) == (4, [], [])
    assert stale(store) == [TUESDAY]
    process(store, TUESDAY)
    again = take(NEW_YEAR, feast(TUESDAY), CHRISTMAS)
    assert (len(again.unchanged), again.added, again.changed, again.removed, stale(store)) == (4, [], [], [], [])
    moved = take(NEW_YEAR, feast(MONDAY), CHRISTMAS)
    assert ([one.day for one in moved.added], [one.day for one in moved.removed]) == ([MONDAY], [TUESDAY])
    assert stale(store) == [MONDAY, TUESDAY]
    process(store, *stale(store))
    assert rows(store, "SELECT work_date, day_off FROM daily_attendance ORDER BY 1") == [
        (MONDAY, "Feast"),
        (TUESDAY, None),
    ]


@pytest.mark.parametrize(
    "events",
    [
        (NEW_YEAR, feast(more="|STATUS:CANCELLED"), CHRISTMAS),
        (NEW_YEAR, CHRISTMAS),
        (NEW_YEAR, f"UID:feast|SUMMARY:Party|DTSTART:{TUESDAY:%Y%m%d}T180000", CHRISTMAS),
    ],
    ids=["cancelled", "left out", "an appointment now"],
)
def test_a_feast_that_is_none_any_more_goes(take: Import, store: Store, events: tuple[str, ...]) -> None:
    take(NEW_YEAR, feast(), CHRISTMAS)
    process(store, *stale(store))
    done = take(*events)
    assert done.removed == [Holiday(day=TUESDAY, name="Feast")]
    assert (TUESDAY in days(store), stale(store)) == (False, [TUESDAY])
    assert rows(store, "SELECT count(*) FROM holiday_sources WHERE uid = 'feast'") == [(0,)]


def test_a_message_cancels_what_it_names_and_nothing_else(take: Import, store: Store) -> None:
    take(NEW_YEAR, feast(), f"UID:series|SUMMARY:Series|DTSTART;VALUE=DATE:{MONDAY:%Y%m%d}|RRULE:FREQ=DAILY;COUNT=3")
    only = f"UID:series|RECURRENCE-ID;VALUE=DATE:{TUESDAY:%Y%m%d}|DTSTART;VALUE=DATE:{TUESDAY:%Y%m%d}"
    done = take(only, head="METHOD:CANCEL", name="mail.ics")
    assert (done.changed, done.removed) == ([Holiday(day=TUESDAY, name="Feast")], [])  # it was `Feast / Series`
    assert [one.name for one in take("UID:feast|SEQUENCE:1", head="METHOD:CANCEL", name="mail.ics").removed] == [
        "Feast"
    ]
    assert list(days(store)) == [date(2026, 1, 1), MONDAY, TUESDAY + timedelta(days=1)]


def test_what_was_entered_by_hand_is_never_removed(take: Import, store: Store) -> None:
    store.holidays.put([Holiday(day=TUESDAY, name="Feast")])
    take(NEW_YEAR, feast(), CHRISTMAS)
    assert take(NEW_YEAR, CHRISTMAS).removed == []
    store.holidays.put([Holiday(day=date(2026, 1, 1), name="New Year")])  # as it is: it is ours from now on
    store.apply_shifts(ShiftPlan(holidays=(Holiday(day=date(2026, 12, 25), name="Christmas"),)))
    assert [one.day for one in take("UID:ny|STATUS:CANCELLED", feast(), "UID:xmas|STATUS:CANCELLED").removed] == [
        date(2026, 12, 26)
    ]
    assert set(days(store)) == {TUESDAY, date(2026, 1, 1), date(2026, 12, 25)}
    store.holidays.remove(TUESDAY)
    assert [one.day for one in take(feast()).added] == [TUESDAY]


def test_the_calendar_of_another_year_and_one_that_begins_later_take_nothing_away(take: Import, store: Store) -> None:
    take(NEW_YEAR, feast(), CHRISTMAS)
    assert take(feast(date(2027, 3, 2)), "UID:ny|SUMMARY:New Year|DTSTART;VALUE=DATE:20270101").removed == []
    assert take(CHRISTMAS).removed == []  # 1 June 2026: the past has gone from it, not been cancelled
    assert len(days(store)) == 6
    later = feast(date(2026, 8, 15), "Later", "later")
    take(later, CHRISTMAS)
    assert [one.name for one in take(CHRISTMAS).removed] == ["Later"]


def test_what_cannot_be_read_and_half_a_file_take_nothing_away(take: Import, store: Store) -> None:
    take(NEW_YEAR, feast(), CHRISTMAS)
    done = take(NEW_YEAR, "UID:feast|SUMMARY:Feast|DTSTART;VALUE=DATE:20260231", CHRISTMAS)
    assert ([(one.line, one.summary) for one in done.skipped], done.removed, done.is_complete) == (
        [(9, "Feast")],
        [],
        False,
    )
    half = calendar(NEW_YEAR, end="BEGIN:VEV")
    assert import_holidays(store, PurePath("h.ics"), half, None, history_start=date(2020, 1, 1)).removed == []
    with pytest.raises(UsageError, match="there is no event in it"):
        import_holidays(store, PurePath("h.ics"), b"", None, history_start=date(2020, 1, 1))
    assert len(days(store)) == 4


def test_another_calendar_leaves_the_first_one_alone_and_a_date_of_both_has_both_names(take: Import) -> None:
    take(feast(), CHRISTMAS)
    done = take(feast(TUESDAY, "Company outing", "outing"), name="company.ics")
    assert (done.removed, done.changed) == ([], [Holiday(day=TUESDAY, name="Company outing / Feast")])
    assert take(CHRISTMAS, feast(date(2026, 3, 10))).changed == [Holiday(day=TUESDAY, name="Company outing")]
    renamed = take(CHRISTMAS, feast(date(2026, 3, 11)), name="h (1).ics")
    assert [one.day for one in renamed.removed] == [date(2026, 3, 10)]  # the UIDs are the same


def test_a_series_loses_the_dates_that_its_calendar_takes_out_of_it(take: Import, store: Store) -> None:
    series = feast(date(2019, 3, 3), more="|RRULE:FREQ=YEARLY")
    assert [one.day.year for one in take(series).added] == list(range(2020, 2032))
    less = take(f"{series};UNTIL=20290303|EXDATE;VALUE=DATE:20260303")
    assert [one.day.year for one in less.removed] == [2026, 2030, 2031]
    assert TUESDAY not in days(store)


def test_a_site_has_its_own_imports(take: Import, store: Store) -> None:
    take(feast(), site="HQ")
    take(feast(MONDAY))
    assert [(one.day, one.site) for one in store.holidays.all()] == [(MONDAY, None), (TUESDAY, "HQ")]
    assert take(feast(more="|STATUS:CANCELLED"), site="HQ").removed == [Holiday(day=TUESDAY, name="Feast", site="HQ")]
    with pytest.raises(UsageError, match="no site 'Mars'"):
        take(feast(), site="Mars")


def test_a_table_is_taken_whole_or_refused_by_its_line(store: Store) -> None:
    for content, words in (
        (b"date,name\n2026-13-01,x", "line 2"),
        (b"date,name\n2026-05-01,\xea", "line 2: cannot be read"),
    ):
        with pytest.raises(UsageError, match=words):
            import_holidays(store, PurePath("h.csv"), content, None, history_start=date(2020, 1, 1))
    good = b"\xef\xbb\xbfdate;name;site\r\n2026-05-01;A;HQ\r\n2026-05-01;B;HQ\r\n"
    done = import_holidays(store, PurePath("h.csv"), good, None, history_start=date(2020, 1, 1))
    assert done.added == [Holiday(day=date(2026, 5, 1), name="A / B", site="HQ")]
