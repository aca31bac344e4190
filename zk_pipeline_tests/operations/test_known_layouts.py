"""The stored layout of a terminal survives a clock reset and an unreadable user list."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from zk_pipeline.operations.poll import DevicePolled, poll_devices
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.store.store import Store
from zk_pipeline_tests.devices.terminal_fixtures import NAME, Rewrite, device, gateway, table, terminal
from zk_pipeline_tests.store.store_fixtures import StoppedClock, rows

RESET = datetime(2000, 1, 8, 9, 0)  # noqa: DTZ001 - a wall clock has no zone


def poll(store: Store, *, full: bool = False) -> DevicePolled:
    (polled,) = poll_devices(store, store.devices.all(), gateway().read, deadline_seconds=30.0, run_id=None, full=full)
    return polled


def test_the_layout_of_the_last_reading_is_known_for_as_long_as_it_is_the_same_terminal(
    store: Store, clock: StoppedClock
) -> None:
    emulated = terminal(8, records=30, is_ma300=True)
    with Fleet.serve([emulated]) as fleet:
        store.devices.add(device(fleet.port_of(NAME)))
        assert poll(store).error is None
        fleet.call(emulated.clear_log)
        fleet.call(lambda: emulated.set_clock(RESET))
        for _ in range(20):
            fleet.punch(NAME, "1000", verify_type=1, punch_state=1)
        clock.now += timedelta(days=3)  # a tail is no longer to be relied on
        again = poll(store)
        store.devices.forget_serial(NAME)
        unknown = poll(store, full=True)
    assert again.reading is not None
    assert again.reading.log_layout == "8-MA300"
    assert again.reading.punches["punch_state"].unique().tolist() == [1]
    assert unknown.error_code == "layout_unknown"
    assert rows(store, "SELECT log_layout FROM devices") == [(None,)]


def test_a_user_list_that_makes_no_sense_leaves_the_people_as_they_are(store: Store) -> None:
    def nonsense(frames: list[Frame]) -> list[Frame]:
        tables.append(frames)
        return frames if len(tables) % 2 else [replace(frames[0], command=1501, data=table(b"\x01" * 40 * 72))]

    tables: list[list[Frame]] = []
    emulated = terminal(40, records=20)
    with Fleet.serve([emulated]) as fleet:
        store.devices.add(device(fleet.port_of(NAME)))
        assert poll(store).error is None
        people = rows(store, "SELECT * FROM device_users ORDER BY uid")
        fleet.inject(NAME, Rewrite(Command.CMD_DATA_WRRQ, nonsense))
        polled = poll(store, full=True)
    assert polled.reading is not None
    assert len(polled.reading.warnings) == 1
    assert len(people) == 40
    assert rows(store, "SELECT * FROM device_users ORDER BY uid") == people
