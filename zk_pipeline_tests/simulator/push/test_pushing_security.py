"""Emulated security terminals (family C): registration, events, tables, queries."""

from __future__ import annotations

import hashlib

from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.profiles import SECURITY_3
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline_tests.simulator.push.push_fixtures import FIRST_PUNCH, pushing_terminal
from zk_pipeline_tests.simulator.push.recording_receiver import RecordingReceiver


def security_terminal(
    receiver: RecordingReceiver, *, punches: int = 0, batch_lines: int = 128, faults: PushFaults | None = None
) -> PushingTerminal:
    return pushing_terminal(
        receiver.url, profile=SECURITY_3, punches=punches, batch_lines=batch_lines, faults=faults
    )  # fmt: skip


def test_an_unknown_terminal_registers_and_fetches_its_configuration(receiver: RecordingReceiver) -> None:
    terminal = security_terminal(receiver)
    assert terminal.cycle()
    first, registry, push, clock, users, ask = receiver.requests
    assert first.parameters["DeviceType"] == "acc"
    assert (registry.method, registry.endpoint) == ("POST", "registry")
    assert registry.body.startswith(b"DeviceType=acc,~SerialNumber=" + terminal.serial_number.encode())
    assert (push.method, push.endpoint) == ("POST", "push")
    assert (clock.endpoint, clock.parameters["type"]) == ("rtdata", "time")
    assert users.parameters["tablename"] == "user"
    assert ask.endpoint == "getrequest"
    assert terminal.delay_seconds == 5


def test_after_registration_each_request_has_the_token(receiver: RecordingReceiver) -> None:
    terminal = security_terminal(receiver)
    terminal.cycle()
    token = hashlib.md5(f"R1{terminal.serial_number}S1".encode()).hexdigest()
    assert receiver.requests[-1].headers["cookie"] == f"token={token}"
    assert "cookie" not in receiver.requests[0].headers


def test_a_registered_terminal_does_not_register_again(receiver: RecordingReceiver) -> None:
    block = "registry=ok\nRegistryCode=R7\nSessionID=S7\nRequestDelay=9\n"
    receiver.answer = lambda one: (200, block) if "options" in one.parameters else None
    terminal = security_terminal(receiver)
    assert terminal.connect()
    assert receiver.at("registry") == []
    assert (terminal.delay_seconds, terminal.registry_code, terminal.session_id) == (9, "R7", "S7")


def test_a_registration_answered_with_ok_or_406_is_tried_again(receiver: RecordingReceiver) -> None:
    for status, text in ((200, "OK"), (406, "")):
        receiver.answer = lambda one, answer=(status, text): answer if one.endpoint == "registry" else None  # type: ignore[misc]
        terminal = security_terminal(receiver, punches=1)
        assert not terminal.cycle()
        assert terminal.log.pending_count == 1
    assert len(receiver.at("registry")) == 2
    assert receiver.uploads("rtlog") == []


def test_events_can_arrive_before_the_registration(receiver: RecordingReceiver) -> None:
    terminal = security_terminal(receiver, punches=1, faults=PushFaults(registers_late=True))
    assert terminal.connect()
    endpoints = [one.parameters.get("table", one.endpoint) for one in receiver.requests]
    assert endpoints == ["cdata", "tabledata", "rtlog", "registry", "push", "rtdata"]


def test_a_new_event_goes_to_rtlog_and_a_backlog_to_the_table_of_transactions(receiver: RecordingReceiver) -> None:
    terminal = security_terminal(receiver, punches=3)
    terminal.connect()
    assert terminal.upload() == 3
    terminal.punch("1002", FIRST_PUNCH, verify_type=4, punch_state=1)
    assert terminal.upload() == 1
    _, stored = receiver.uploads("tabledata")
    assert (stored.parameters["tablename"], stored.parameters["count"]) == ("transaction", "3")
    assert stored.lines[0] == (
        b"transaction cardno=0\tpin=1001\tverified=1\tdoorid=1\teventtype=0\tinoutstate=0"
        b"\ttime_second=841132790\tindex=1"
    )
    (event,) = receiver.uploads("rtlog")
    assert event.body == (
        b"time=2026-03-02 07:59:50\tpin=1002\tcardno=0\tsitecode=0\tlinkid=0\teventaddr=1\tevent=0\tinoutstatus=1"
        b"\tverifytype=4\tindex=4\n"
    )


def test_a_refusal_and_a_door_event_are_events_with_their_codes(receiver: RecordingReceiver) -> None:
    terminal = security_terminal(receiver)
    terminal.connect()
    terminal.record_event(27, "1003")
    terminal.record_event(202)
    terminal.upload()
    fields = [dict(pair.split(b"=") for pair in one.body.split(b"\t")) for one in receiver.uploads("rtlog")]
    assert [(one[b"event"], one[b"pin"]) for one in fields] == [(b"27", b"1003"), (b"202", b"0")]


def test_rows_answered_with_ok_instead_of_their_count_are_sent_again(receiver: RecordingReceiver) -> None:
    terminal = security_terminal(receiver, punches=3)
    terminal.connect()
    terminal.operations_sent()
    answers = iter([(200, "OK"), (200, "transaction=2"), (200, "transaction=3")])
    receiver.answer = lambda _: next(answers)
    assert [terminal.upload() for _ in range(3)] == [0, 0, 3]


def test_a_query_is_answered_in_packets_and_confirmed_with_its_count(receiver: RecordingReceiver) -> None:
    terminal = security_terminal(receiver, punches=5, batch_lines=2)
    terminal.cycle()
    receiver.commands = [
        "C:11:DATA COUNT tablename=transaction",
        "C:12:DATA QUERY tablename=transaction,fielddesc=*,filter=*",
        "C:13:DATA QUERY tablename=templatev10,fielddesc=*,filter=*",
        "C:14:GET OPTIONS ~SerialNumber,Unknown",
    ]
    terminal.ask()
    count, *packets, options = receiver.at("querydata")
    assert (count.parameters["type"], count.body) == ("count", b"transaction=5\n")
    assert [len(one.lines) for one in packets] == [2, 2, 1]
    assert [one.parameters["packidx"] for one in packets] == ["1", "2", "3"]
    assert {(one.parameters["packcnt"], one.parameters["cmdid"]) for one in packets} == {("3", "12")}
    assert options.body == f"~SerialNumber={terminal.serial_number},Unknown=".encode()
    assert receiver.at("devicecmd")[0].lines == [
        b"ID=11&Return=5&CMD=DATA COUNT",
        b"ID=12&Return=5&CMD=DATA QUERY",
        b"ID=13&Return=-1&CMD=DATA QUERY",
        b"ID=14&Return=0&CMD=GET OPTIONS",
    ]
