"""Clocks of emulated pushing terminals, which a receiver sets with every answer."""

from __future__ import annotations

from datetime import datetime

import pytest

from zk_pipeline.simulator.push.profiles import LEGACY_4, PUSH_2_2, SECURITY_3, TFT_3, PushProfile
from zk_pipeline.simulator.push.wire import Answer
from zk_pipeline_tests.simulator.push.push_fixtures import pushing_terminal
from zk_pipeline_tests.simulator.push.recording_receiver import RecordingReceiver

DATE = "Mon, 02 Mar 2026 18:30:00 GMT"


@pytest.mark.parametrize(
    ("profile", "zone", "shown"),
    [
        (PUSH_2_2, "", "21:30"),  # the terminal's own zone, UTC+3
        (PUSH_2_2, "TimeZone=3", "21:30"),
        (PUSH_2_2, "TimeZone=-5", "13:30"),
        (PUSH_2_2, "TimeZone=330", "00:00"),
        (PUSH_2_2, "TimeZone=-210", "15:00"),
        (PUSH_2_2, "TimeZone=5.5", "23:30"),  # read up to the point
        (PUSH_2_2, "TimeZone=+05:30", "23:30"),
        (TFT_3, "TimeZone=+05:30", "00:00"),
        (TFT_3, "TimeZone=-03:30", "15:00"),
        (TFT_3, "TimeZone=330", "21:30"),  # not the form of family B
    ],
)
def test_the_clock_follows_the_date_of_the_answer_and_the_zone_of_the_option_block(
    receiver: RecordingReceiver, profile: PushProfile, zone: str, shown: str
) -> None:
    receiver.date, receiver.options = DATE, f"{zone}\n"
    terminal = pushing_terminal(receiver.url, profile=profile, follows_date=True)
    assert f"{terminal.clock.now_local():%H:%M}" == "15:00"
    terminal.hello()
    assert f"{terminal.clock.now_local():%H:%M}" == shown


def test_a_terminal_that_does_not_follow_the_date_keeps_its_clock(receiver: RecordingReceiver) -> None:
    receiver.date = DATE
    terminal = pushing_terminal(receiver.url, follows_date=False)
    terminal.cycle()
    assert terminal.clock.now_local() == datetime.fromisoformat("2026-03-02T15:00:00")


@pytest.mark.parametrize(
    ("profile", "name", "shown"),
    [(LEGACY_4, "Date", "21:30"), (LEGACY_4, "date", "15:00"), (PUSH_2_2, "date", "21:30")],
)
def test_old_firmware_compares_the_names_of_headers_with_case(profile: PushProfile, name: str, shown: str) -> None:
    terminal = pushing_terminal("http://127.0.0.1:1", profile=profile, follows_date=True)
    step = terminal.send(terminal.request("GET", "ping"))
    next(step)
    with pytest.raises(StopIteration):
        step.send(Answer(200, {name: DATE}, b"OK"))
    assert f"{terminal.clock.now_local():%H:%M}" == shown


def test_a_date_that_is_none_leaves_the_clock_alone(receiver: RecordingReceiver) -> None:
    receiver.date = "today"
    terminal = pushing_terminal(receiver.url, follows_date=True)
    assert terminal.ping().is_success
    assert terminal.clock.now_local() == datetime.fromisoformat("2026-03-02T15:00:00")


def test_a_difference_below_a_second_leaves_the_clock_alone(receiver: RecordingReceiver) -> None:
    receiver.date = "Mon, 02 Mar 2026 11:59:59 GMT"
    terminal = pushing_terminal(
        receiver.url,
        follows_date=True,
        clock=lambda: datetime.fromisoformat("2026-03-02T11:59:59.900000+00:00"),
    )
    terminal.ping()
    assert terminal.clock.now_local() == datetime.fromisoformat("2026-03-02T14:59:59.900000")


def test_family_b_reads_the_time_with_its_offset(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda one: (200, "Time=2026-07-01T09:15:00+05:30") if "type" in one.parameters else None
    terminal = pushing_terminal(receiver.url, profile=TFT_3)
    assert terminal.connect()
    assert terminal.clock.now_local() == datetime.fromisoformat("2026-07-01T09:15:00")
    terminal.punch("1001")
    terminal.upload()
    assert b"\t2026-07-01 09:15:00\t" in receiver.uploads()[-1].body


def test_family_c_reads_utc_in_seconds_of_the_protocol_and_the_offset(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda one: (200, "DateTime=841158060,ServerTZ=+0530") if one.endpoint == "rtdata" else None
    terminal = pushing_terminal(receiver.url, profile=SECURITY_3)
    assert terminal.connect()
    assert terminal.clock.now_local() == datetime.fromisoformat("2026-03-02T20:31:00")
    assert terminal.clock.utc_offset.total_seconds() == 19_800
