"""Emulated pushing terminals against the receiver of django-fingerprint-attendance, written by others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zk_pipeline.simulator.push.faults import PushFaults, Separator
from zk_pipeline.simulator.push.profiles import PROFILES, PUSH_2_2, PushProfile
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline_tests.simulator.push.independent_receiver import IndependentReceiver, independent_receiver
from zk_pipeline_tests.simulator.push.push_fixtures import pushing_terminal

ATTENDANCE = [profile for profile in PROFILES.values() if profile.family != "C"]

QUEUE_COMMAND = """
    INSERT INTO fingerprint_attendance_devicecommand
        (device_id, command_type, command_string, payload, status, attempts, response_body, error, correlation_id,
         dedupe_key, uuid, created_at, updated_at)
    SELECT id, ?, ?, '{}', 'pending', 0, '', '', '', '', lower(hex(randomblob(16))), created_at, created_at
    FROM fingerprint_attendance_device WHERE serial_number = ?
"""


@pytest.fixture(scope="module")
def partner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndependentReceiver]:
    with independent_receiver(tmp_path_factory.mktemp("receiver"), needs_approval=True) as running:
        yield running


def approved(partner: IndependentReceiver, terminal: PushingTerminal) -> PushingTerminal:
    terminal.hello()
    partner.approve(terminal.serial_number)
    return terminal


def log_of(terminal: PushingTerminal) -> list[tuple[str, str]]:
    punches = [entry.punch for entry in terminal.log.entries]
    return sorted(((one.user_id, str(one.punched_at_local)) for one in punches), key=lambda row: (row[1], row[0]))


@pytest.mark.parametrize("profile", ATTENDANCE, ids=lambda profile: profile.name)
def test_the_receiver_stores_each_punch_of_each_firmware_once(
    partner: IndependentReceiver, profile: PushProfile
) -> None:
    terminal = approved(partner, pushing_terminal(partner.url, name=profile.name, profile=profile, punches=150))
    assert terminal.cycle()
    terminal.punch("1001")
    assert terminal.cycle()
    assert partner.punches(terminal.serial_number) == log_of(terminal)


def test_a_terminal_that_is_not_approved_keeps_its_punches(partner: IndependentReceiver) -> None:
    terminal = pushing_terminal(partner.url, name="pending", punches=3)
    assert not terminal.cycle()
    assert terminal.last_answer.status == 403
    assert terminal.log.pending_count == 3
    partner.approve(terminal.serial_number)
    assert terminal.cycle()
    assert partner.punches(terminal.serial_number) == log_of(terminal)


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("lost answers", PushFaults(lost_answers=3)),
        ("unread answers", PushFaults(unread_answers=3)),
        ("half bodies", PushFaults(half_bodies=2)),
        ("repeated batches", PushFaults(repeats=5)),
        ("constant stamps", PushFaults(stamp="9999")),
        ("repeated hellos", PushFaults(hellos=3)),
        ("aspx", PushFaults(suffix=".aspx")),
        ("lower case", PushFaults(has_lower_case_names=True)),
        ("CR LF", PushFaults(line_end=b"\r\n")),
        ("HTTP/1.0", PushFaults(http_version="1.0")),
        ("broken lines", PushFaults(broken_lines=(b"garbage",))),
    ],
)
def test_the_receiver_stores_each_punch_once_in_spite_of(
    partner: IndependentReceiver, name: str, faults: PushFaults
) -> None:
    terminal = approved(partner, pushing_terminal(partner.url, name=name, punches=20, batch_lines=8, faults=faults))
    for _ in range(5):
        terminal.cycle()
    assert terminal.log.pending_count == 0
    assert partner.punches(terminal.serial_number) == log_of(terminal)


@pytest.mark.parametrize(("separator", "stored"), [("tab", 3), ("space", 3), ("pairs", 0)])
def test_the_receiver_reads_lines_separated_by(partner: IndependentReceiver, separator: Separator, stored: int) -> None:
    """It acknowledges lines of pairs and drops them: the terminal has done its part."""
    faults = PushFaults(separator=separator)
    terminal = approved(partner, pushing_terminal(partner.url, name=separator, punches=3, faults=faults))
    assert terminal.cycle()
    assert len(partner.punches(terminal.serial_number)) == stored


def test_commands_of_the_receiver_are_executed_and_confirmed(partner: IndependentReceiver) -> None:
    terminal = approved(partner, pushing_terminal(partner.url, name="commands", punches=4))
    terminal.cycle()
    for kind, text in (("info", "INFO"), ("check", "CHECK")):
        partner.rows(QUEUE_COMMAND, kind, text, terminal.serial_number)
    assert [one.text for one in terminal.ask()] == ["INFO", "CHECK"]
    done = partner.rows(
        "SELECT c.command_type, c.status, c.return_code FROM fingerprint_attendance_devicecommand c"
        " JOIN fingerprint_attendance_device d ON d.id = c.device_id WHERE d.serial_number = ? ORDER BY c.id",
        terminal.serial_number,
    )
    assert done == [("info", "succeeded", 0), ("check", "succeeded", 0)]
    ((reported, capacity),) = partner.rows(
        "SELECT reported_punch_count, log_capacity FROM fingerprint_attendance_device WHERE serial_number = ?",
        terminal.serial_number,
    )
    assert (reported, capacity) == (4, 100_000)
    assert not terminal.is_connected
    assert terminal.cycle()


def test_users_of_a_chinese_terminal_are_read(partner: IndependentReceiver) -> None:
    terminal = approved(partner, pushing_terminal(partner.url, name="chinese", profile=PUSH_2_2, encoding="gb18030"))
    assert terminal.cycle()
    assert terminal.pending_operations() == []
    ((message,),) = partner.rows(
        "SELECT e.message FROM fingerprint_attendance_deviceeventlog e"
        " JOIN fingerprint_attendance_device d ON d.id = e.device_id"
        " WHERE d.serial_number = ? AND e.event_type = 'user_info'",
        terminal.serial_number,
    )
    assert message == "3 user record(s) reported"
