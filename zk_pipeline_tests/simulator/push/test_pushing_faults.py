"""Faults of emulated pushing terminals, as a receiver sees them."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from zk_pipeline.simulator.push.faults import PushFaults, Separator
from zk_pipeline.simulator.push.profiles import PUSH_2_4, PUSH_2_4_2
from zk_pipeline.simulator.push.wire import ReceiverAddress, parse_answer
from zk_pipeline_tests.simulator.push.push_fixtures import pushing_terminal
from zk_pipeline_tests.simulator.push.recording_receiver import RecordingReceiver
from zk_pipeline_tests.waiting import until


def test_a_lost_answer_makes_the_terminal_send_the_same_lines_again(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=3)
    terminal.hello()
    terminal.upload()
    terminal.punch("1001")
    terminal.faults.lost_answers = 2
    assert [terminal.upload() for _ in range(3)] == [0, 0, 1]
    assert terminal.last_answer.is_success
    bodies = [one.body for one in receiver.uploads()[1:]]
    assert len(bodies) == 3
    assert len(set(bodies)) == 1


def test_a_terminal_without_an_answer_says_hello_again(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=3)
    terminal.cycle()
    terminal.punch("1001")
    terminal.faults.lost_answers = 1
    assert not terminal.cycle()
    assert terminal.last_answer.error == "answer lost"
    assert terminal.cycle()
    assert [one.endpoint for one in receiver.requests[-4:]] == ["cdata", "cdata", "cdata", "getrequest"]
    assert "options" in receiver.requests[-3].parameters


def test_an_unread_answer_counts_as_none_although_the_request_was_complete(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=3, faults=PushFaults())
    terminal.cycle()
    terminal.punch("1001")
    terminal.faults.unread_answers = 1
    assert terminal.upload() == 0
    assert terminal.last_answer.error == "connection closed before the answer"
    assert terminal.upload() == 1


def test_half_a_body_ends_within_a_line(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=3)
    terminal.hello()
    terminal.operations_sent()
    terminal.faults.half_bodies = 1
    assert terminal.upload() == 0
    assert terminal.upload() == 3
    until(lambda: len(receiver.uploads()) == 2)
    half, whole = sorted(receiver.uploads(), key=lambda one: len(one.body))
    assert half.length == whole.length == len(whole.body)
    assert half.body == whole.body[: len(whole.body) // 2]


def test_a_batch_is_sent_220_times_although_acknowledged(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=2, faults=PushFaults(repeats=220))
    terminal.hello()
    terminal.operations_sent()
    assert terminal.upload() == 2
    assert len(receiver.uploads()) == 220
    assert len({one.body for one in receiver.uploads()}) == 1


def test_a_constant_stamp_is_in_every_upload_and_the_terminal_keeps_its_own_position(
    receiver: RecordingReceiver,
) -> None:
    terminal = pushing_terminal(receiver.url, punches=3, batch_lines=1, faults=PushFaults(stamp="9999"))
    terminal.cycle()
    receiver.options = "ATTLOGStamp=0\n"
    terminal.hello()
    assert terminal.upload() == 0
    assert [one.parameters["Stamp"] for one in receiver.uploads()] == ["9999"] * 3


def test_every_hello_is_repeated(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, faults=PushFaults(hellos=3))
    assert terminal.connect()
    assert len(receiver.requests) == 3


def test_all_requests_can_have_the_serial_number_of_another_terminal(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=1, faults=PushFaults(serial_number="CEXA0000001"))
    assert terminal.cycle()
    assert {one.parameters["SN"] for one in receiver.requests} == {"CEXA0000001"}


def test_essl_firmware_appends_aspx_to_every_path(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda one: (200, f"GET OPTION FROM: {one.parameters['SN']}\n") if one.method == "GET" else None
    pushing_terminal(receiver.url, punches=1, faults=PushFaults(suffix=".aspx")).cycle()
    assert {one.endpoint for one in receiver.requests} == {"cdata.aspx", "getrequest.aspx"}


def test_parameter_names_can_be_in_lower_case(receiver: RecordingReceiver) -> None:
    receiver.answer = lambda one: (200, f"GET OPTION FROM: {one.parameters['sn']}\n") if one.method == "GET" else None
    pushing_terminal(receiver.url, punches=1, faults=PushFaults(has_lower_case_names=True)).cycle()
    (upload,) = receiver.uploads()
    assert upload.parameters.keys() == {"sn", "table", "stamp"}


@pytest.mark.parametrize(
    ("separator", "line"),
    [
        ("tab", b"1001\t2026-03-02 07:59:50\t0\t1\t0\t0\t0"),
        ("space", b"1001 2026-03-02 07:59:50 0 1 0 0 0"),
        ("pairs", b"PIN=1001\tDateTime=2026-03-02 07:59:50\tStatus=0\tVerify=1\tWorkcode=0"),
    ],
)
def test_fields_are_separated_as_the_firmware_does(
    receiver: RecordingReceiver, separator: Separator, line: bytes
) -> None:
    faults = PushFaults(separator=separator, line_end=b"\r\n")
    terminal = pushing_terminal(receiver.url, punches=1, faults=faults)
    terminal.hello()
    terminal.upload()
    assert receiver.uploads()[0].body == line + b"\r\n"


def test_the_offset_of_a_line_can_be_empty(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(
        receiver.url, profile=PUSH_2_4_2, punches=1, faults=PushFaults(has_empty_offset=True)
    )  # fmt: skip
    terminal.hello()
    terminal.upload()
    assert receiver.uploads()[0].body.endswith(b"\t36.5\t0\t\t\n")


def test_broken_lines_and_nuls_are_part_of_a_batch(receiver: RecordingReceiver) -> None:
    faults = PushFaults(broken_lines=(b"garbage", b"\xff\xfe"), has_nul=True)
    terminal = pushing_terminal(receiver.url, profile=PUSH_2_4, punches=1, faults=faults)
    terminal.hello()
    assert terminal.upload() == 1
    (upload,) = receiver.uploads()
    assert upload.body.endswith(b"\t0\0\ngarbage\n\xff\xfe\n")


def test_requests_of_http_1_0_have_no_host(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=1, faults=PushFaults(http_version="1.0"))
    assert terminal.cycle()
    assert {one.version for one in receiver.requests} == {"HTTP/1.0"}
    assert not any({"host", "connection"} & one.headers.keys() for one in receiver.requests)


def test_a_slow_client_sends_byte_by_byte(receiver: RecordingReceiver) -> None:
    pauses: list[float] = []
    terminal = pushing_terminal(receiver.url, faults=PushFaults(bytes_per_second=100_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zk_pipeline.simulator.push.wire.time.sleep", pauses.append)
        assert terminal.ping().is_success
    assert len(pauses) > 150
    assert set(pauses) == {1 / 100_000}


def test_a_photo_is_binary_after_a_nul(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url)
    picture = bytes(range(256))
    assert terminal.send_photo("1001", picture).is_success
    (upload,) = receiver.uploads("ATTPHOTO")
    head, _, tail = upload.body.partition(b"\0")
    assert tail == picture
    assert head.splitlines() == [
        b"PIN=20260302150000-1001.jpg", b"SN=" + terminal.serial_number.encode(), b"size=256", b"CMD=uploadphoto",
    ]  # fmt: skip


def test_a_batch_can_have_a_megabyte(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=30_000, batch_lines=30_000)
    terminal.hello()
    assert terminal.upload() == 30_000
    (upload,) = receiver.uploads()
    assert len(upload.body) > 1_000_000


def test_any_table_can_be_uploaded(receiver: RecordingReceiver) -> None:
    assert pushing_terminal(receiver.url).send_table("SELFSERVICEDATA", b"x=1\n").is_success
    assert receiver.uploads("SELFSERVICEDATA")[0].body == b"x=1\n"


@pytest.mark.parametrize(("is_listening", "error"), [(False, "ConnectionRefusedError"), (True, "TimeoutError")])
def test_a_receiver_that_is_gone_leaves_everything_on_the_terminal(
    receiver: RecordingReceiver, is_listening: bool, error: str
) -> None:
    terminal = pushing_terminal(receiver.url, punches=2)
    assert terminal.connect()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if is_listening:
            silent.listen()
        terminal.receiver = ReceiverAddress("127.0.0.1", silent.getsockname()[1])
        terminal.timeout_seconds = 0.02
        assert terminal.upload() == 0
    assert terminal.last_answer.status == 0
    assert terminal.last_answer.error.startswith(error)
    assert terminal.log.pending_count == 2
    assert not terminal.is_connected


@pytest.mark.parametrize("data", [b"garbage\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nOK"])
def test_an_answer_that_is_no_complete_answer_counts_as_none(data: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        terminal = pushing_terminal(f"http://127.0.0.1:{server.getsockname()[1]}")
        with ThreadPoolExecutor(1) as other:
            answer = other.submit(terminal.ping)
            connection, _ = server.accept()
            connection.recv(65_536)
            connection.sendall(data)
            connection.close()
            assert answer.result().status == 0


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nO\r\n1\r\nK\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nOK",
    ],
)
def test_an_answer_is_complete_at_its_length_its_last_chunk_or_the_end_of_the_connection(data: bytes) -> None:
    complete = [parse_answer(data[:n], at_end=False) for n in range(len(data))]
    assert all(one is None for one in complete)
    answer = parse_answer(data, at_end=True)
    assert answer is not None
    assert answer.body == b"OK"
