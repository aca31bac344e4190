"""Health of terminals that push: last contact, counters, drift and missing punches, next to those of polled ones."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.quality.quality import PushReach
from zk_pipeline.store.queries.device_details import device_details
from zk_pipeline.store.queries.metrics import DeviceMetrics, read_device_metrics
from zk_pipeline.store.queries.terminal_health import TerminalHealth, terminal_health
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, push
from zk_pipeline_tests.store.store_fixtures import ALL, LONG_AFTER, SERIAL, StoppedClock, device, execute, ingest


@pytest.fixture
def gate(store: Store) -> Store:
    """A store with the device Gate, which only pushes."""
    adopt(store)
    return store


def differ(store: Store, first: str, last: str, terminal: int, stored: int, *, resent: int = 0) -> None:
    execute(
        store,
        f"INSERT INTO push_checks VALUES ('{SERIAL}', '{first}', '{last}', 'x', {terminal}, {stored}, {resent}, NULL, "
        f"'{store.clock().isoformat()}')",
    )


def test_a_terminal_that_only_pushes_is_well_by_its_contacts_and_counters(gate: Store, clock: StoppedClock) -> None:
    clock.go(hours=1)
    push(gate, ("1", "2026-06-01 12:59:50"), drift_seconds=2.0)
    contact(gate, record_count=1, info_at=clock.now)
    assert terminal_health(gate.database) == [TerminalHealth("Gate", clock.now, 1, 1, 2.0, None, None, True)]
    execute(gate, "UPDATE devices SET record_capacity = 4")
    assert terminal_health(gate.database)[0].fill == 0.25
    assert read_device_metrics(gate.database) == [DeviceMetrics("Gate", clock.now, 2.0, 0.25, None)]
    details = device_details(gate.database, "Gate")
    assert (details.records, details.drift_seconds, details.fill) == (1, 2.0, 0.25)
    (status,) = gate.overview.status(WorkRules(), first=ALL["first"], last=ALL["last"], now=clock.now).devices
    assert (status.polled, status.last_success, status.last_poll, status.last_poll_status) == (
        False, clock.now, clock.now, "success",
    )  # fmt: skip
    assert (status.records, status.fill, status.clock_drift_seconds) == (1, 0.25, 2.0)


def test_punches_that_a_terminal_counted_and_did_not_send_are_missing(gate: Store) -> None:
    contact(gate, record_count=9, info_at=gate.clock())
    differ(gate, "2026-03-02", "2026-03-02", 7, 5)
    differ(gate, "2026-03-03", "2026-03-04", 8, 7)
    differ(gate, "2026-03-05", "2026-03-05", 8, 7, resent=8)
    (health,) = terminal_health(gate.database)
    assert (health.reported, health.missing) == (9, 3)
    assert gate.quality.freshness(**ALL).pushing == [
        PushReach("Gate", LONG_AFTER, 3, date(2026, 3, 2), date(2026, 3, 4), None, None)
    ]


def test_a_terminal_that_is_polled_and_pushes_keeps_the_figures_of_its_polls(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device("Gate"))
    ingest(store, "Gate", ("1", "2026-03-02 08:00:00"))
    serial = store.devices.get("Gate").serial_number
    assert serial is not None
    adopt(store, serial=serial)
    polled_at = clock.now
    clock.go(hours=1)
    contact(store, serial, record_count=900, info_at=clock.now)
    assert terminal_health(store.database) == [TerminalHealth("Gate", polled_at, 1, 1, 1.5, 0.001, None)]
    assert [one.last_success for one in read_device_metrics(store.database)] == [polled_at]
    found = store.quality.freshness(**ALL)
    assert [(one.device, one.silent_since) for one in found.devices] == [("Gate", polled_at)]
    assert [(one.device, one.silent_since) for one in found.pushing] == [("Gate", clock.now)]


def test_only_enabled_terminals_that_push_are_expected_to_be_in_contact(gate: Store, clock: StoppedClock) -> None:
    adopt(gate, "Yard", "YARD1")
    gate.devices.add(device("Polled", ip="192.0.2.77"))
    clock.go(hours=2)
    contact(gate, "YARD1")
    found = gate.quality.freshness(**ALL)
    assert {one.device: clock.now - one.silent_since for one in found.pushing} == {
        "Gate": timedelta(hours=2),
        "Yard": timedelta(0),
    }
    assert [one.device for one in found.devices] == ["Polled"]
    gate.devices.update("Gate", enabled=False)
    assert [one.device for one in gate.quality.freshness(**ALL).pushing] == ["Yard"]


def test_a_device_without_a_terminal_gets_its_punches_from_files_and_is_not_expected(gate: Store) -> None:
    gate.devices.forget_serial("Gate")
    contact(gate)
    assert gate.quality.freshness(**ALL).pushing == []
    assert terminal_health(gate.database) == []
