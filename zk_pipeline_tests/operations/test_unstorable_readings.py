"""A reading that cannot be stored fails its own device only; a failing store ends the run and records it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import duckdb
import pandas as pd
import pytest

from zk_pipeline.devices.errors import Refused
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device, LogPosition, Reading
from zk_pipeline.devices.polling import PollOutcome
from zk_pipeline.operations.clear_log import clear_log
from zk_pipeline.operations.poll import poll_devices, store_outcomes
from zk_pipeline.operations.quarantine_release import release_quarantine
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.errors import ReadingRefused, StoreBusy
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals import poll_results
from zk_pipeline.store.terminals.poll_results import PreparedReading
from zk_pipeline.store.terminals.quarantine import QuarantineStore
from zk_pipeline_tests.simulator.small_terminal import small_terminal
from zk_pipeline_tests.store.store_fixtures import LONG_AFTER, MONDAY, busy, device, ingest, on, reading, rows

NAMES = "ABCDE"
STORING = "zk_pipeline.store.terminals.punches.ingest"
POLLS = "SELECT device, status, error_code FROM device_polls ORDER BY device"


@pytest.fixture
def gates(store: Store) -> Store:
    store.devices.apply(device(name) for name in NAMES)
    return store


def whole() -> Reading:
    return reading(on(MONDAY, "08:00"))


def unconvertible() -> Reading:
    """Fails before the store is opened."""
    return replace(whole(), rejected=pd.DataFrame())


def too_large() -> Reading:
    """Fails in the transaction, after punches have been inserted."""
    return replace(whole(), info=replace(whole().info, record_capacity=2**70))


def from_terminal(name: str, one: Reading) -> Reading:
    """The reading of a terminal of its own."""
    return replace(one, info=replace(one.info, serial_number=f"SERIAL-{name}"))


def outcomes(store: Store, made: dict[str, Reading]) -> list[PollOutcome[Reading]]:
    return [
        PollOutcome(
            device=store.devices.get(name),
            started_at=LONG_AFTER,
            finished_at=LONG_AFTER,
            reading=from_terminal(name, one),
        )
        for name, one in made.items()
    ]


@pytest.mark.parametrize(
    ("bad", "broken"),
    [
        ("C", unconvertible),
        ("BD", too_large),
        (NAMES, too_large),
        *(pytest.param(name, too_large, marks=pytest.mark.matrix) for name in "ACE"),
    ],
)
def test_a_reading_that_cannot_be_stored_fails_by_name_and_all_others_are_stored(
    bad: str, broken: Callable[[], Reading], gates: Store, caplog: pytest.LogCaptureFixture
) -> None:
    kept = list(
        store_outcomes(gates, outcomes(gates, {name: broken() if name in bad else whole() for name in NAMES}), "run")
    )
    assert [one.device.name for one in kept] == list(NAMES)
    for one in kept:
        if one.device.name in bad:
            assert (one.error_code, one.ingested) == ("not_stored", None)
            assert str(one.error).startswith(f"{one.device.name}: its log was read and cannot be stored")
            assert "\n" not in str(one.error)
        else:
            assert one.ingested is not None
            assert one.ingested.new == 1
    assert rows(gates, POLLS) == [
        (name, "failed", "not_stored") if name in bad else (name, "success", None) for name in NAMES
    ]
    good = [(name,) for name in NAMES if name not in bad]
    assert rows(gates, "SELECT device FROM raw_punches ORDER BY 1") == good
    assert len([record for record in caplog.records if record.exc_info]) == len(bad)


def test_a_single_reading_that_cannot_be_stored_fails_by_name(gates: Store) -> None:
    (kept,) = store_outcomes(gates, outcomes(gates, {"A": too_large()}), "run")
    assert kept.error_code == "not_stored"
    assert rows(gates, 'SELECT device, error_code, "new", run_id FROM device_polls') == [
        ("A", "not_stored", None, "run")
    ]


def test_a_reading_that_the_store_refuses_fails_with_the_code_and_words_of_the_refusal(
    gates: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stored = poll_results.ingest

    def refusing(connection: Connection, come: Sequence[PreparedReading], **values: Any) -> Any:
        if any(one.finished.device.name == "B" for one in come):
            raise ReadingRefused("B", "registration_changed", "B: it was moved to another address during the poll")
        return stored(connection, come, **values)

    monkeypatch.setattr(STORING, refusing)
    kept = {
        one.device.name: one for one in store_outcomes(gates, outcomes(gates, {name: whole() for name in "ABC"}), "run")
    }
    assert kept["B"].error_code == "registration_changed"
    assert kept["B"].error == "B: it was moved to another address during the poll"
    assert rows(gates, POLLS) == [
        ("A", "success", None),
        ("B", "failed", "registration_changed"),
        ("C", "success", None),
    ]
    assert not [record for record in caplog.records if record.exc_info]


def test_every_poll_fails_by_name_again_until_the_reading_can_be_stored(gates: Store) -> None:
    def read(one: Device, position: LogPosition | None) -> Reading:  # noqa: ARG001 (the interface of a reader)
        return from_terminal(one.name, too_large() if one.name == "A" and is_broken else whole())

    def poll() -> dict[str, str | None]:
        polled = poll_devices(gates, gates.devices.all(), read, deadline_seconds=5, run_id="run")
        return {one.device.name: one.error_code for one in polled}

    is_broken = True
    for _ in range(2):
        assert poll() == dict.fromkeys(NAMES) | {"A": "not_stored"}
    is_broken = False
    assert poll() == dict.fromkeys(NAMES)
    assert rows(gates, "SELECT device FROM raw_punches ORDER BY 1") == [(name,) for name in NAMES]


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, purpose: str, error: Exception) -> Iterator[None]:
    """A store that fails each write of this purpose and takes all others."""
    write = Database.write

    @contextmanager
    def fails(self: Database, asked: str, about: str = "") -> Iterator[Connection]:
        if asked == purpose:
            raise error
        with write(self, asked, about) as connection:
            yield connection

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", fails)
        yield


def test_a_failing_store_ends_the_run_and_names_the_readings_at_hand(
    gates: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    come = outcomes(gates, {name: whole() for name in "ABC"})
    unread = gates.devices.get("D")
    refused = Refused(unread, "connecting", "refused")
    dead = PollOutcome[Reading](device=unread, started_at=LONG_AFTER, finished_at=LONG_AFTER, error=refused)
    failure = duckdb.IOException("Could not read from file: Input/output error")
    with failing(monkeypatch, "store a poll", failure), pytest.raises(duckdb.IOException):
        list(store_outcomes(gates, [*come, dead], "run"))
    assert rows(gates, POLLS) == [*((name, "failed", "store_failed") for name in "ABC"), ("D", "failed", "refused")]
    assert "read but not stored, because the store failed: A, B, C" in caplog.text
    assert [one.ingested and one.ingested.new for one in store_outcomes(gates, come, "again")] == [1, 1, 1]


def test_a_store_that_fails_after_some_readings_loses_track_of_none(
    gates: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = poll_results.ingest

    def failing_later(connection: Connection, come: Sequence[PreparedReading], **values: Any) -> Any:
        if [one.finished.device.name for one in come] == ["C"]:
            raise duckdb.IOException("No such device")
        return stored(connection, come, **values)

    monkeypatch.setattr(STORING, failing_later)
    # B cannot be stored, so each is tried in its own transaction.
    come = {name: whole() for name in NAMES} | {"B": unconvertible()}
    with pytest.raises(duckdb.IOException):
        list(store_outcomes(gates, outcomes(gates, come), "run"))
    assert rows(gates, POLLS) == [
        ("A", "success", None),
        ("B", "failed", "not_stored"),
        *((name, "failed", "store_failed") for name in "CDE"),
    ]


def test_a_busy_store_is_not_waited_for_again_and_the_readings_are_named(
    gates: Store, caplog: pytest.LogCaptureFixture
) -> None:
    hurried = replace(gates, database=replace(gates.database, wait_seconds=0.2))
    come = outcomes(gates, {name: whole() for name in "AB"})
    with busy(gates, "a long migration"), pytest.raises(StoreBusy, match="a long migration"):
        list(store_outcomes(hurried, come, "run"))
    assert rows(gates, POLLS) == []
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith("read but not stored, because the store failed: A, B;")


def test_a_run_that_ends_early_names_the_devices_that_it_did_not_get_to(
    gates: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_over = threading.Event()

    def read(one: Device, position: LogPosition | None) -> Reading:  # noqa: ARG001 (the interface of a reader)
        if one.name in "DE":
            is_over.wait(20)
        return whole()

    try:
        with failing(monkeypatch, "store a poll", duckdb.IOException("gone")), pytest.raises(duckdb.IOException):
            list(poll_devices(gates, gates.devices.all(), read, deadline_seconds=30, run_id="run"))
    finally:
        is_over.set()
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("the poll ends")]
    assert "D, E" in line


def test_words_that_no_store_takes_fail_no_run(gates: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)  # pytest cannot pass such texts on

    def read(one: Device, position: LogPosition | None) -> Reading:  # noqa: ARG001 (the interface of a reader)
        raise ValueError("a name such as \udc80\nthat is no text")

    polled = list(poll_devices(gates, gates.devices.all(), read, deadline_seconds=5, run_id="run"))
    assert {one.error_code for one in polled} == {"internal_error"}
    assert rows(gates, "SELECT count(*) FROM device_polls WHERE error LIKE '%such as ? that is no text%'") == [(5,)]


def test_a_log_that_cannot_be_stored_is_not_cleared_and_its_poll_is_on_record(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OverflowError("too large")

    with Fleet.serve([small_terminal()]) as fleet:
        port = fleet.port_of("gate")
        gate = store.devices.add(Device(name="gate", ip_address="127.0.0.1", port=port, protocol="tcp"))
        monkeypatch.setattr(STORING, broken)
        with pytest.raises(ReadingRefused, match=r"cannot be stored.+ The log is not cleared"):
            clear_log(store, TerminalGateway(timeout=1, deadline=5, comm_keys=lambda _: 0), gate)
        assert fleet.terminal("gate").record_count == 5
    assert rows(store, POLLS) == [("gate", "failed", "not_stored")]


@pytest.mark.parametrize("bad", ["A", "C", "E"])
def test_a_device_whose_records_cannot_be_released_costs_the_others_nothing(
    bad: str, gates: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A record of 16 bytes of which nothing is wrong.
    record = bytes.fromhex("090200006ca422320001000000000000")
    for name in NAMES:
        ingest(gates, name, rejected=[record])
    released = QuarantineStore.release

    def failing_for_one(self: QuarantineStore, one: Device, *values: Any, **named: Any) -> tuple[int, int]:
        if one.name == bad:
            raise OverflowError("too large")
        return released(self, one, *values, **named)

    monkeypatch.setattr(QuarantineStore, "release", failing_for_one)
    done = release_quarantine(gates)
    assert {one.device: (one.records, one.new, one.left) for one in done} == {
        name: (0, 0, 1) if name == bad else (1, 1, 0) for name in NAMES
    }
    (failed,) = [one for one in done if one.error]
    assert str(failed.error).startswith(f"{bad}: its records cannot be released and stay in quarantine (OverflowError")
