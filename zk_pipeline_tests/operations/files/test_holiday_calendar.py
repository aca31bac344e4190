"""Reading calendars: whole days in every notation, and messages about skipped events."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.holiday_calendar import ReadCalendar, read_calendar

WINDOW = (date(2024, 1, 1), date(2028, 12, 31))
MAY = date(2026, 5, 1)
BERLIN = "W. Europe Standard Time"


def calendar(*events: str, head: str = "", end: str = "END:VCALENDAR") -> bytes:
    """A calendar of events given by their lines, those of an event apart by blanks in front of a name in capitals."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", *head.split("|")]
    for event in events:
        lines += ["BEGIN:VEVENT", *event.split("|"), "END:VEVENT"]
    return "\r\n".join([*(line for line in lines if line), end, ""]).encode()


def read(*events: str, head: str = "") -> ReadCalendar:
    return read_calendar("a.ics", calendar(*events, head=head), WINDOW)


def days_of(found: ReadCalendar) -> list[date]:
    assert found.skipped == []
    return sorted(day for event in found.calendar.events for day in event.days)


@pytest.mark.parametrize(
    ("event", "first", "count"),
    [
        ("DTSTART;VALUE=DATE:20260501", MAY, 1),
        ("DTSTART:20260501", MAY, 1),
        ("DTSTART;VALUE=DATE:20260501|DTEND;VALUE=DATE:20260501", MAY, 1),
        ("DTSTART;VALUE=DATE:20260501|DTEND;VALUE=DATE:20260505", MAY, 4),
        ("DTSTART;VALUE=DATE:20260501|DURATION:P4D", MAY, 4),
        ("DTSTART;VALUE=DATE:20260501|DURATION:P1W", MAY, 7),
        ("DTSTART;VALUE=DATE:20260501|DURATION:PT48H", MAY, 2),
        (f"DTSTART;TZID={BERLIN}:20260501T000000|DTEND;TZID={BERLIN}:20260502T000000", MAY, 1),
        ("DTSTART;TZID=Customized Time Zone:20260501T000000|DTEND;TZID=Customized Time Zone:20260503T000000", MAY, 2),
        ("DTSTART;TZID=Europe/Berlin:20260328T000000|DTEND;TZID=Europe/Berlin:20260330T000000", date(2026, 3, 28), 2),
        ("DTSTART;TZID=Europe/Berlin:20260501T000000|DURATION:P2D", MAY, 2),
        ("DTSTART:20260501T000000|DTEND:20260501T235959", MAY, 1),
        ("DTSTART:20260501T000000Z|DTEND:20260502T000000Z", MAY, 1),
    ],
)
def test_a_whole_day_event_is_on_the_dates_that_the_calendar_writes(event: str, first: date, count: int) -> None:
    assert days_of(read(f"UID:1|SUMMARY:Feast|{event}")) == [first + timedelta(days=n) for n in range(count)]


def test_days_in_utc_are_those_of_the_zone_that_the_calendar_names() -> None:
    found = read(
        "UID:1|SUMMARY:Feast|DTSTART:20260430T220000Z|DTEND:20260501T220000Z", head="X-WR-TIMEZONE:Europe/Berlin"
    )
    assert days_of(found) == [MAY]


@pytest.mark.parametrize(
    ("event", "days"),
    [
        ("RRULE:FREQ=YEARLY", [date(year, 5, 1) for year in range(2024, 2029)]),
        ("RRULE:FREQ=YEARLY;UNTIL=20260501", [date(year, 5, 1) for year in (2024, 2025, 2026)]),
        ("RRULE:FREQ=YEARLY;COUNT=5|EXDATE;VALUE=DATE:20240501", []),
        ("RDATE;VALUE=DATE:20250601,20260601", [date(2025, 6, 1), date(2026, 6, 1)]),
    ],
)
def test_a_repeating_event_is_on_its_dates_within_the_window(event: str, days: list[date]) -> None:
    found = read(f"UID:1|SUMMARY:Feast|DTSTART;VALUE=DATE:20190501|{event}")
    assert days_of(found) == days
    assert found.calendar.events[0].window == WINDOW


