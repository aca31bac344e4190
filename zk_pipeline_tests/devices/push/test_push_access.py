"""Access control: who got through has a punch, a refusal or door event has none; answers byte by byte."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from __future__ import annotations

from datetime import datetime

import pytest

from zk_pipeline.devices.push.uploads import (
    DEFAULT_PUNCH_EVENTS,
    DeviceEvent,
    PushedPunch,
    PushedUser,
    parse_counts,
    parse_options,
    parse_upload,
)
from zk_pipeline_tests.devices.push.push_bodies import parsed, parsed_bytes

AT = datetime(2026, 3, 2, 8, 41, 7)
TIME = "2026-03-02 08:41:07"


def event_line(event: int | str = 0, pin: str = "475", inout: str = "0", verify: str = "15") -> str:
    return (
        f"time={TIME}\tpin={pin}\tcardno=0\tsitecode=0\tlinkid=0\teventaddr=1\tevent={event}\tinoutstatus={inout}\t"
        f"verifytype={verify}\tindex=521745"
    )


def test_a_real_time_event_of_a_person_is_a_punch() -> None:
    upload = parsed("RTLOG", event_line(), event_line(inout="1"))
    assert upload.punches == [PushedPunch("475", AT, state, 15, None, None) for state in (0, 1)]
    assert upload.acknowledged == "OK"


def test_keys_are_read_in_any_order_and_case() -> None:
    line = "\t".join(reversed(event_line().split("\t")))
    (punch,) = parsed("RTLOG", line.upper().replace("TIME=", "Time=")).punches
    assert punch == PushedPunch("475", AT, 0, 15, None, None)


@pytest.mark.parametrize(("sent", "state"), [("2", 255), ("", 255), ("x", 255), ("1", 1)])
def test_a_direction_other_than_in_and_out_is_undefined(sent: str, state: int) -> None:
    assert parsed("RTLOG", event_line(inout=sent)).punches[0].punch_state == state


@pytest.mark.parametrize("verify", ["0000000000000001", "300", ""])
def test_a_verify_type_of_bits_is_undefined(verify: str) -> None:
    assert parsed("RTLOG", event_line(verify=verify)).punches[0].verify_type == 255


@pytest.mark.parametrize("event", sorted(DEFAULT_PUNCH_EVENTS))
def test_each_event_of_a_person_who_got_through_is_a_punch(event: int) -> None:
    assert len(parsed("RTLOG", event_line(event)).punches) == 1


@pytest.mark.parametrize("event", [8, 9, 20, 23, 24, 27, 29, 41, 100, 101, 202, 206, 4008, 5002, 6001])
def test_a_refusal_alarm_or_door_event_is_no_punch(event: int) -> None:
    upload = parsed("RTLOG", event_line(event))
    assert (upload.punches, upload.rejected) == ([], [])
    (found,) = upload.events
    assert (found.code, found.user_id, found.occurred_at_local) == (event, "475", AT)
    assert not found.is_operation
    assert "index=521745" in found.detail.split("\t")


@pytest.mark.parametrize("pin", ["0", ""])
def test_an_event_without_a_person_is_no_punch(pin: str) -> None:
    upload = parsed("RTLOG", event_line(0, pin))
    assert (upload.punches, [one.user_id for one in upload.events]) == ([], [""])


def test_the_events_that_are_punches_can_be_chosen() -> None:
    upload = parse_upload(
        "RTLOG",
        "\n".join((event_line(27), event_line(0))).encode(),
        encoding="UTF-8",
        punch_events={27},
        parameters={},
    )
    assert (len(upload.punches), [one.code for one in upload.events]) == (1, [0])


def test_a_stored_event_has_its_time_in_the_terminals_encoding() -> None:
    captured = (
        "transaction cardno=0\tpin=475\tverified=15\tdoorid=1\teventtype=3\tinoutstate=0\ttime_second=857920849\t"
        "index=521745\tmaskflag=1\ttemperature=36.2"
    )
    upload = parsed("TABLEDATA:transaction", captured, tablename="transaction")
    assert upload.punches == [PushedPunch("475", datetime(2026, 9, 10, 15, 20, 49), 0, 15, None, None)]
    assert upload.acknowledged == "transaction=1"


def test_the_name_of_a_table_may_be_before_any_key() -> None:
    line = "pin=0\tverified=4\tdoorid=1\teventtype=27\tinoutstate=1\ttime_second=857920849\ttransaction cardno=444444"
    (event,) = parsed("TABLEDATA:transaction", line).events
    assert (event.code, event.user_id) == (27, "")
    assert "cardno=444444" in event.detail


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("pin=1\teventtype=0\ttime_second=5270400", "impossible date 2000-02-31 00:00:00"),
        ("pin=1\teventtype=0\ttime_second=99999999999", "the time is missing"),
        ("pin=1\teventtype=0", "the time is missing"),
        (f"pin=1\ttime={TIME}", "the event is missing"),
        (f"pin=1\tevent=x\ttime={TIME}", "event 'x' is no number"),
        (f"pin={'1' * 33}\tevent=0\ttime={TIME}", "the user id has 33 characters, at most 32 are possible"),
        ("no pairs", "the event is missing"),
    ],
)
def test_an_unreadable_event_is_kept_with_its_reason(line: str, reason: str) -> None:
    upload = parsed("TABLEDATA:transaction", line, tablename="transaction")
    assert upload.rejected == [(line.encode(), reason)]
    assert upload.acknowledged == "transaction=1"


def test_a_row_of_a_user_is_read_without_the_password() -> None:
    row = "user uid=7\tcardno=1234567\tpin=475\tpassword=4711\tgroup=1\tstarttime=0\tendtime=0\tname=Jane\tprivilege=14"
    empty = "user uid=\tcardno=\tpin=476\tpassword=\tgroup=\tname=\tprivilege=\tdisable=\tverify="
    bad = "user uid=8\tpin=\tpassword=4711\tname=Joe"
    upload = parsed("TABLEDATA:user", row, empty, bad, tablename="user")
    assert upload.users == [PushedUser("475", "Jane", 14, 1234567, 7), PushedUser("476", "", 0, 0, None)]
    assert upload.rejected == [(b"user uid=8\tpin=\tname=Joe", "the user id is empty")]
    assert upload.acknowledged == "user=3"
    assert "4711" not in repr(upload)


@pytest.mark.parametrize(
    ("table", "answer"),
    [
        ("ATTLOG", "OK: 2"),
        ("OPERLOG", "OK: 2"),
        ("BIODATA", "OK: 2"),
        ("IDCARD", "OK: 2"),
        ("ERRORLOG", "OK: 2"),
        ("NEW_TABLE", "OK: 2"),
        ("RTLOG", "OK"),
        ("RTSTATE", "OK"),
        ("EVENT", "OK"),
        ("OPTIONS", "OK"),
        ("COUNT", "OK"),
        ("ATTPHOTO", "OK"),
        ("TABLEDATA:user", "user=2"),
        ("TABLEDATA:transaction", "transaction=2"),
        ("TABLEDATA:templatev10", "templatev10=2"),
        ("TABLEDATA:new", "new=2"),
    ],
)
def test_each_table_has_its_answer_whatever_its_lines_are(table: str, answer: str) -> None:
    assert parsed(table, "first", "second", "").acknowledged == answer


def test_the_answer_names_a_table_as_the_terminal_does() -> None:
    assert parsed("TABLEDATA:user", "user pin=1", tablename="User").acknowledged == "User=1"


@pytest.mark.parametrize(
    "table",
    [
        "BIODATA",
        "FINGERTMP",
        "IDCARD",
        "ERRORLOG",
        "RTSTATE",
        "OPTIONS",
        "TABLEDATA:templatev10",
        "TABLEDATA:biophoto",
        "ATTPHOTO",
    ],
)
def test_a_table_that_is_not_stored_is_counted_only(table: str) -> None:
    for body in (b"X PIN=1\tTmp=AAAA\nX PIN=2\tTmp=BBBB", b"PIN=1.jpg\nCMD=uploadphoto\0\xff\xd8\xff\xe0\x00\x10JFIF"):
        upload = parsed_bytes(table, body)
        assert upload.lines == upload.dropped == 2
        assert [*upload.punches, *upload.rejected, *upload.users, *upload.events] == []


def test_each_line_of_an_unknown_table_is_kept() -> None:
    upload = parsed("NEW_TABLE", "one\t1", "two\ttmp=AAAA", "", "three")
    assert [one.raw for one in upload.rejected] == [b"one\t1", b"two\ttmp=", b"three"]
    assert {one.reason for one in upload.rejected} == {"unknown table NEW_TABLE"}
    assert upload.acknowledged == "OK: 3"


def test_of_an_unknown_table_that_is_no_text_the_beginning_is_kept() -> None:
    body = bytes((number * 73 + 11) % 256 for number in range(100_000))
    (kept,) = parsed_bytes("NEW_TABLE", body).rejected
    assert kept == (body[:1024], "unknown table NEW_TABLE: 100000 bytes that are no text")


def test_a_long_rejected_line_is_kept_up_to_a_limit() -> None:
    (kept,) = parsed("NEW_TABLE", "x" * 100_000).rejected
    assert kept.raw == b"x" * 8192


def test_options_are_read_between_commas_or_lines() -> None:
    body = b"~SerialNumber=A1,FirmVer=Ver 1, MaxAttLogCount=10\r\n~DeviceName=\nempty,=,Url=http://a/?b=c\0"
    options = parse_options(body)
    assert options["serialnumber"] == "A1"
    assert (options["firmver"], options["maxattlogcount"], options["devicename"]) == ("Ver 1", "10", "")
    assert options["url"] == "http://a/?b=c"


def test_counts_of_tables_are_read() -> None:
    assert parse_counts(b"transaction=1234\nuser=-1,face=x,fp=" + b"9" * 5000) == {"transaction": 1234}


def test_a_door_event_is_a_device_event() -> None:
    line = f"time={TIME}\tpin=0\tcardno=0\teventaddr=1\tevent=202\tinoutstatus=2\tverifytype=200\tindex=9"
    detail = "cardno=0\teventaddr=1\tinoutstatus=2\tverifytype=200\tindex=9"
    assert parsed("RTLOG", line).events == [DeviceEvent(202, "", AT, detail, is_operation=False)]
