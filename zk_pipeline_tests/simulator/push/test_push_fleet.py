"""Fleets of emulated pushing terminals in one thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.fleet import PushFleet
from zk_pipeline.simulator.push.profiles import PROFILES
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline_tests.leftovers import nothing_left_behind
from zk_pipeline_tests.simulator.push.push_fixtures import pushing_terminal
from zk_pipeline_tests.simulator.push.recording_receiver import RecordingReceiver
from zk_pipeline_tests.simulator.small_terminal import small_terminal
from zk_pipeline_tests.waiting import until


@pytest.fixture(autouse=True)
def no_complaint_from_asyncio(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def fleet_of(receiver: RecordingReceiver, count: int = 1, *, punches: int = 0, delay_seconds: float = 60) -> PushFleet:
    terminals = [pushing_terminal(receiver.url, name=f"gate-{n}", punches=punches) for n in range(count)]
    return PushFleet(terminals, delay_seconds=delay_seconds, error_delay_seconds=0.01)


def test_terminals_of_every_firmware_upload_their_logs(receiver: RecordingReceiver) -> None:
    terminals = [
        pushing_terminal(receiver.url, name=name, profile=profile, punches=3) for name, profile in PROFILES.items()
    ]
    with PushFleet(terminals) as fleet:
        until(lambda: fleet.connected_count == len(PROFILES) and fleet.pending_count == 0)
    assert {one.parameters["SN"] for one in receiver.requests} == {one.serial_number for one in terminals}


def test_a_punch_is_uploaded_without_waiting_for_the_next_request(receiver: RecordingReceiver) -> None:
    with fleet_of(receiver) as fleet:
        until(lambda: receiver.at("getrequest"))
        fleet.punch("gate-0", "1002", punch_state=1, verify_type=15, work_code=7)
        until(lambda: fleet.pending_count == 0)
    (upload,) = receiver.uploads()
    assert upload.body == b"1002\t2026-03-02 15:00:00\t1\t15\t7\t0\t0\n"


def test_terminals_ask_for_commands_at_their_delay(receiver: RecordingReceiver) -> None:
    with fleet_of(receiver, delay_seconds=0.01):
        until(lambda: len(receiver.at("getrequest")) > 3)
    assert len(receiver.uploads("OPERLOG")) == 1


def test_a_check_leads_to_a_new_hello_at_once(receiver: RecordingReceiver) -> None:
    receiver.commands = ["C:1:CHECK"]
    with fleet_of(receiver):
        until(lambda: [one for one in receiver.requests if "options" in one.parameters][1:])


def test_failed_hellos_and_uploads_are_repeated_after_the_error_delay(receiver: RecordingReceiver) -> None:
    statuses = iter([503, 403, 500])
    receiver.answer = lambda _: (status, "") if (status := next(statuses, 0)) else None
    with fleet_of(receiver, punches=3) as fleet:
        until(lambda: fleet.pending_count == 0)
        fleet.inject("gate-0", PushFaults(lost_answers=2))
        fleet.punch("gate-0", "1001")
        until(lambda: fleet.pending_count == 0)
    assert [len(one.lines) for one in receiver.uploads()] == [3, 1, 4, 4]  # a hello without a stamp: everything again


def test_a_terminal_that_is_switched_off_keeps_its_punches_until_it_is_on(receiver: RecordingReceiver) -> None:
    with fleet_of(receiver) as fleet:
        until(lambda: receiver.at("getrequest"))
        fleet.switch_off("gate-0")
        fleet.switch_off("gate-0")
        before = len(receiver.requests)
        fleet.punch("gate-0", "1001")
        assert fleet.pending_count == 1
        assert len(receiver.requests) == before
        fleet.switch_on("gate-0")
        until(lambda: fleet.pending_count == 0)
    assert "options" in receiver.requests[before].parameters


def test_a_hundred_terminals_in_one_thread(receiver: RecordingReceiver) -> None:
    with nothing_left_behind(), fleet_of(receiver, 100) as fleet:  # threads of the receiver end with their connections
        assert sum(one.name == "pushing-terminals" for one in threading.enumerate()) == 1
        until(lambda: len(receiver.at("getrequest")) == 100)
        assert fleet.connected_count == 100


def test_a_closed_fleet_leaves_no_thread_and_no_socket_behind(receiver: RecordingReceiver) -> None:
    with nothing_left_behind():
        fleet = fleet_of(receiver, 5, delay_seconds=0.001)
        until(lambda: len(receiver.at("getrequest")) > 20)
        fleet.close()
        fleet.close()


def test_a_terminal_that_is_polled_pushes_the_same_punches(receiver: RecordingReceiver) -> None:
    terminal = small_terminal(name="gate-0")
    with Fleet.serve([terminal]) as polled, fleet_of(receiver) as pushing:
        terminal.listen(partial(pushing.record, "gate-0"))
        polled.punch("gate-0", "1001", punch_state=1)
        until(lambda: pushing.pending_count == 0)
    assert [one.body for one in receiver.uploads()] == [b"1001\t2026-03-02 15:00:00\t1\t1\t0\t0\t0\n"]


def test_two_terminals_of_one_name_are_refused(receiver: RecordingReceiver) -> None:
    with nothing_left_behind(), pytest.raises(UsageError, match="the same name"):
        PushFleet([pushing_terminal(receiver.url), pushing_terminal(receiver.url)])


def test_an_error_that_ends_a_terminal_is_raised_when_the_fleet_is_closed(receiver: RecordingReceiver) -> None:
    receiver.commands = ["C:1:SET OPTION DateTime=soon"]
    fleet = fleet_of(receiver)
    until(lambda: receiver.at("getrequest"))
    until(fleet._operated["gate-0"].task.done)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="soon"):
        fleet.close()
