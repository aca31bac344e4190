"""Clock drift of terminals, by the arrival of their punches."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from zk_pipeline.devices.push.records import ParsedUpload, PushedPunch
from zk_pipeline.devices.push.requests import parse_request
from zk_pipeline.receiver.sessions import Session
from zk_pipeline_tests.receiver.receiver_fixtures import NOON


def punch(at: str, offset: int | None = None) -> ParsedUpload:
    read = PushedPunch("1", datetime.fromisoformat(at), 0, 1, None, offset)
    return ParsedUpload([read], [], [], [], 1, "OK: 1")


def session(connected_for: timedelta = timedelta(hours=1)) -> Session:
    return Session("A", NOON, NOON - connected_for, 0, is_registered=False)


def measured(
    one: Session, upload: ParsedUpload, *, table: str = "ATTLOG", stamp: str = "9", zone: str = "UTC"
) -> object:
    return one.measure_drift(table, stamp, upload, zone=zone, now=NOON)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_a_drift_is_measured_in_the_zone_of_the_device_or_by_the_offset_of_the_line(zone: str) -> None:
    local = {"UTC": "11:59:58", "Asia/Kolkata": "17:29:58", "America/St_Johns": "09:29:58"}[zone]
    assert measured(session(), punch(f"2026-06-01 {local}"), zone=zone) == -2
    assert measured(session(), punch("2026-06-01 14:59:58", 3 * 3600), zone=zone) == -2


def test_a_delayed_punch_is_no_clock_error_and_one_of_the_future_is() -> None:
    late = punch("2026-06-01 11:30:00")
    assert measured(session(timedelta(minutes=31)), late) is None
    assert measured(session(timedelta(minutes=31, seconds=1)), late) == -1800
    assert measured(session(timedelta()), punch("2026-06-01 12:30:00")) == 1800


def test_uploads_that_are_no_realtime_punch_measure_no_drift() -> None:
    now = punch("2026-06-01 11:59:58")
    assert measured(session(), now, stamp="0") is None  # the answer to a query
    assert measured(session(), now, table="TABLEDATA:transaction") is None
    backlog = replace(now, punches=now.punches * 2, lines=2)
    one = session()
    assert measured(one, backlog) is None
    assert one.connected_since == NOON  # further lines of the backlog follow
    repeated = session()
    assert measured(repeated, now) == -2
    assert measured(repeated, now) is None  # its answer was lost


def test_a_drift_is_recorded_again_after_a_change_or_ten_minutes() -> None:
    one = session()
    one.record_drift(-2, NOON)
    assert measured(one, punch("2026-06-01 11:59:57")) is None
    assert measured(one, punch("2026-06-01 11:59:50")) == -10
    one.record_drift(-2, NOON - timedelta(minutes=11))
    assert measured(one, punch("2026-06-01 11:59:56")) == -4


def test_a_pause_and_a_failed_upload_end_the_contact_that_proves_a_drift() -> None:
    heartbeat = parse_request("GET", "/iclock/getrequest", b"SN=1")
    one = session()
    one.observe(heartbeat, NOON + timedelta(seconds=40))
    assert one.connected_since < NOON
    one.observe(heartbeat, NOON + timedelta(seconds=100))
    assert one.connected_since == NOON + timedelta(seconds=100)
    one.interrupt(NOON + timedelta(seconds=130))
    assert one.connected_since == NOON + timedelta(seconds=130)
