"""Concurrent polling: outcomes are independent, and hanging terminals release their slots."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from zk_pipeline.devices import polling
from zk_pipeline.devices.errors import DeadlineExceeded, NoAnswer
from zk_pipeline.devices.models import Device, Reading
from zk_pipeline.devices.polling import poll_batches, poll_many
from zk_pipeline.simulator.terminal.faults import HangAt
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline_tests.devices.terminal_fixtures import NAME, gateway, terminal
from zk_pipeline_tests.waiting import until


def devices(count: int) -> list[Device]:
    return [Device(name=f"gate {number}", ip_address="127.0.0.1") for number in range(count)]


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Event that ends hanging reads, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "GRACE_SECONDS", 0.05)


def test_every_device_has_one_outcome_with_its_own_error_or_reading() -> None:
    def read(device: Device) -> Reading:
        raise NoAnswer(device, "polling", "injected failure")

    outcomes = list(poll_many(devices(50), read, max_workers=8, deadline_seconds=10))
    assert sorted(outcome.device.name for outcome in outcomes) == sorted(device.name for device in devices(50))
    for outcome in outcomes:
        assert isinstance(outcome.error, NoAnswer)
        assert outcome.error.device_name == outcome.device.name
        assert outcome.reading is None
        assert outcome.started_at <= outcome.finished_at
        assert outcome.started_at.tzinfo is not None


def test_an_error_of_any_class_becomes_an_outcome() -> None:
    def read(device: Device) -> Reading:
        raise ZeroDivisionError(device.name)

    (outcome,) = poll_many(devices(1), read, deadline_seconds=10)
    assert isinstance(outcome.error, ZeroDivisionError)


def test_no_devices_make_no_outcomes() -> None:
    assert list(poll_many([], lambda _: pytest.fail("nothing to read"), deadline_seconds=10)) == []


@pytest.mark.usefixtures("short_grace")
def test_hanging_devices_are_abandoned_at_the_deadline_and_do_not_delay_others(release: threading.Event) -> None:
    """Two slots, two devices that hang in them, twenty waiting."""

    def read(device: Device) -> Reading:
        if device.name in ("gate 0", "gate 1"):
            release.wait(30)
        raise NoAnswer(device, "polling", "injected failure")

    started = time.monotonic()
    outcomes = {
        outcome.device.name: outcome.error
        for outcome in poll_many(devices(22), read, max_workers=2, deadline_seconds=0.2)
    }
    assert time.monotonic() - started < 2
    hung = {name for name, error in outcomes.items() if isinstance(error, DeadlineExceeded)}
    assert hung == {"gate 0", "gate 1"}
    assert len(outcomes) == 22


def test_hanging_devices_lend_their_places_long_before_their_deadline(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four slots, forty devices that hang until the last one, which waits behind them, is read."""
    monkeypatch.setattr(polling, "RELEASE_SLOT_AFTER_SECONDS", 0.02)

    def read(device: Device) -> Reading:
        if device.name == "gate 40":
            release.set()
        elif not release.wait(30):
            pytest.fail("the last device was not read while the others hung")
        raise NoAnswer(device, "polling", "injected failure")

    started = time.monotonic()
    outcomes = list(poll_many(devices(41), read, max_workers=4, deadline_seconds=60))
    assert time.monotonic() - started < 10
    assert len(outcomes) == 41
    assert all(isinstance(outcome.error, NoAnswer) for outcome in outcomes)


@pytest.mark.usefixtures("short_grace")
def test_a_device_that_answers_after_it_was_abandoned_has_no_second_outcome(release: threading.Event) -> None:
    def read(device: Device) -> Reading:
        if device.name == "gate 0":
            hung.append(threading.current_thread())
            release.wait(30)
        else:
            hung[0].join(30)
        raise NoAnswer(device, "polling", "injected failure")

    hung: list[threading.Thread] = []
    names = []
    for outcome in poll_many(devices(2), read, max_workers=1, deadline_seconds=0.3):
        names.append(outcome.device.name)
        release.set()
    assert names == ["gate 0", "gate 1"]


def test_quick_devices_are_yielded_before_slow_ones(release: threading.Event) -> None:
    def read(device: Device) -> Reading:
        if device.name == "gate 0":
            release.wait(30)
        raise NoAnswer(device, "polling", "injected failure")

    order = []
    for outcome in poll_many(devices(3), read, deadline_seconds=30):
        order.append(outcome.device.name)
        if len(order) == 2:
            release.set()
    assert order[-1] == "gate 0"


def test_no_more_than_the_workers_run_at_once() -> None:
    """Each read waits for three others, which requires four concurrent reads."""
    running: list[str] = []
    most: list[int] = []
    four = threading.Barrier(4, timeout=5)

    def read(device: Device) -> Reading:
        running.append(device.name)
        most.append(len(running))
        four.wait()
        running.remove(device.name)
        raise NoAnswer(device, "polling", "injected failure")

    outcomes = list(poll_many(devices(40), read, max_workers=4, deadline_seconds=10))
    assert all(isinstance(outcome.error, NoAnswer) for outcome in outcomes)
    assert len(outcomes) == 40
    assert max(most) == 4


def test_hanging_threads_keep_no_process_alive(release: threading.Event) -> None:
    seen = []

    def read(device: Device) -> Reading:
        seen.append(threading.current_thread().daemon)
        release.set()
        raise NoAnswer(device, "polling", "injected failure")

    list(poll_many(devices(1), read, deadline_seconds=10))
    assert seen == [True]


def test_real_terminals_are_read_side_by_side_with_a_hanging_one() -> None:
    emulated = [terminal(40, records=200) for _ in range(6)]
    for number, one in enumerate(emulated):
        one.definition = replace(one.definition, name=f"{NAME} {number}")
    with Fleet.serve(emulated, faults={f"{NAME} 0": HangAt(Command.CMD_DATA_WRRQ)}) as fleet:
        registered = [
            Device(name=name, ip_address="127.0.0.1", port=fleet.port_of(name), timezone="Europe/Istanbul")
            for name in fleet.names
        ]
        outcomes = list(poll_many(registered, gateway(timeout=0.5).read, deadline_seconds=5))

    assert [outcome.device.name for outcome in outcomes][-1] == f"{NAME} 0"
    assert isinstance(outcomes[-1].error, NoAnswer)
    assert all(outcome.reading is not None and len(outcome.reading.punches) == 200 for outcome in outcomes[:-1])


def test_what_has_come_meanwhile_is_yielded_together() -> None:
    first_is_out = threading.Event()

    def read(device: Device) -> Reading:
        if device.name != "gate 0":
            first_is_out.wait(20)
        raise ValueError("invalid")

    batches = poll_batches(devices(5), read, max_batch=3, deadline_seconds=30)
    assert [one.device.name for one in next(batches)] == ["gate 0"]
    first_is_out.set()
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("poll ")])
    together, rest = batches
    assert (len(together), len(rest)) == (3, 1)
    assert sorted(one.device.name for one in [*together, *rest]) == [f"gate {number}" for number in range(1, 5)]
