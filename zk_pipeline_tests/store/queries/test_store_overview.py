"""Overview of devices, stale dates and deliveries."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.queries.overview import DeviceStatus
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll
from zk_pipeline_tests.store.store_fixtures import (
    LONG_AFTER,
    MONDAY,
    TUESDAY,
    StoppedClock,
    device,
    execute,
    ingest,
    on,
    process,
)

PARTITIONS: dict[str, Any] = {"rules": WorkRules(), "first": date(2020, 1, 1), "last": date(2026, 6, 2)}


def test_an_empty_store_has_nothing_to_tell(store: Store, clock: StoppedClock) -> None:
    status = store.overview.status(**PARTITIONS, now=clock.now)
    assert (status.devices, status.punches, status.days, status.stale, status.deliveries) == ([], 0, 0, [], {})
    assert (status.oldest_due, status.failed, status.quarantined, status.unpartitioned) == (None, 0, 0, [])


def test_a_device_is_shown_with_its_newest_poll_and_its_newest_success(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device("Never read", ip="192.0.2.11"))
    store.devices.add(device("Gate", site="HQ"))
    store.devices.add(device("Gone"))
    store.devices.remove("Gone")
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
    clock.go(minutes=15)
    store.punches.record_failures(
        [FailedPoll("Gate", clock.now, clock.now, "no_answer", "it fell silent")], run_id=None
    )
    gate, never = store.overview.status(**PARTITIONS, now=clock.now).devices
    assert gate == DeviceStatus(
        name="Gate",
        site="HQ",
        address="192.0.2.10:4370",
        enabled=True,
        last_success=LONG_AFTER,
        last_poll=clock.now,
        last_poll_status="failed",
        last_error="it fell silent",
        last_warnings=None,
        clock_drift_seconds=1.5,
        records=2,
        fill=0.002,
    )
    assert (never.address, never.last_success, never.last_poll_status, never.fill) == (
        "192.0.2.11:4370",
        None,
        None,
        None,
    )


def test_counts_stale_dates_and_the_queue_are_told_together(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"), *on(MONDAY, "08:00", user_id="1002"), rejected=[b"?"])
    process(store, MONDAY)
    clock.go(hours=1)
    ingest(store, "Gate", *on(TUESDAY, "08:00"), *on(date(2099, 1, 1), "08:00"), *on(date(2019, 1, 1), "08:00"))
    execute(store, "UPDATE crm_deliveries SET state = 'failed' WHERE user_id = '1002'")
    status = store.overview.status(**PARTITIONS, now=clock.now)
    assert (status.punches, status.days, status.quarantined, status.failed) == (6, 2, 1, 1)
    assert status.stale == [TUESDAY]
    assert (status.unpartitioned, status.clock_suspects) == ([date(2019, 1, 1)], 1)
    assert status.deliveries == {"failed": 1, "pending": 1}
    assert status.oldest_due == datetime(2026, 6, 1, 12, tzinfo=UTC)
