"""Emulated terminals of families A and B: requests of each step as the specifications have them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.push.profiles import LEGACY_4, LEGACY_5, PUSH_2_2, PUSH_2_4, PUSH_2_4_2, TFT_3, PushProfile
from zk_pipeline_tests.simulator.push.push_fixtures import FIRST_PUNCH, pushing_terminal
from zk_pipeline_tests.simulator.push.recording_receiver import RecordingReceiver


def test_the_hello_comes_first_and_names_serial_number_and_version(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url)
    assert terminal.cycle()
    first = receiver.requests[0]
    assert (first.method, first.path) == ("GET", "/iclock/cdata")
    assert first.parameters == {"SN": terminal.serial_number, "options": "all", "language": "69", "pushver": "2.2.14"}
    assert first.headers["connection"] == "close"
    assert first.headers["user-agent"] == "iClock Proxy/1.09"


def test_the_address_may_have_a_secret_prefix(receiver: RecordingReceiver) -> None:
    assert pushing_terminal(f"{receiver.url}/s3cret/").cycle()
    assert {one.path.removesuffix(one.endpoint) for one in receiver.requests} == {"/s3cret/iclock/"}


@pytest.mark.parametrize("url", ["https://127.0.0.1:1", "127.0.0.1:8081", "http://", "http://h:x"])
def test_an_address_that_terminals_cannot_use_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="receiver address"):
        pushing_terminal(url)


@pytest.mark.parametrize(
    "answer",
    [
        (503, "store is busy"),
        (200, "UNKNOWN DEVICE"),
        (200, "GET OPTION FROM: SN\nDelay=10\n"),  # the literal SN of a receiver that does not fill it in
        (200, "OK"),
    ],
)
def test_nothing_is_uploaded_before_a_hello_is_accepted(receiver: RecordingReceiver, answer: tuple[int, str]) -> None:
    receiver.answer = lambda _: answer
    terminal = pushing_terminal(receiver.url, punches=3)
    assert not terminal.cycle()
    assert len(receiver.requests) == 1
    assert terminal.log.pending_count == 3


@pytest.mark.parametrize(
    ("profile", "line"),
    [
        (LEGACY_4, b"1001\t2026-03-02 07:59:50\t0\t1"),
        (LEGACY_5, b"1001\t2026-03-02 07:59:50\t0\t1\t0"),
        (PUSH_2_2, b"1001\t2026-03-02 07:59:50\t0\t1\t0\t0\t0"),
        (PUSH_2_4, b"1001\t2026-03-02 07:59:50\t0\t1\t0\t0\t0\t0\t36.5\t0"),
        (PUSH_2_4_2, b"1001\t2026-03-02 07:59:50\t0\t1\t0\t0\t0\t0\t36.5\t0\t+10800\t"),
        (TFT_3, b"1001\t2026-03-02 07:59:50\t0\t1\t0" + b"\t0" * 11),
    ],
)
def test_punch_lines_have_the_fields_of_their_firmware(
    receiver: RecordingReceiver, profile: PushProfile, line: bytes
) -> None:
    terminal = pushing_terminal(receiver.url, profile=profile, punches=1)
    terminal.hello()
    assert terminal.upload() == 1
    assert receiver.uploads()[0].body == line + b"\n"


def test_a_backlog_goes_in_batches_and_new_punches_one_by_one(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=300)
    terminal.hello()
    assert terminal.upload() == 300
    for n in range(2):
        terminal.punch("1002", FIRST_PUNCH + timedelta(hours=1, seconds=n))
    assert terminal.upload() == 2
    assert [len(one.lines) for one in receiver.uploads()] == [128, 128, 44, 1, 1]


def test_punches_from_before_a_hello_are_a_backlog(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url)
    for n in range(3):
        terminal.punch("1002", FIRST_PUNCH + timedelta(seconds=n))
    terminal.hello()
    terminal.upload()
    assert [len(one.lines) for one in receiver.uploads()] == [3]


def test_a_refused_upload_stays_in_the_log_and_is_sent_again_as_a_batch(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url)
    terminal.hello()
    receiver.answer = lambda one: (503, "busy") if one.parameters.get("table") == "ATTLOG" else None
    for n in range(3):
        terminal.punch("1002", FIRST_PUNCH + timedelta(seconds=n))
        assert terminal.upload() == 0
    receiver.answer = lambda _: None
    assert terminal.upload() == 3
    assert [len(one.lines) for one in receiver.uploads()] == [1, 1, 2, 3]


def test_firmware_2_4_sends_a_batch_again_until_its_lines_are_counted(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, profile=PUSH_2_4, punches=2)
    terminal.hello()
    texts = iter(["OK", "OK: 1", "OK:2\n"])
    receiver.answer = lambda one: (200, next(texts)) if one.parameters.get("table") == "ATTLOG" else None
    assert [terminal.upload() for _ in range(3)] == [0, 0, 2]


@pytest.mark.parametrize(
    ("profile", "stamps"),
    [
        (LEGACY_4, ["82983984", "82983985"]),
        (PUSH_2_2, ["82983984", "82983985"]),
        (PUSH_2_4, ["9999", "9999"]),
        (TFT_3, ["2026-03-02T07:59:57", "2026-03-02T08:00:04"]),
    ],
)
def test_stamps_have_the_form_of_their_firmware(
    receiver: RecordingReceiver, profile: PushProfile, stamps: list[str]
) -> None:
    terminal = pushing_terminal(receiver.url, profile=profile, punches=3, batch_lines=2)
    terminal.hello()
    terminal.upload()
    assert [one.parameters["Stamp"] for one in receiver.uploads()] == stamps


@pytest.mark.parametrize(
    ("profile", "stamp", "sent"),
    [
        (PUSH_2_2, "ATTLOGStamp=82983984", 2),  # after the second of four
        (PUSH_2_2, "ATTLOGStamp=0", 4),
        (PUSH_2_2, "ATTLOGStamp=None", 4),
        (PUSH_2_2, "", 4),
        (PUSH_2_2, "ATTLOGStamp=1772438400", 0),  # made up: everything counts as sent
        (PUSH_2_2, "AttLogStamp=82983984", 4),  # a name that no firmware reads
        (LEGACY_4, "Stamp=82983984", 2),
        (LEGACY_4, "ATTLOGStamp=82983984", 4),
        (TFT_3, "ATTLOGStamp=2026-03-02T07:59:57", 3),  # that second again, and what is newer
        (TFT_3, "ATTLOGStamp=2026-03-02T12:00:00", 0),
        (PUSH_2_4, "ATTLOGStamp=9999", 0),
        (PUSH_2_4, "ATTLOGStamp=None", 0),
        (PUSH_2_4, "ATTLOGStamp=0", 4),
    ],
)
def test_a_hello_resumes_where_the_stamp_of_the_receiver_says(
    receiver: RecordingReceiver, profile: PushProfile, stamp: str, sent: int
) -> None:
    terminal = pushing_terminal(receiver.url, profile=profile, punches=4)
    terminal.hello()
    assert terminal.upload() == 4
    receiver.options = f"{stamp}\nDelay=10\n"
    terminal.hello()
    assert terminal.upload() == sent


def test_users_and_operations_are_uploaded_without_passwords(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, encoding="gb18030")
    assert terminal.cycle()
    (upload,) = receiver.uploads("OPERLOG")
    assert upload.parameters["OpStamp"] == "9999"
    assert upload.lines[0] == b"OPLOG 0\t0\t2026-03-02 15:00:00\t0\t0\t0\t0"
    assert upload.lines[2].decode("gb18030") == "USER PIN=1001\tName=李娜 0\tPri=0\tPasswd=\tCard=\tGrp=1\tTZ=0"
    assert len(upload.lines) == 7
    terminal.upload()
    assert len(receiver.uploads("OPERLOG")) == 1


def test_a_stamp_of_0_makes_the_terminal_upload_its_operations_again(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url)
    for stamp in ("9999", "0"):
        receiver.options = f"OPERLOGStamp={stamp}\n"
        terminal.hello()
        terminal.upload()
    first, again = receiver.uploads("OPERLOG")
    assert first.body == again.body


@pytest.mark.parametrize(
    ("flag", "tables"),
    [
        ("TransData AttLog\tOpLog", ["OPERLOG", "ATTLOG"]),
        ("TransData AttLog", ["ATTLOG"]),
        ("TransData OpLog", ["OPERLOG"]),
        ("1100000000", ["OPERLOG", "ATTLOG"]),
        ("1000000000", ["ATTLOG"]),
        ("0000000000", []),
    ],
)
def test_only_the_tables_of_the_transfer_flag_are_uploaded(
    receiver: RecordingReceiver, flag: str, tables: list[str]
) -> None:
    receiver.options = f"TransFlag={flag}\n"
    pushing_terminal(receiver.url, punches=1).cycle()
    sent = [one for one in receiver.requests if "table" in one.parameters]
    assert [one.parameters["table"] for one in sent] == tables
    assert not any(line.startswith(b"USER ") for one in sent for line in one.lines)


def test_options_are_sent_if_the_receiver_asks_for_them(receiver: RecordingReceiver) -> None:
    pushing_terminal(receiver.url, profile=PUSH_2_4).cycle()
    assert receiver.uploads("options") == []
    receiver.options += "PushOptionsFlag=1\n"
    terminal = pushing_terminal(receiver.url, profile=PUSH_2_4)
    terminal.cycle()
    (upload,) = receiver.uploads("options")
    assert upload.body.startswith(f"~SerialNumber={terminal.serial_number},".encode())


def test_the_first_request_for_commands_after_a_hello_has_the_counters(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=5)
    terminal.cycle()
    terminal.ask()
    first, second = receiver.at("getrequest")
    assert first.parameters["INFO"].split(",")[1:4] == ["3", "0", "5"]
    assert "INFO" not in second.parameters


def test_the_delays_are_those_of_the_option_block(receiver: RecordingReceiver) -> None:
    receiver.options = "ErrorDelay=42\nDelay=7\n"
    terminal = pushing_terminal(receiver.url)
    assert (terminal.delay_seconds, terminal.error_delay_seconds) == (10, 30)
    terminal.hello()
    assert (terminal.delay_seconds, terminal.error_delay_seconds) == (7, 42)


def test_a_full_log_drops_its_oldest_records_uploaded_or_not(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=10, record_capacity=4)
    terminal.hello()
    assert terminal.log.lost_count == 6
    assert terminal.upload() == 4
    terminal.punch("1001")
    assert terminal.log.lost_count == 6
    assert terminal.upload() == 1


def test_a_ping_has_only_the_serial_number(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url)
    assert terminal.ping().is_success
    assert receiver.at("ping")[0].parameters == {"SN": terminal.serial_number}
