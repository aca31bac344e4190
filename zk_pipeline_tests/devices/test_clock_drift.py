"""Clock drift: the terminal's wall clock, in its time zone, against the middle of the round trip."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zk_pipeline.devices.protocol.client import ClockReading
from zk_pipeline.devices.terminal_info import clock_drift


def reading(clock_local: datetime | None, read_at: datetime) -> ClockReading:
    return ClockReading(clock_local=clock_local, read_at=read_at, round_trip_seconds=0.1)


def utc(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=UTC)  # type: ignore[misc,arg-type]


def test_a_clock_ahead_drifts_forward() -> None:
    assert clock_drift(reading(datetime(2026, 7, 1, 15, 0, 30), utc(2026, 7, 1, 12)), "Europe/Istanbul") == 30


def test_a_clock_behind_drifts_backward() -> None:
    drift = clock_drift(
        reading(datetime(2026, 7, 1, 14, 59), utc(2026, 7, 1, 12) + timedelta(seconds=1)), "Asia/Riyadh"
    )
    assert drift == -61


@pytest.mark.parametrize("hour_utc", [0, 1], ids=["summer-time", "winter-time"])
def test_the_hour_that_is_repeated_is_no_drift(hour_utc: int) -> None:
    """On 25 October 2026 Berlin has 02:30 twice."""
    assert clock_drift(reading(datetime(2026, 10, 25, 2, 30), utc(2026, 10, 25, hour_utc, 30)), "Europe/Berlin") == 0


def test_a_clock_without_a_date_has_no_drift() -> None:
    assert clock_drift(reading(None, utc(2026, 7, 1)), "UTC") is None
