"""Conversion of wall-clock times to instants."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.attendance.zones import to_instants
from zk_pipeline_tests.attendance.any_company import ZONES

EVERY_ZONE_SEEN = [*ZONES, "Asia/Beirut", "Asia/Kolkata", "Pacific/Apia", "America/St_Johns", "Asia/Pyongyang"]


def instants(zone: str, *readings: str) -> list[str]:
    made = to_instants(pd.Series(pd.to_datetime(list(readings), format="ISO8601")), zone)
    assert str(made.dtype) == "datetime64[us, UTC]"
    return [f"{moment:%d %H:%M:%S}" for moment in made]


def test_zones_east_and_west_of_utc() -> None:
    assert instants("Asia/Kolkata", "2026-03-02 03:00") == ["01 21:30:00"]
    assert instants("America/New_York", "2026-03-02 22:00") == ["03 03:00:00"]
    assert instants("UTC", "2026-03-02 22:00") == ["02 22:00:00"]


def test_a_repeated_reading_is_taken_as_its_first_occurrence() -> None:
    readings = ["2026-10-25 01:59:59", "2026-10-25 02:00", "2026-10-25 02:59:59", "2026-10-25 03:00"]
    assert instants("Europe/Berlin", *readings) == ["24 23:59:59", "25 00:00:00", "25 00:59:59", "25 02:00:00"]


def test_a_skipped_reading_is_taken_from_a_clock_not_yet_moved() -> None:
    readings = ["2026-03-29 01:59:59", "2026-03-29 02:00", "2026-03-29 02:59:59", "2026-03-29 03:00"]
    assert instants("Europe/Berlin", *readings) == ["29 00:59:59", "29 01:00:00", "29 01:59:59", "29 01:00:00"]


def test_a_day_that_begins_with_a_skipped_hour() -> None:
    assert instants("America/Sao_Paulo", "2018-11-03 23:59:59", "2018-11-04 00:30", "2018-11-04 01:00") == [
        "04 02:59:59",
        "04 03:30:00",
        "04 03:00:00",
    ]


def test_a_whole_day_that_never_was() -> None:
    assert instants("Pacific/Apia", "2011-12-29 12:00", "2011-12-30 12:00", "2011-12-31 12:00") == [
        "29 22:00:00",
        "30 22:00:00",
        "30 22:00:00",
    ]


def test_rules_go_on_after_2037() -> None:
    assert instants("Europe/Berlin", "2060-07-01 12:00", "2060-01-01 12:00") == ["01 10:00:00", "01 11:00:00"]


def test_index_and_order_are_kept_and_no_readings_are_no_problem() -> None:
    readings = pd.Series(pd.to_datetime(["2026-03-03", "2026-03-01"]), index=[7, 3]).astype("datetime64[s]")
    assert list(to_instants(readings, "UTC").index) == [7, 3]
    assert to_instants(readings.iloc[:0], "Europe/Berlin").empty


def test_a_zone_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError):
        instants("Mars/Olympus", "2026-03-02")


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(EVERY_ZONE_SEEN),
    st.lists(
        st.datetimes(datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2130-01-01")).map(
            lambda m: m.replace(microsecond=0, fold=0)
        ),
        max_size=50,
    ),
)
def test_whole_columns_equal_one_reading_at_a_time(zone: str, readings: list[datetime]) -> None:
    tz = ZoneInfo(zone)
    expected = [reading.replace(tzinfo=tz).astimezone(UTC) for reading in readings]
    made = to_instants(pd.Series(readings, dtype="datetime64[us]"), zone)
    assert [moment.to_pydatetime() for moment in made] == expected


@pytest.mark.parametrize("zone", EVERY_ZONE_SEEN)
def test_every_quarter_of_an_hour_of_twenty_years_around_the_changes(zone: str) -> None:
    tz = ZoneInfo(zone)
    hours = pd.date_range("2008-01-01", "2028-01-01", freq="12h")
    offsets = [hour.to_pydatetime().replace(tzinfo=tz).utcoffset() for hour in hours]
    moved = [hours[i] for i in range(1, len(hours)) if offsets[i] != offsets[i - 1]]
    readings = [quarter for end in moved for quarter in pd.date_range(end - pd.Timedelta("36h"), end, freq="15min")]
    expected = [reading.to_pydatetime().replace(tzinfo=tz).astimezone(UTC) for reading in readings]
    made = to_instants(pd.Series(readings, dtype="datetime64[us]"), zone)
    assert [moment.to_pydatetime() for moment in made] == expected
