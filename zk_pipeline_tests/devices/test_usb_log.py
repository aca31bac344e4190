"""Logs from USB sticks: each published form, and detection of the column order without a guess."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zk_pipeline.devices.usb_log import Order, UsbLog, parse_usb_log, serial_number_in_name
from zk_pipeline.errors import UsageError

AT = datetime(2026, 11, 2, 8, 30, 15)  # noqa: DTZ001 (wall clock)


def parsed(text: str, name: str = "1_attlog.dat", order: Order | None = None) -> UsbLog:
    return parse_usb_log(PurePath(name), text.encode(), encoding="UTF-8", order=order)


def meaning(text: str, name: str = "log.dat", order: Order | None = None) -> tuple[object, ...]:
    """Order of the log, and user, state, verification and work code of its only punch, which is at AT."""
    log = parsed(text, name, order)
    (punch,) = log.punches
    assert (punch.punched_at_local, log.unreadable) == (AT, [])
    return (log.order, punch.user_id, punch.punch_state, punch.verify_type, punch.work_code)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("        5\t2026-11-02 08:30:15\t1\t0\t1\t0\r\n", "1_attlog.dat", ("usb", "5", 0, 1, 0)),
        ("        5\t2026-11-02 08:30:15\t1\t1\t15\t3\n", "CGKK223862906_attlog.dat", ("usb", "5", 1, 15, 3)),
        ("101 2026-11-02 08:30:15 1 255 1 0\n", "1_attlog.dat", ("usb", "101", 255, 1, 0)),
        ("0007\t2026-11-02 08:30:15\t12\t0\t1\t0\n", "dock.txt", ("usb", "0007", 0, 1, 0)),
        ("5\t2026-11-02 08:30:15\t0\t15\t0\t0\t0\n", "log.txt", ("push", "5", 0, 15, 0)),
        ("5\t2026-11-02 08:30:15\t255\t1\t0\t0\t0\t36.5\n", "log.txt", ("push", "5", 255, 1, 0)),
        ("5\t2026-11-02 08:30:15\t0\t25\n", "log.txt", ("push", "5", 0, 25, None)),
        ("5\t2026-11-02 08:30:15\t15\t1\t0\n", "log.txt", ("verify-first", "5", 1, 15, 0)),
        ("5\tKravchen\t2026-11-02 08:30:15\t1\t1\n", "attlog.dat", ("push", "5", 1, 1, None)),
        ("2026-11-02 08:30:15\t5\t1\t1\n", "log.txt", ("push", "5", 1, 1, None)),
        ("5\t2026-11-02 08:30:15\n", "log.txt", (None, "5", 255, 255, None)),
        ("A-17\t2026/11/02 08:30:15\t1\t1\n", "log.txt", ("push", "A-17", 1, 1, None)),
        ("5\t2026-11-02T08:30:15\t1\t1\n", "log.txt", ("push", "5", 1, 1, None)),
    ],
)
def test_each_published_form_is_read_by_its_own_order(text: str, name: str, expected: tuple[object, ...]) -> None:
    assert meaning(text, name) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("5\t2026-11-02 08:30:15\t1\t0\t0\n", "1_attlog.dat"),  # state 1 or verification 1
        ("5\t2026-11-02 08:30:15\t1\t0\t1\t0\n", "november.dat"),  # device 1 or state 1
        ("5\t2026-11-02 08:30:15\t1\n", "1_attlog.dat"),
    ],
)
def test_a_log_that_fits_several_orders_is_refused_until_the_order_is_named(text: str, name: str) -> None:
    with pytest.raises(UsageError, match=r"line 1: .* fit several orders: .*name the right one with --order"):
        parsed(text, name)
    assert parsed(text, name, "push").punches[0].punch_state == 1


def test_numbers_with_the_same_meaning_in_each_order_need_no_order() -> None:
    assert meaning("5\t2026-11-02 08:30:15\t1\t1\t0\n", "log.txt") == ("push", "5", 1, 1, 0)


def test_one_line_can_decide_for_the_whole_log() -> None:
    """Face (15) is no state, so the column that has it once is the verification in all lines."""
    log = parsed("5\t2026-11-02 08:30:15\t1\t0\t0\n6\t2026-11-02 08:31:00\t15\t1\t0\n", "log.txt")
    assert (log.order, [(one.punch_state, one.verify_type) for one in log.punches]) == (
        "verify-first",
        [(0, 1), (1, 15)],
    )


def test_a_line_that_was_cut_off_does_not_change_the_order_of_the_others() -> None:
    log = parsed("5\t2026-11-02 08:30:15\t1\t0\t1\t0\n" * 2 + "5\t2026-11-02 08:31:15\t1\t0\t1")
    assert (log.order, len(log.punches)) == ("usb", 2)
    assert [(one.line, one.reason[:32]) for one in log.unreadable] == [(3, "it has 3 numbers after the time,")]


def test_a_log_of_several_terminals_is_refused() -> None:
    two = "5\t2026-11-02 08:30:15\t1\t0\t1\t0\n5\t2026-11-02 08:30:15\t2\t0\t1\t0\n"
    with pytest.raises(UsageError, match="device numbers 1, 2: import the log of each terminal on its own"):
        parsed(two)


def test_numbers_that_fit_no_order_are_refused_with_the_lines() -> None:
    with pytest.raises(UsageError, match=r"fit no known order .*line 1: '5"):
        parsed("5\t2026-11-02 08:30:15\t77\t78\t0\n", "log.txt")


def test_a_serial_number_before_and_a_checksum_after_the_punches_are_no_punches() -> None:
    log = parsed("SN=3066153500068\r\n5\t2026-11-02 08:30:15\t1\t0\t1\t0\r\nCheckSum=4711\r\n")
    assert (log.serial_number, len(log.punches), log.unreadable) == ("3066153500068", 1, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("garbage line", "no time such as"),
        ("5\t2026-02-30 08:30:15\t1\t0\t1\t0", "2026-02-30 08:30:15 is no time"),
        ("\t2026-11-02 08:30:15\t1\t0\t1\t0", "no user"),
        ("         \t2026-11-02 08:30:15\t1\t0\t1\t0", "no user"),
        ("2026-11-02 08:30:15\t1\t0\t1\t0", "no user"),
        ("2026-11-02 08:30:15", "no user"),
        ("5\t02.11.2026 08:30:15\t1\t0\t1\t0", "no time such as"),
        ("5\t2026-11-02 08:30:15\t1\t0\t1", "3 numbers after the time, not 4"),
        (f"{'5' * 40}\t2026-11-02 08:30:15\t1\t0\t1\t0", "is no user id"),
    ],
)
def test_an_unreadable_line_is_named_by_number_and_reason(line: str, reason: str) -> None:
    log = parsed(f"5\t2026-11-02 08:30:15\t1\t0\t1\t0\n\n{line}\n", order="usb")
    assert [(one.line, one.raw) for one in log.unreadable] == [(3, line.encode())]
    assert reason in log.unreadable[0].reason
    assert [one.line for one in log.punches] == [1]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"MZ\x90\0\3\0", b"id,name\n1,Ada\n"])
def test_content_without_a_punch_is_no_log(content: bytes) -> None:
    with pytest.raises(UsageError, match="it is no log of punches"):
        parse_usb_log(PurePath("user.dat"), content, encoding="UTF-8")


@pytest.mark.parametrize(
    ("name", "serial"),
    [
        ("CGKK223862906_attlog.dat", "CGKK223862906"),
        ("3066153500068_attlog.dat", "3066153500068"),
        ("1_attlog.dat", None),
        ("attlog.dat", None),
        ("november.dat", None),
    ],
)
def test_the_serial_number_is_read_from_the_name(name: str, serial: str | None) -> None:
    assert serial_number_in_name(PurePath("/media/stick") / name) == serial


def test_text_in_utf_16_is_read_as_well() -> None:
    content = "5\t2026-11-02 08:30:15\t1\t0\t1\t0\r\n".encode("utf-16")
    assert len(parse_usb_log(PurePath("1_attlog.dat"), content, encoding="UTF-8").punches) == 1


GLOG = "1\t1\t00000005\tAda\t0\t1\t2026/11/02  08:30:15\r\n2\t1\t00000006\t\t1\t1\t2026/11/02  08:31:00\r\n"


@pytest.mark.parametrize("header", ["", "No\tTMNo\tEnNo\tName\tINOUT\tMode\tDateTime\r\n"])
@pytest.mark.parametrize("separator", ["\t", " ", ",", ";"])
def test_a_row_number_is_never_read_as_a_user(header: str, separator: str) -> None:
    log = (header + GLOG).replace("\t", separator)
    with pytest.raises(UsageError, match=r"line [12]: it has several columns before the time.*--format csv --columns"):
        parsed(log)
    mixed = parsed(f"5\t2026-11-02 08:30:15\n{log}")
    assert [one.user_id for one in mixed.punches] == ["5"]
    assert len(mixed.unreadable) == log.count("\n")


@given(content=st.binary(max_size=200) | st.text("0123456789-: \t\n", max_size=200).map(str.encode))
def test_no_content_raises_anything_but_a_usage_error_and_each_line_is_accounted_for(content: bytes) -> None:
    try:
        log = parse_usb_log(PurePath("1_attlog.dat"), content, encoding="UTF-8")
    except UsageError:
        return
    numbers = [*(one.line for one in log.punches), *(one.line for one in log.unreadable)]
    assert len(numbers) == len(set(numbers))
