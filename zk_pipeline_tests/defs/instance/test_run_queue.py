"""Concurrency of runs: run queue and pools of the shipped `dagster.yaml`, with Dagster's own daemon."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster_shared.error import SerializableErrorInfo

from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import DateRange, range_tags
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.daemon_fixtures import Daemons, open_daemons
from zk_pipeline_tests.store.store_fixtures import device

SENSOR = InstigatorType.SENSOR
DAYS = [date(2024, 3, number) for number in range(1, 6)]
GATE = range_tags("Gate", "Gate")


def _error(status: TickStatus) -> SerializableErrorInfo | None:
    return SerializableErrorInfo("no such thing", [], None) if status is TickStatus.FAILURE else None


@pytest.fixture
def daemons(home: Path, home_store: Store) -> Iterator[Daemons]:
    home_store.devices.add(device("Gate"))
    with open_daemons(home) as opened:
        opened.instance.add_dynamic_partitions(Names().device_partitions_name, ["Gate"])
        yield opened


@pytest.fixture
def queue(daemons: Daemons) -> Daemons:
    """Daemons after the first iteration of the sensors, which comes before any run request."""
    daemons.look_with_sensors()
    return daemons


def test_backfills_in_the_queue_leave_room_for_a_poll_that_came_after_them(queue: Daemons) -> None:
    first, *_ = [queue.ask_for("process_attendance", DateRange(day, day).tags) for day in DAYS]
    assert queue.dequeue() == ["process_attendance"]
    queue.ask_for("poll_devices", GATE)
    assert queue.dequeue() == ["process_attendance", "poll_devices"]
    assert queue.dequeue() == ["process_attendance", "poll_devices"]
    queue.end(first)
    assert sorted(queue.dequeue()) == ["poll_devices", "process_attendance"]


def test_two_polls_never_run_at_once_however_they_were_asked_for(queue: Daemons) -> None:
    first, _ = queue.ask_for("poll_devices", GATE), queue.ask_for("poll_devices", GATE)
    assert queue.dequeue() == queue.dequeue() == ["poll_devices"]
    queue.end(first)
    assert queue.dequeue() == ["poll_devices"]


def test_the_crm_has_one_sender_whichever_job_it_is_of(queue: Daemons) -> None:
    tags = DateRange(DAYS[0], DAYS[-1]).tags
    first, _ = queue.ask_for("sync_to_crm", tags), queue.ask_for("retry_failed_syncs", tags)
    assert queue.dequeue() == queue.dequeue() == ["sync_to_crm"]
    queue.end(first)
    assert queue.dequeue() == ["retry_failed_syncs"]


def test_old_ticks_are_pruned_when_their_sensor_looks_again(daemons: Daemons) -> None:
    workspace = daemons.context.create_request_context()
    repository = workspace.get_code_location("zk_pipeline").get_repository("__repository__")
    sensor = repository.get_sensor("device_registry_sensor")
    origin, selector = sensor.get_remote_origin_id(), sensor.selector_id
    now = datetime.now(UTC)

    def tick(status: TickStatus, days: float) -> float:
        at = (now - timedelta(days=days)).timestamp()
        data = TickData(origin, sensor.name, SENSOR, status, at, selector_id=selector, run_ids=[], error=_error(status))
        daemons.instance.create_tick(data)
        return at

    for status, days in ((TickStatus.SKIPPED, 4), (TickStatus.SUCCESS, 31), (TickStatus.FAILURE, 91)):
        tick(status, days)
    kept = {tick(status, days) for status, days in ((TickStatus.SKIPPED, 2), (TickStatus.FAILURE, 89))}
    daemons.look_with_sensors()
    left = {one.timestamp for one in daemons.instance.get_ticks(origin, selector)}
    assert kept < left, "and the new one"
    assert len(left) == len(kept) + 1
    assert daemons.instance.get_tick_retention_settings(InstigatorType.SCHEDULE)[TickStatus.SKIPPED] == 7
