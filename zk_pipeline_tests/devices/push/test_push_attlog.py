"""Lines of ATTLOG as terminals of different firmware send them; unreadable ones never reject their batch."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from __future__ import annotations

from datetime import datetime

import pytest

from zk_pipeline.devices.push.uploads import (
    DEFAULT_PUNCH_EVENTS,
    DeviceEvent,
    EncryptedBody,
    PushedPunch,
    parse_quarantined,
)
from zk_pipeline_tests.devices.push.push_bodies import parsed, parsed_bytes

AT = datetime(2026, 3, 2, 8, 41, 7)
TIME = "2026-03-02 08:41:07"


def punch(
    user_id: str = "104", state: int = 0, verify: int = 1, work_code: int | None = 0, offset: int | None = None
) -> PushedPunch:
    return PushedPunch(user_id, AT, state, verify, work_code, offset)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"104\t{TIME}", punch(state=255, verify=255, work_code=None)),
        (f"104\t{TIME}\t0", punch(verify=255, work_code=None)),
        (f"104\t{TIME}\t0\t1", punch(work_code=None)),
        (f"104\t{TIME}\t1\t15\t0\t0\t0", punch(state=1, verify=15)),
        (f"104\t{TIME}\t1\t15\t77\t0\t0\t", punch(state=1, verify=15, work_code=77)),
        (f"104\t{TIME}\t255\t25\t\t\t", punch(state=255, verify=25, work_code=None)),
        (f"104\t{TIME}\t0\t1\t0\t0\t0\t255\t36.2\t97.1", punch()),
        (f"104\t{TIME}\t0\t1\t0\t0\t0\t0\t0\t0\t+28800\teyJHUFNJbmZvIjp7fX0=", punch(offset=28800)),
        (f"104\t{TIME}\t0\t1\t0\t0\t0\t0\t0\t0\t-12600\t", punch(offset=-12600)),
        (f"104\t{TIME}\t0\t1\t0\t0\t0\t0\t0\t0\t\t", punch()),
        (f"104\t{TIME}\t0\t1\t0\t0\t0\t0\t0\t0\t9999999\t", punch()),
        (f"104\t{TIME}\t0\t1\t0\t0\t0\t1\t2\t3\t4\t5\t6\t7\t8\t9", punch()),
        (f"104\t{TIME}\t0\t1\t0\t0\t0\t290010112345678\t0", punch()),
    ],
    ids=lambda value: f"{value.count(chr(9)) + 1} fields" if isinstance(value, str) else "",
)
def test_a_line_has_two_to_sixteen_fields(line: str, expected: PushedPunch) -> None:
    assert parsed("ATTLOG", line).punches == [expected]


@pytest.mark.parametrize(
    "line",
    [
        f"104 {TIME} 0 1 0 0 0",
        f"     104  {TIME}  0   1  0",
        f"104 {TIME.replace(' ', 'T')} 0 1 0",
        f"   104\t{TIME}\t0\t1\t0",
        f"104\t{TIME} \t 0\t1 \t0",
        f"PIN=104\tDateTime={TIME}\tStatus=0\tVerify=1\tWorkCode=0",
        f"Verify=1\tpin=104\tSTATUS=0\tTime={TIME}\tworkcode=0",
        f"transaction cardno=\tpin=104\tverified=1\ttime={TIME}\tstatus=0\tworkcode=0",
    ],
)
def test_fields_between_blanks_and_pairs_are_read_as_well(line: str) -> None:
    assert parsed("ATTLOG", line).punches == [punch()]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b"\r", b"\n\0\n", b" \n"])
def test_lines_end_in_any_way(end: bytes) -> None:
    line = f"104\t{TIME}\t0\t1\t0".encode()
    upload = parsed_bytes("ATTLOG", line + end + line + end)
    assert upload.punches == [punch(), punch()]
    assert (upload.lines, upload.acknowledged) == (2, "OK: 2")


def test_a_nul_in_a_line_is_no_part_of_its_text() -> None:
    assert parsed_bytes("ATTLOG", f"104\0\t{TIME}\t0\t1\t0\0\0\n\0".encode()).punches == [punch()]


@pytest.mark.parametrize("user_id", ["00104", "A-104", "1" * 24, "99999999999999", "é104", "张三", "0"])
def test_a_user_id_is_text_with_its_leading_zeros(user_id: str) -> None:
    assert parsed("ATTLOG", f"{user_id}\t{TIME}\t0\t1\t0").punches == [punch(user_id)]


@pytest.mark.parametrize(
    ("encoding", "sent"), [("cp1256", "cp1256"), ("gb18030", "gb18030"), ("UTF-8", "utf-8"), ("GBK", "gb18030")]
)
def test_a_user_id_is_read_in_the_encoding_of_the_device_or_utf_8(encoding: str, sent: str) -> None:
    user_id = "موظف" if sent == "cp1256" else "王芳"
    body = f"{user_id}\t{TIME}\t0\t1\t0".encode(sent)
    assert parsed_bytes("ATTLOG", body, encoding=encoding).punches == [punch(user_id)]


@pytest.mark.parametrize("sent", ["王芳".encode("gb18030"), "ŞEN1".encode("cp1254")])
def test_a_user_id_in_another_encoding_is_not_guessed_and_can_be_released_with_the_right_one(sent: bytes) -> None:
    upload = parsed_bytes("ATTLOG", sent + f"\t{TIME}\t0\t1\t0".encode())
    assert upload.punches == []
    ((raw, reason),) = upload.rejected
    assert reason.startswith("the user id is no text in UTF-8: correct the encoding of the device")
    released = [
        parse_quarantined("ATTLOG", raw, encoding=encoding, punch_events=()) for encoding in ("UTF-8", "cp1254")
    ]
    assert [len(one) for one in released] == [0, 1]


@pytest.mark.parametrize("line", [b"1\x002\t", b"\x001\x00\x002 \t"])
def test_a_nul_inside_of_a_user_id_is_not_removed_to_make_another_one(line: bytes) -> None:
    upload = parsed_bytes("ATTLOG", line + f"{TIME}\t0\t1\t0".encode())
    assert (upload.punches, [reason for _, reason in upload.rejected]) == ([], ["a NUL byte is inside of a field"])


@pytest.mark.parametrize(("sent", "state"), [("-1", 255), ("256", 255), ("", 255), ("007", 7), ("5", 5)])
def test_a_state_out_of_range_is_undefined(sent: str, state: int) -> None:
    assert parsed("ATTLOG", f"104\t{TIME}\t{sent}\t1\t0").punches == [punch(state=state)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("104\t2026-02-31 08:00:00\t0\t1", "impossible date '2026-02-31 08:00:00'"),
        ("104\t2026-03-02 24:00:00\t0\t1", "impossible date '2026-03-02 24:00:00'"),
        ("104\t0000-00-00 00:00:00\t0\t1", "impossible date '0000-00-00 00:00:00'"),
        ("104\t1999-12-31 08:00:00\t0\t1", "impossible date 1999-12-31 08:00:00: the years 2000 to 2099 are possible"),
        ("104\t2026-W10-1T08:00:00\t0\t1", "time '2026-W10-1T08:00:00' is not YYYY-MM-DD hh:mm:ss"),
        ("104\t2026-03-02T08+01:00\t0\t1", "time '2026-03-02T08+01:00' is not YYYY-MM-DD hh:mm:ss"),
        ("104\t\t0\t1", "time '' is not YYYY-MM-DD hh:mm:ss"),
        (f"\t{TIME}\t0\t1", "the user id is empty"),
        (f"   \t{TIME}\t0\t1", "the user id is empty"),
        (f"1\x01\t{TIME}\t0\t1", "the user id is no text"),
        (f"{'1' * 33}\t{TIME}\t0\t1", "the user id has 33 characters, at most 32 are possible"),
        (f"104\t{TIME}\tx\t1", "state 'x' is no number"),
        ("garbage", "1 field, at least a user id and a time are expected"),
        (f"104\t{TIME}" + "\t0" * 15, "17 fields, at most 16 are known"),
        (f"PIN=\tDateTime={TIME}", "the user id is empty"),
        ("PIN=104", "time '' is not YYYY-MM-DD hh:mm:ss"),
    ],
)
def test_an_unreadable_line_is_kept_with_its_reason_and_never_rejects_its_batch(line: str, reason: str) -> None:
    good = f"104\t{TIME}\t0\t1\t0"
    upload = parsed("ATTLOG", good, line, good)
    assert upload.punches == [punch(), punch()]
    assert upload.rejected == [(line.encode(), reason)]
    assert (upload.lines, upload.acknowledged) == (3, "OK: 3")


def test_bytes_that_are_no_text_reject_one_line_only() -> None:
    good, bad = f"104\t{TIME}\t0\t1\t0".encode(), b"\xff\xfe\x81\t2026-03-02 08:00:00\t0\t1"
    upload = parsed_bytes("ATTLOG", good + b"\n" + bad)
    assert (upload.punches, [one.raw for one in upload.rejected]) == ([punch()], [bad])


def test_one_poison_line_alone_goes_to_quarantine_instead_of_coming_again() -> None:
    assert len(parsed_bytes("ATTLOG", b"1\x01\x02\t2026-03-02 08:00:00\t0\t1\n").rejected) == 1
    assert len(parsed("ATTLOG", "张三李四\t2026-02-31 08:00:00\t0\t1").rejected) == 1


def test_a_check_of_an_identity_card_is_an_event_without_the_number_of_the_card() -> None:
    upload = parsed(
        "ATTLOG", f"104\t{TIME}\t2\t1\t0\t0\t0\t290010112345678\t1", f"104\t{TIME}\t0\t1\t0\t0\t0\t29001\t0"
    )
    assert upload.events == [DeviceEvent(2, "104", AT, "identity card\t1", is_operation=False)]
    assert upload.punches == [punch()]
    assert "290010112345678" not in repr(upload)


def test_an_empty_body_has_no_lines() -> None:
    upload = parsed_bytes("ATTLOG", b"")
    assert (upload.lines, upload.acknowledged, upload.punches) == (0, "OK: 0", [])


@pytest.mark.parametrize(
    "body",
    [
        b"LZO1\x10\x00\x00\x00" + b"104\t2026-03-02",
        bytes((number * 73 + 11) % 256 for number in range(512)),
        b"\x1f\x8b\x08\x00" + bytes((number * 151 + 7) % 256 for number in range(400)),
    ],
)
def test_an_encrypted_body_is_not_acknowledged(body: bytes) -> None:
    for table in ("ATTLOG", "RTLOG", "TABLEDATA:transaction"):
        with pytest.raises(EncryptedBody, match=f"{len(body)} bytes of table {table} are no text"):
            parsed_bytes(table, body)


def test_a_released_line_gives_its_punch() -> None:
    def released(record_format: str, raw: bytes) -> list[PushedPunch]:
        return parse_quarantined(record_format, raw, encoding="UTF-8", punch_events=DEFAULT_PUNCH_EVENTS)

    assert released("ATTLOG", f"104\t{TIME}\t0\t1\t0".encode()) == [punch()]
    assert released("RTLOG", f"time={TIME}\tpin=104\tevent=0\tinoutstatus=1".encode()) == [punch("104", 1, 255, None)]
    assert released("ATTLOG", b"104\t2026-02-31 08:00:00") == []
    assert released("ATTLOG", bytes(range(128, 256))) == []
    assert released("NEW_TABLE", f"104\t{TIME}\t0\t1\t0".encode()) == []
    assert released("BIODATA", b"BIODATA Pin=1") == []
    assert released("OPERLOG", b"\x1f\x8b") == []


@pytest.mark.stress
def test_a_hundred_thousand_lines_are_all_read() -> None:
    body = b"".join(
        b"%05d\t2026-03-%02d 08:%02d:00\t0\t15\t0\n" % (n % 500, n % 28 + 1, n % 60) for n in range(100_000)
    )
    upload = parsed_bytes("ATTLOG", body)
    assert (len(upload.punches), upload.acknowledged) == (100_000, "OK: 100000")
