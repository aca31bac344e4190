"""Commands that emulated pushing terminals execute and confirm."""

from __future__ import annotations

from datetime import datetime

import pytest

from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.profiles import SECURITY_3, TFT_3
from zk_pipeline_tests.simulator.push.push_fixtures import pushing_terminal
from zk_pipeline_tests.simulator.push.recording_receiver import RecordingReceiver

DAY = "StartTime=2026-03-02 07:59:57\tEndTime=2026-03-02 08:00:11"


def result_of(receiver: RecordingReceiver, command: str, *, punches: int = 10, batch_lines: int = 128) -> bytes:
    """The result line of one command, executed by a connected terminal that has uploaded everything."""
    terminal = pushing_terminal(receiver.url, punches=punches, batch_lines=batch_lines)
    terminal.cycle()
    receiver.commands = [f"C:a1:{command}"]
    assert [one.text for one in terminal.ask()] == [command]
    (confirmed,) = receiver.at("devicecmd")
    return confirmed.body.removesuffix(b"\n")


def test_a_query_sends_the_records_of_its_span_again_with_stamp_0(receiver: RecordingReceiver) -> None:
    assert result_of(receiver, f"DATA QUERY ATTLOG {DAY}", batch_lines=2) == b"ID=a1&Return=0&CMD=DATA"
    sent = receiver.uploads()[-2:]
    assert [one.parameters["Stamp"] for one in sent] == ["0", "0"]
    times = [line.split(b"\t")[1] for one in sent for line in one.lines]
    assert times == [b"2026-03-02 07:59:57", b"2026-03-02 08:00:04", b"2026-03-02 08:00:11"]


def test_a_query_that_finds_nothing_returns_minus_1(receiver: RecordingReceiver) -> None:
    command = "DATA QUERY ATTLOG StartTime=2020-01-01 00:00:00\tEndTime=2020-01-01 23:59:59"
    assert result_of(receiver, command) == b"ID=a1&Return=-1&CMD=DATA"


def test_a_sum_counts_the_records_of_its_span(receiver: RecordingReceiver) -> None:
    start, end = DAY.split("\t")
    expected = f"ID=a1&Return=0&CMD=VERIFY SUM&{start}&{end}&AttlogSum=3"
    assert result_of(receiver, f"VERIFY SUM ATTLOG {DAY}") == expected.encode()


def test_times_of_family_b_are_in_iso_form(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, profile=TFT_3, punches=10)
    terminal.cycle()
    receiver.commands = ["C:1:VERIFY SUM ATTLOG StartTime=2026-03-02T07:59:57\tEndTime=2026-03-02T08:00:11"]
    terminal.ask()
    assert receiver.at("devicecmd")[0].body.endswith(b"&AttlogSum=3\n")


def test_info_has_the_counters_as_values(receiver: RecordingReceiver) -> None:
    lines = result_of(receiver, "INFO").splitlines()
    assert lines[0] == b"ID=a1&Return=0&CMD=INFO"
    values = dict(line.split(b"=", 1) for line in lines[1:])
    assert (values[b"UserCount"], values[b"TransactionCount"], values[b"~MaxAttLogCount"]) == (b"3", b"10", b"10")


@pytest.mark.parametrize("command", ["CHECK", "REBOOT"])
def test_check_and_reboot_are_confirmed_and_lead_to_a_new_hello(receiver: RecordingReceiver, command: str) -> None:
    terminal = pushing_terminal(receiver.url)
    terminal.cycle()
    receiver.commands = [f"C:1:{command}"]
    terminal.cycle()
    assert receiver.at("devicecmd")[0].body == f"ID=1&Return=0&CMD={command}\n".encode()
    before = len(receiver.requests)
    terminal.cycle()
    assert receiver.requests[before].parameters.get("options") == "all"


def test_log_uploads_what_is_pending(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url)
    terminal.cycle()
    terminal.punch("1001")
    receiver.commands = ["C:1:LOG"]
    terminal.ask()
    assert terminal.log.pending_count == 0


@pytest.mark.parametrize(("command", "users"), [("DATA QUERY USERINFO", 3), ("DATA QUERY USERINFO PIN=1002", 1)])
def test_users_are_sent_on_request(receiver: RecordingReceiver, command: str, users: int) -> None:
    assert result_of(receiver, command) == b"ID=a1&Return=0&CMD=DATA"
    assert len(receiver.uploads("OPERLOG")[-1].lines) == users


@pytest.mark.parametrize("option", ["SET OPTION", "SET OPTIONS"])
def test_an_option_sets_the_clock(receiver: RecordingReceiver, option: str) -> None:
    terminal = pushing_terminal(receiver.url, profile=SECURITY_3)
    terminal.cycle()
    receiver.commands = [f"C:1:{option} DateTime=841158000"]  # 26 years, 2 months, 1 day, 15 hours
    terminal.ask()
    assert terminal.clock.now_local() == datetime.fromisoformat("2026-03-02T15:00:00")
    receiver.commands = [f"C:1:{option} DateTime=841158060"]
    terminal.ask()
    assert terminal.clock.now_local() == datetime.fromisoformat("2026-03-02T15:01:00")


def test_a_command_that_the_firmware_does_not_know_returns_minus_1002(receiver: RecordingReceiver) -> None:
    assert result_of(receiver, "DATA DEL_USER PIN=1") == b"ID=a1&Return=-1002&CMD=DATA"


def test_results_that_the_receiver_did_not_take_are_sent_with_the_next_ones(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url)
    terminal.cycle()
    receiver.answer = lambda one: (503, "") if one.endpoint == "devicecmd" else None
    receiver.commands = ["C:1:LOG"]
    terminal.ask()
    receiver.answer = lambda _: None
    receiver.commands = ["C:2:LOG"]
    terminal.ask()
    assert receiver.at("devicecmd")[-1].lines == [b"ID=1&Return=0&CMD=LOG", b"ID=2&Return=0&CMD=LOG"]


def test_firmware_that_confirms_no_command_executes_it_all_the_same(receiver: RecordingReceiver) -> None:
    terminal = pushing_terminal(receiver.url, punches=3, faults=PushFaults(confirms_commands=False))
    terminal.cycle()
    receiver.commands = [f"C:1:DATA QUERY ATTLOG {DAY}"]
    terminal.ask()
    assert receiver.uploads()[-1].parameters["Stamp"] == "0"
    assert receiver.at("devicecmd") == []
