"""The emulated terminal of django-fingerprint-attendance, written by others, against receivers over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import pytest
import requests
from fingerprint_attendance.testing import FIRMWARE, ADMSDeviceSimulator

from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.crm.due_days import copied_store
from zk_pipeline_tests.receiver.receiver_fixtures import adopt, punches, receiver_of, serve
from zk_pipeline_tests.simulator.push.independent_receiver import independent_receiver
from zk_pipeline_tests.waiting import until

EIGHT = datetime.fromisoformat("2026-01-05T08:00:00")


class Receiver(Protocol):
    """A running receiver."""

    @property
    def url(self) -> str: ...

    def approve(self, serial_number: str) -> None:
        """Adopt a terminal that has said hello."""

    def punches(self, serial_number: str) -> list[tuple[str, str]]:
        """User id and local time (`YYYY-MM-DD HH:MM:SS`) of each stored punch, in the order of time and user."""


@dataclass(frozen=True)
class OwnReceiver:
    """`zk-pipeline receive` in this process."""

    url: str
    store: Store

    def approve(self, serial_number: str) -> None:
        adopt(self.store, serial_number, f"Gate {serial_number}")
        terminal = ADMSDeviceSimulator(Client(self.url), serial=serial_number)
        until(lambda: terminal.get("cdata", options="all").status == 200)

    def punches(self, serial_number: str) -> list[tuple[str, str]]:
        found = [(user_id, at) for user_id, at, device in punches(self.store) if device == f"Gate {serial_number}"]
        return sorted(found, key=lambda row: (row[1], row[0]))


class Client:
    """The methods of Django's test client that the terminal calls, over HTTP; one connection per request."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, data: Mapping[str, Any], **environ: object) -> requests.Response:  # noqa: ARG002
        return requests.get(self._url + path, data, headers={"Connection": "close"}, timeout=20)

    def post(self, path: str, data: bytes, content_type: str, **environ: object) -> requests.Response:  # noqa: ARG002
        headers = {"Connection": "close", "Content-Type": content_type}
        return requests.post(self._url + path, data, headers=headers, timeout=20)


# The two independent parts together show that the tests expect nothing special of the receiver.
@pytest.fixture(scope="module", params=[pytest.param("independent", marks=pytest.mark.matrix), "own"])
def receiver(
    request: pytest.FixtureRequest, empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("receiver")
    if request.param == "own":
        store = copied_store(empty_store_file, folder / "store.duckdb")
        with serve(receiver_of(store)) as served:
            yield OwnReceiver(served.url, store)
    else:
        with independent_receiver(folder, needs_approval=True) as running:
            yield running


def terminal_of(receiver: Receiver, serial_number: str, firmware: str = "push2") -> ADMSDeviceSimulator:
    """A terminal that the receiver knows and has adopted."""
    terminal = ADMSDeviceSimulator(Client(receiver.url), serial=serial_number, firmware=firmware)
    terminal.get("cdata", options="all")
    receiver.approve(serial_number)
    terminal.handshake()
    return terminal


def log_of(terminal: ADMSDeviceSimulator) -> list[tuple[str, str]]:
    return sorted(((one.pin, str(one.when)) for one in terminal.log), key=lambda row: (row[1], row[0]))


@pytest.mark.parametrize("firmware", sorted(FIRMWARE))
def test_each_punch_of_each_firmware_is_stored_once(receiver: Receiver, firmware: str) -> None:
    terminal = terminal_of(receiver, f"FPA{firmware}", firmware)
    terminal.push_user("1001", "Zoë")
    terminal.punch("1001", EIGHT)
    terminal.go_offline()
    for n in range(100):
        terminal.punch(str(1001 + n % 7), EIGHT + timedelta(minutes=n + 1), status=n % 2)
    assert {one.status for one in terminal.go_online()} == {200}
    assert len(log_of(terminal)) == 101
    assert receiver.punches(terminal.serial) == log_of(terminal)


def test_lines_that_are_no_punches_do_not_reject_their_batch(receiver: Receiver) -> None:
    terminal = terminal_of(receiver, "FPABROKEN")
    for n in range(5):
        terminal.punch("007", EIGHT + timedelta(minutes=n), upload=False)
    (answer,) = terminal.upload_pending(corrupt_line=2)
    assert (answer.status, answer.text) == (200, "OK: 5")
    expected = log_of(terminal)
    del expected[2]
    assert receiver.punches(terminal.serial) == expected


def test_a_log_sent_again_adds_nothing(receiver: Receiver) -> None:
    terminal = terminal_of(receiver, "FPAAGAIN")
    for n in range(5):
        terminal.punch("1001", EIGHT + timedelta(minutes=n))
    terminal.uploaded = 0
    assert [one.text for one in terminal.upload_pending()] == ["OK: 5"]
    assert receiver.punches(terminal.serial) == log_of(terminal)


def test_a_terminal_resumes_behind_the_stamp_that_the_receiver_has_stored(receiver: Receiver) -> None:
    terminal = terminal_of(receiver, "FPARESUME")
    for n in range(5):
        terminal.punch("1001", EIGHT + timedelta(minutes=n))
    terminal.uploaded = 0
    terminal.handshake()
    assert terminal.pending() == []


def test_enrollments_and_pings_are_accepted(receiver: Receiver) -> None:
    for firmware in sorted(FIRMWARE):
        terminal = terminal_of(receiver, f"FPAENROLL{firmware}", firmware)
        assert terminal.enroll_at_device("1001", 6, b"no template", name="Zoë").status == 200
        assert terminal.ping().status == 200
        assert terminal.run_commands() is not None


def test_a_terminal_that_is_not_adopted_uploads_nothing(receiver: Receiver) -> None:
    terminal = ADMSDeviceSimulator(Client(receiver.url), serial="FPAPENDING")
    terminal.log.extend(terminal_of(receiver, "FPAOTHER").log)
    terminal.punch("1001", EIGHT, upload=False)
    (answer,) = terminal.upload_pending()
    assert answer.status in (403, 503)
    assert len(terminal.pending()) == 1
    assert receiver.punches("FPAPENDING") == []
