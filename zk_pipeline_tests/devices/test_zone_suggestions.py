"""Time zones suggested from the measured drift of a terminal's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zk_pipeline.devices.zone_suggestions import suggested_zones, zone_shift

WINTER, SUMMER = datetime(2026, 1, 15, 12, tzinfo=UTC), datetime(2026, 7, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("drift", "minutes"),
    [
        (7200.0, 120),
        (7200.0 + 170, 120),
        (-12600.0 - 100, -210),
        (2700.0, 45),
        (7200.0 + 190, None),  # more than three minutes from it
        (900.0, None),  # less than half an hour: no two zones are that close
        (40.0, None),
        (None, None),
    ],
)
def test_a_drift_close_to_a_multiple_of_a_quarter_hour_is_taken_for_a_zone(
    drift: float | None, minutes: int | None
) -> None:
    assert zone_shift(drift) == (None if minutes is None else timedelta(minutes=minutes))


def test_the_zones_in_use_are_suggested_first_then_those_of_the_region() -> None:
    found = suggested_zones("Europe/Berlin", timedelta(hours=2), WINTER, ["UTC", "Asia/Riyadh", "Europe/Istanbul"])
    assert found[:2] == ["Asia/Riyadh", "Europe/Istanbul"]
    assert len(found) == 4
    assert found[2] == "Europe/Moscow"  # of the same region as Berlin
    assert suggested_zones("UTC", timedelta(hours=5), WINTER, [])[:2] == ["Asia/Karachi", "Asia/Tashkent"]
    assert suggested_zones("UTC", timedelta(hours=5, minutes=45), WINTER, []) == ["Asia/Kathmandu", "Asia/Katmandu"]


def test_the_offset_at_the_time_of_the_measurement_counts() -> None:
    assert "Europe/Istanbul" in suggested_zones("Europe/Berlin", timedelta(hours=2), WINTER, ["Europe/Istanbul"])
    assert "Europe/Istanbul" in suggested_zones("Europe/Berlin", timedelta(hours=1), SUMMER, ["Europe/Istanbul"])
    assert "Europe/Istanbul" not in suggested_zones("Europe/Berlin", timedelta(hours=2), SUMMER, ["Europe/Istanbul"])


def test_no_zone_is_suggested_where_none_has_the_offset() -> None:
    assert suggested_zones("UTC", timedelta(minutes=45), WINTER, ["UTC"]) == []
