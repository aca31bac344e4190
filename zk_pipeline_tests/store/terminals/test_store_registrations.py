"""Registrations that change during a reading: their values are read when the reading is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from zk_pipeline.devices.models import Device, Reading
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.errors import ReadingRefused
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, execute, ingest, on, reading, rows

INSTANTS = "SELECT strftime(punched_at, '%H:%M') FROM raw_punches ORDER BY seq"


def store_reading(store: Store, read: Device, fetched: Reading) -> None:
    """Store a reading of the device as it was when the reading began."""
    store.punches.ingest(read, fetched, started_at=store.clock(), finished_at=store.clock(), run_id=None)


def as_serial(serial: str, *times: str) -> Reading:
    return reading(on(MONDAY, *times), serial=serial)


def test_punches_get_the_instants_of_the_zone_that_the_device_has_when_they_are_stored(store: Store) -> None:
    read = store.devices.add(device(timezone="Europe/Istanbul"))
    store.devices.update("Gate", timezone="UTC")
    store_reading(store, read, as_serial("SN Gate", "08:00"))
    assert rows(store, INSTANTS) == [("08:00",)]


def test_the_drift_is_measured_against_the_zone_that_the_device_has_when_it_is_stored(store: Store) -> None:
    read = store.devices.add(device(timezone="Europe/Istanbul"))
    store.devices.update("Gate", timezone="UTC")
    fetched = as_serial("SN Gate", "08:00")
    info = replace(fetched.info, clock_drift_seconds=-10800.0, clock_local=store.clock().replace(tzinfo=None))
    store_reading(store, read, replace(fetched, info=info))
    assert rows(store, "SELECT clock_drift_seconds FROM device_polls") == [(0.0,)]
    assert rows(store, "SELECT clock_drift_seconds, clock_right_at IS NOT NULL FROM devices") == [(0.0, True)]


@pytest.mark.parametrize("change", [{"ip_address": "192.0.2.99"}, {"port": 4371}, {"encoding": "GBK"}])
def test_a_reading_by_a_former_address_or_encoding_is_refused(store: Store, change: dict[str, Any]) -> None:
    read = store.devices.add(device())
    store.devices.update("Gate", **change)
    with pytest.raises(ReadingRefused, match="Gate: it was changed in the registry during the reading") as refused:
        store_reading(store, read, as_serial("SN Gate", "08:00"))
    assert refused.value.code == "registration_changed"
    assert rows(store, "SELECT count(*) FROM raw_punches") == [(0,)]


def test_a_reading_of_a_device_removed_since_is_refused(store: Store) -> None:
    read = store.devices.add(device())
    store.devices.remove("Gate")
    with pytest.raises(ReadingRefused, match="removed from the registry during the reading"):
        store_reading(store, read, as_serial("SN Gate", "08:00"))


def test_a_reading_of_the_terminal_that_was_replaced_is_refused(store: Store) -> None:
    store.devices.add(device())
    store_reading(store, store.devices.get("Gate"), as_serial("old", "08:00"))
    read = store.devices.get("Gate")
    store.devices.forget_serial("Gate")
    with pytest.raises(ReadingRefused, match="changed in the registry during the reading"):
        store_reading(store, read, as_serial("old", "09:00"))
    store_reading(store, store.devices.get("Gate"), as_serial("new", "09:00"))
    assert store.devices.get("Gate").serial_number == "new"


def test_a_serial_number_is_never_forgotten_and_what_cannot_be_verified_is_not_stored(store: Store) -> None:
    store.devices.add(device())
    store_reading(store, store.devices.get("Gate"), as_serial("SN Gate", "08:00"))
    with pytest.raises(ReadingRefused, match="did not return its serial number, and SN Gate is registered") as refused:
        store_reading(store, store.devices.get("Gate"), as_serial("", "09:00"))
    assert refused.value.code == "serial_unverified"
    assert store.devices.get("Gate").serial_number == "SN Gate"
    assert rows(store, "SELECT count(*) FROM raw_punches") == [(1,)]


def test_empty_answers_never_replace_what_is_known_of_a_terminal(store: Store) -> None:
    store.devices.add(device())
    full = as_serial("SN Gate", "08:00")
    store_reading(store, store.devices.get("Gate"), full)
    silent = replace(full.info, firmware_version="", platform="", record_capacity=0)
    store_reading(store, store.devices.get("Gate"), replace(full, info=silent))
    known = rows(store, "SELECT firmware_version, platform, record_capacity FROM devices")
    assert known == [("Ver 6.60", "ZEM560_TFT", 1000)]


def test_a_terminal_without_a_serial_number_is_read_as_ever(store: Store) -> None:
    store.devices.add(device())
    for at in ("08:00", "09:00"):
        store_reading(store, store.devices.get("Gate"), as_serial("", at))
    assert rows(store, "SELECT count(*) FROM raw_punches") == [(2,)]


def test_a_terminal_is_read_under_one_name_and_the_other_one_says_which(store: Store) -> None:
    store.devices.add(device("Front door"))
    store.devices.add(device("Entrance", ip="192.0.2.20"))
    store_reading(store, store.devices.get("Front door"), as_serial("one", "08:00"))
    with pytest.raises(ReadingRefused, match="serial number one is registered as 'Front door', too") as refused:
        store_reading(store, store.devices.get("Entrance"), as_serial("one", "08:00"))
    assert refused.value.code == "registered_twice"
    store_reading(store, store.devices.get("Front door"), as_serial("one", "08:00"))
    assert rows(store, "SELECT device, count(*) FROM raw_punches GROUP BY 1") == [("Front door", 1)]


def test_names_registered_twice_before_are_told_and_the_advice_helps(store: Store) -> None:
    store.devices.add(device("Front door"))
    store.devices.add(device("Entrance", ip="192.0.2.20"))
    store_reading(store, store.devices.get("Front door"), as_serial("one", "08:00"))
    execute(store, "UPDATE devices SET serial_number = 'one'")
    with pytest.raises(ReadingRefused, match="is registered as 'Front door', too"):
        store_reading(store, store.devices.get("Entrance"), as_serial("one", "08:00"))
    store.devices.remove("Front door")
    store_reading(store, store.devices.get("Entrance"), as_serial("one", "08:00", "17:00"))
    held = rows(store, "SELECT device, strftime(punched_at_local, '%H:%M') FROM raw_punches ORDER BY 2")
    assert held == [("Front door", "08:00"), ("Entrance", "17:00")]


def test_a_terminal_renamed_by_removing_and_adding_it_brings_nothing_twice(store: Store) -> None:
    store.devices.add(device("Gate"))
    ingest(store, "Gate", slots=[(5, f"{MONDAY} 08:00")], users=[("1002", 5, "Ann", 0, 0)])
    store.devices.remove("Gate")
    store.devices.add(device("Main gate"))
    log = [(5, f"{MONDAY} 08:00"), (5, f"{MONDAY} 17:00")]
    again = reading(slots=log, users=[("777001", 5, "Bo", 0, 0)], serial=serial_number_of("Gate"))
    store_reading(store, store.devices.get("Main gate"), again)
    held = rows(store, "SELECT device, user_id FROM raw_punches ORDER BY seq")
    assert held == [("Gate", "1002"), ("Main gate", "777001")]
