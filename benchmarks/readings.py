"""Readings for the benchmarks of the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from zk_pipeline.devices.models import Device
from zk_pipeline.store.terminals.poll_results import FinishedReading
from zk_pipeline_tests.store.store_fixtures import reading

PUNCHES = 8  # new punches per reading: a terminal of fifty employees in a quarter of an hour of the morning
_BEGIN = datetime(2026, 3, 2, 6, tzinfo=UTC)


def finished_reading(device: Device, minute: int) -> FinishedReading:
    """A reading of PUNCHES punches, other ones for each minute."""
    at = _BEGIN + timedelta(minutes=minute)
    punches = [(str(1000 + number), f"{at:%Y-%m-%d %H:%M}:{number:02}") for number in range(PUNCHES)]
    return FinishedReading(device=device, reading=reading(punches, serial=device.name), started_at=at, finished_at=at)
