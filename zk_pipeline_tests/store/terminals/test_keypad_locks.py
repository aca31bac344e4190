"""A keypad lock is visible to all hosts of a store until its record is deleted."""

from __future__ import annotations

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import ALL, StoppedClock, device, ingest


@pytest.mark.both_engines("matrix")
def test_a_lock_is_noted_with_its_first_moment_until_it_is_forgotten(store: Store, clock: StoppedClock) -> None:
    gate, yard = (store.devices.add(device(name, ip=ip)) for name, ip in (("Gate", "192.0.2.1"), ("Yard", "192.0.2.2")))
    assert not store.keypad_locks.is_noted(gate)
    store.keypad_locks.note(gate)
    locked_at = clock.now
    clock.go(minutes=5)
    store.keypad_locks.note(gate)
    assert store.keypad_locks.is_noted(gate)
    assert not store.keypad_locks.is_noted(yard)
    assert store.devices.get("Gate").keypad_locked_at == locked_at
    assert store.quality.freshness(**ALL).locked_since == {"Gate": locked_at}

    # Nothing else that happens to a device ends it.
    ingest(store, "Gate")
    store.devices.update("Gate", port=4371, enabled=False)
    store.devices.remove("Gate")
    assert store.quality.freshness(**ALL).locked_since == {}  # of no use for a terminal that is not registered
    store.devices.add(device("Gate"))
    assert store.devices.get("Gate").keypad_locked_at == locked_at

    store.keypad_locks.forget(gate)
    assert store.devices.get("Gate").keypad_locked_at is None
    assert store.quality.freshness(**ALL).locked_since == {}
