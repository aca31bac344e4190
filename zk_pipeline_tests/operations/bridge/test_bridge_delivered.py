"""Content of days at the time of their delivery, from what the bridge had polled by then."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from zk_pipeline.operations.bridge.database import BridgeDay, BridgePunch
from zk_pipeline.operations.bridge.delivered import delivered_content

Punch = tuple[str, str]  # time and time of its poll


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-02 {text}").replace(tzinfo=UTC)


def content(
    day: tuple[str, str | None], *punches: Punch, created: str, delivered: str | None, saved: str
) -> tuple[str | None, ...] | None:
    """Clock-in and clock-out as delivered, `HH:MM`."""
    found = delivered_content(
        BridgeDay(
            device_id=1,
            user_id="1",
            date=date(2026, 3, 2),
            clock_in=at(day[0]),
            clock_out=at(day[1]) if day[1] else None,
            delivered_at=at(delivered) if delivered else None,
            created_at=at(created),
            updated_at=at(saved),
        ),
        [BridgePunch(number, 1, "1", at(one), 1, 0, 0, at(polled)) for number, (one, polled) in enumerate(punches)],
    )
    return None if found is None else tuple(f"{one:%H:%M}" if one else None for one in found)


IN, OUT = ("08:00", "08:15"), ("17:00", "17:15")


@pytest.mark.parametrize(
    ("delivered", "saved", "expected"),
    [
        ("18:30", "18:30", ("08:00", "17:00")),  # the row as delivered
        ("09:30", "23:05", ("08:00", None)),  # delivered at clock-in, processed each hour since
        ("20:00", "23:05", ("08:00", "17:00")),  # polled over two hours before the delivery
        ("18:00", "23:05", ("08:00", None)),  # perhaps not yet processed: sent again
        (None, "23:05", ("08:00", "17:00")),  # marked by hand
    ],
)
def test_a_clock_out_counts_only_if_it_was_certainly_delivered(
    delivered: str | None, saved: str, expected: tuple[str | None, ...]
) -> None:
    assert content(("08:00", "17:00"), IN, OUT, created="09:05", delivered=delivered, saved=saved) == expected


def test_punches_that_were_polled_before_the_day_was_first_processed_are_delivered() -> None:
    """A backlog of a terminal that was offline."""
    late = [("08:00", "18:00"), ("17:00", "18:00")]
    day = ("08:00", "17:00")
    assert content(day, *late, created="18:05", delivered="18:30", saved="19:05") == ("08:00", "17:00")


def test_a_punch_that_was_polled_after_the_delivery_is_not_in_it() -> None:
    early = ("07:00", "22:00")
    assert content(("07:00", "17:00"), early, IN, OUT, created="18:05", delivered="19:30", saved="23:05") == (
        "08:00",
        "17:00",
    )


def test_a_day_without_a_punch_of_that_time_has_an_unknown_content() -> None:
    assert content(("08:00", None), ("08:00", "22:00"), created="09:05", delivered="09:30", saved="23:05") is None


def test_a_day_whose_punches_were_deleted_counts_as_it_is() -> None:
    assert content(("08:00", "17:00"), created="09:05", delivered="09:30", saved="23:05") == ("08:00", "17:00")
