"""The registry of terminals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import time

import pytest

from zk_pipeline.store.errors import DeviceExists, UnknownDevice
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    LONG_AFTER,
    MONDAY,
    TUESDAY,
    StoppedClock,
    device,
    ingest,
    on,
    process,
    rows,
    stale,
)


def test_a_device_is_added_with_a_number_of_its_own_and_its_name_as_site(store: Store) -> None:
    first, second = store.devices.add(device("B")), store.devices.add(device("A", site="HQ"))
    assert (first.id, first.site, second.id, second.site) == (1, "B", 2, "HQ")
    assert first.created_at == first.updated_at == LONG_AFTER
    assert [d.name for d in store.devices.all()] == ["A", "B"]


def test_a_name_is_registered_once(store: Store) -> None:
    store.devices.add(device())
    with pytest.raises(DeviceExists, match="'Gate' is registered already"):
        store.devices.add(device(ip="192.0.2.99"))
    assert store.devices.get("Gate").ip_address == "192.0.2.10"


def test_an_unknown_name_is_refused_with_the_nearest_ones(store: Store) -> None:
    store.devices.add(device("main-gate"))
    for attempt in (
        lambda: store.devices.get("main-gat"),
        lambda: store.devices.select(["main-gate", "main-gat"]),
        lambda: store.devices.update("main-gat", port=1),
        lambda: store.devices.remove("main-gat"),
    ):
        with pytest.raises(UnknownDevice, match=r"unknown device 'main-gat'; did you mean main-gate\?"):
            attempt()


def test_devices_come_in_the_order_asked_each_once(store: Store) -> None:
    for name in "ABC":
        store.devices.add(device(name))
    assert [d.name for d in store.devices.select(["C", "A", "C"])] == ["C", "A"]


def test_an_update_changes_what_was_asked_and_when(store: Store, clock: StoppedClock) -> None:
    before = store.devices.add(device())
    clock.go(hours=1)
    after = store.devices.update("Gate", port=4371, enabled=False)
    assert after == replace(before, port=4371, enabled=False, updated_at=clock.now)


def test_two_updates_at_once_both_count(store: Store) -> None:
    store.devices.add(device())
    changes: list[dict[str, object]] = [
        {"port": 4371},
        {"encoding": "GBK"},
        {"enabled": False},
        {"comm_key_env": "KEY"},
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda change: store.devices.update("Gate", **change), changes))
    after = store.devices.get("Gate")
    assert (after.port, after.encoding, after.enabled, after.comm_key_env) == (4371, "GBK", False, "KEY")


def test_a_removed_device_is_gone_but_its_punches_and_days_stay(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
    process(store, MONDAY)
    store.devices.remove("Gate")
    assert store.devices.all() == []
    assert store.punches.total() == 2
    process(store, MONDAY)
    assert rows(store, "SELECT device, device_name, revision FROM processed_attendance") == [(1, "Gate", 1)]
    with pytest.raises(UnknownDevice):
        store.devices.update("Gate", port=1)


def test_a_removed_device_that_is_added_again_is_the_same_one(store: Store) -> None:
    store.devices.add(device())
    store.devices.remove("Gate")
    revived = store.devices.add(device(ip="192.0.2.99"))
    assert (revived.id, revived.ip_address) == (1, "192.0.2.99")
    assert rows(store, "SELECT count(*) FROM devices") == [(1,)]


def test_applying_a_declaration_twice_changes_nothing_the_second_time(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device("old"))
    store.devices.add(device("other"))
    declared = [device("old", site="HQ"), device("new")]
    first = store.devices.apply(declared)
    assert (first.added, first.changed, first.unchanged) == (["new"], ["old"], [])
    held = store.devices.all()
    clock.go(days=1)
    second = store.devices.apply(declared)
    assert (second.added, second.changed, second.unchanged) == ([], [], ["old", "new"])
    assert store.devices.all() == held


def test_only_a_new_site_or_zone_makes_days_stale(store: Store) -> None:
    store.devices.add(device())
    store.devices.add(device("Other"))
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    ingest(store, "Other", *on(TUESDAY, "08:00"))
    process(store, MONDAY, TUESDAY)
    store.devices.update("Gate", port=1, ip_address="192.0.2.99", enabled=False, encoding="GBK")
    assert stale(store) == []
    store.devices.update("Gate", site="HQ")
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    store.devices.update("Other", timezone="Asia/Tokyo")
    assert stale(store) == [TUESDAY]


def test_a_new_site_makes_the_dates_of_the_grouping_in_force_stale(store: Store) -> None:
    store.devices.add(device())
    store.punches.apply_workday_start(time(14))
    ingest(store, "Gate", *on(TUESDAY, "02:00"))
    process(store, MONDAY, workday_starts_at=time(14))
    store.devices.update("Gate", site="HQ")
    assert stale(store) == [MONDAY]


def test_a_new_zone_keeps_the_wall_clocks_and_moves_the_instants(store: Store) -> None:
    store.devices.add(device())
    store.devices.add(device("Other"))
    for name in ("Gate", "Other"):
        ingest(store, name, *on(MONDAY, "08:00", "17:00"))
    store.devices.update("Gate", timezone="Asia/Tokyo")
    held = rows(store, "SELECT device, punched_at_local::VARCHAR, punched_at::VARCHAR FROM raw_punches ORDER BY ALL")
    assert held == [
        ("Gate", "2026-03-02 08:00:00", "2026-03-01 23:00:00+00"),
        ("Gate", "2026-03-02 17:00:00", "2026-03-02 08:00:00+00"),
        ("Other", "2026-03-02 08:00:00", "2026-03-02 08:00:00+00"),
        ("Other", "2026-03-02 17:00:00", "2026-03-02 17:00:00+00"),
    ]
