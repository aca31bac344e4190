"""Status label of a terminal, and limits of its clock drift and log fill level."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from zk_pipeline.http.services import Services
from zk_pipeline.operations.alerting.quality_results import DEVICE_SILENT
from zk_pipeline.operations.process import work_rules
from zk_pipeline.store.queries.overview import DeviceStatus, StoreStatus

# The limits of the checks of `raw_punches`.
MAX_DRIFT_SECONDS = 60.0
MAX_FILL = 0.8


@dataclass(frozen=True)
class DeviceLine:
    """A row of a list of terminals."""

    id: int
    status: DeviceStatus
    timezone: str
    kind: str
    label: str

    @property
    def is_drifting(self) -> bool:
        return abs(self.status.clock_drift_seconds or 0.0) >= MAX_DRIFT_SECONDS

    @property
    def is_nearly_full(self) -> bool:
        return (self.status.fill or 0.0) >= MAX_FILL


def label_of(status: DeviceStatus, now: datetime, polled_every: timedelta) -> tuple[str, str]:
    """CSS class and label: locked, disabled, or the result and age of the latest poll or contact."""
    if status.keypad_locked_at is not None:
        return "bad", "locked"
    if not status.enabled:
        return "", "disabled"
    if status.last_poll is None:
        return "warn", "never polled" if status.polled else "never connected"
    if status.last_poll_status == "failed":
        return "bad", "not read"
    if status.last_success is None or now - status.last_success > max(DEVICE_SILENT, 3 * polled_every):
        return "warn", "silent"
    return "ok", "read" if status.polled else "connected"


def status_of(services: Services) -> StoreStatus:
    return services.store.overview.status(
        work_rules(services.settings),
        first=services.settings.history_start,
        last=services.last_work_date(),
        now=services.clock(),
    )


def lines_of(services: Services, status: StoreStatus) -> list[DeviceLine]:
    """All registered terminals with their status, by name."""
    now, every = services.clock(), timedelta(minutes=services.settings.polling_interval_minutes)
    known = {device.name: device for device in services.store.devices.all()}
    return [
        DeviceLine(known[one.name].id or 0, one, known[one.name].timezone, *label_of(one, now, every))
        for one in status.devices
        if one.name in known
    ]