def test_a_repeating_event_of_outlook_keeps_its_last_date_and_its_exceptions() -> None:
    written = f"UID:1|SUMMARY:Feast|DTSTART;TZID={BERLIN}:20240501T000000|DTEND;TZID={BERLIN}:20240503T000000"
    found = read(
        f"{written}|RRULE:FREQ=YEARLY;UNTIL=20270430T220000Z|EXDATE;TZID={BERLIN}:20250501T000000",
        f"UID:1|SUMMARY:Later|RECURRENCE-ID;TZID={BERLIN}:20260501T000000|DTSTART;VALUE=DATE:20260504",
        f"UID:1|SUMMARY:Off|STATUS:CANCELLED|RECURRENCE-ID;TZID={BERLIN}:20270501T000000|DTSTART;VALUE=DATE:20270501",
    )
    assert days_of(found) == [date(2024, 5, 1), date(2024, 5, 2), date(2026, 5, 4)]
    assert found.calendar.events[0].days[date(2026, 5, 4)] == "Later"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("SUMMARY:Feast", "it has no DTSTART"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260231", "DTSTART cannot be read"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260501|DURATION:4 days", "DURATION cannot be read"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260501|DTEND;VALUE=DATE:20260430", "it ends before it begins"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260501|DTEND;VALUE=DATE:20280501", "it lasts longer than a year"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260501|DTSTART;VALUE=DATE:20260502", "DTSTART is given twice"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:99991231|DURATION:P9D", "cannot be parsed: "),
        ("DTSTART;VALUE=DATE:20260501", "it has no SUMMARY"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260501|RRULE:FREQ=SOMETIMES", "RRULE"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260501|RRULE:FREQ=YEARLY;INTERVAL=0", "RRULE: INTERVAL must be"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260501|RRULE:FREQ=SECONDLY", "RRULE: an event repeats YEARLY"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260501|RRULE:FREQ=DAILY;BYSECOND=1,2", "RRULE: an event repeats YEARLY"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260501|RRULE:FREQ=YEARLY;UNTIL=soon", "RRULE"),
        ("SUMMARY:Feast|DTSTART;VALUE=DATE:20260501|RDATE;VALUE=PERIOD:20260601T000000/P2D", "RDATE: periods"),
    ],
)
def test_an_event_that_cannot_be_read_is_named_by_its_line_and_holds_up_no_other(event: str, reason: str) -> None:
    found = read(
        "UID:1|SUMMARY:Good|DTSTART;VALUE=DATE:20260101", f"UID:2|{event}", "UID:3|SUMMARY:Last|DTSTART:20261226"
    )
    (skipped,) = found.skipped
    assert (skipped.line, skipped.is_failure) == (9, True)
    assert skipped.reason.startswith(reason)
    assert skipped.summary == ("Feast" if "SUMMARY" in event else "")
    assert found.calendar.unread == {"2"}
    assert sorted(day for one in found.calendar.events for day in one.days) == [date(2026, 1, 1), date(2026, 12, 26)]


@pytest.mark.parametrize("event", ["DTSTART:20260501T090000|DTEND:20260501T100000", "DTSTART:20260501T000000"])
def test_an_appointment_is_named_and_is_no_failure(event: str) -> None:
    (skipped,) = read(f"UID:1|SUMMARY:Meeting|{event}").skipped
    assert (skipped.line, skipped.summary, skipped.is_failure) == (4, "Meeting", False)
    assert "at a time of day" in skipped.reason


def test_text_is_read_as_it_was_meant() -> None:
    plain = calendar(
        "UID:1|DTSTART;VALUE=DATE:20260501|SUMMARY:Fête\\, du\\nTravail \\; x|DESCRIPTION:no colon\n\nnext line"
    )
    cut = plain.replace("ê".encode(), b"\xc3\r\n \xaa")  # folded in the middle of a letter
    for content in (
        plain,
        cut,
        b"\xef\xbb\xbf" + plain,
        plain.decode().encode("utf-16"),
        plain.replace(b"\r\n", b"\n"),
    ):
        (event,) = read_calendar("a.ics", content, WINDOW).calendar.events
        assert event.days == {MAY: "Fête, du Travail ; x"}
    latin = calendar("UID:1|DTSTART;VALUE=DATE:20260501|SUMMARY:F?te", "UID:2|DTSTART:20260502|SUMMARY:Good")
    found = read_calendar("a.ics", latin.replace(b"?", b"\xea"), WINDOW)
    assert [(one.line, one.reason) for one in found.skipped] == [(4, "its SUMMARY is not text in UTF-8")]
    assert days_of(ReadCalendar(found.calendar, [])) == [date(2026, 5, 2)]


def test_a_file_without_events_is_refused() -> None:
    for content in (b"", calendar(), b"<html>not found</html>", b"\xff\xfe\x00"):
        with pytest.raises(UsageError, match=r"a\.ics: there is no event in it"):
            read_calendar("a.ics", content, WINDOW)


def test_a_file_that_stops_in_the_middle_is_no_whole_calendar() -> None:
    whole = calendar("UID:1|SUMMARY:A|DTSTART:20260501", "UID:2|SUMMARY:B|DTSTART:20260502")
    assert read_calendar("a.ics", whole, WINDOW).calendar.is_whole
    cut = read_calendar("a.ics", whole[: whole.index(b"DTSTART:20260502")], WINDOW)
    assert not cut.calendar.is_whole
    assert [(one.line, one.summary, one.reason) for one in cut.skipped] == [
        (9, "B", "it has no end: the file is incomplete")
    ]
    for message in ("METHOD:REQUEST", "METHOD:CANCEL"):
        assert not read("UID:1|SUMMARY:A|DTSTART:20260501", head=message).calendar.is_whole


def test_the_latest_version_of_an_event_counts() -> None:
    found = read("UID:1|SEQUENCE:2|SUMMARY:A|DTSTART:20260504", "UID:1|SEQUENCE:1|SUMMARY:A|DTSTART:20260501")
    assert days_of(found) == [date(2026, 5, 4)]
