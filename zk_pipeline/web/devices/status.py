"""How a terminal stands, as one word and its class, and what of its figures is out of bounds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from zk_pipeline.http.services import Services
from zk_pipeline.operations.alerting.quality_verdicts import DEVICE_SILENT
from zk_pipeline.store.queries.overview import DeviceStatus, StoreStatus

# As the checks of `raw_punches` have them.
MAX_DRIFT_SECONDS = 60.0
MAX_FILL = 0.8


@dataclass(frozen=True)
class DeviceLine:
    """A row of a list of terminals."""

    id: int
    status: DeviceStatus
    timezone: str
    kind: str
    word: str

    @property
    def is_drifting(self) -> bool:
        return abs(self.status.clock_drift_seconds or 0.0) >= MAX_DRIFT_SECONDS

    @property
    def is_nearly_full(self) -> bool:
        return (self.status.fill or 0.0) >= MAX_FILL


def word_for(status: DeviceStatus, now: datetime, polled_every: timedelta) -> tuple[str, str]:
    """(class, word): whether it is locked, how its newest poll went, and whether that is long ago."""
    if status.keypad_locked_at is not None:
        return "bad", "locked"
    if not status.enabled:
        return "", "disabled"
    if status.last_poll is None:
        return "warn", "never polled"
    if status.last_poll_status == "failed":
        return "bad", "not read"
    if status.last_success is None or now - status.last_success > max(DEVICE_SILENT, 3 * polled_every):
        return "warn", "silent"
    return "ok", "read"


def status_of(services: Services) -> StoreStatus:
    return services.store.overview.status(
        first=services.settings.history_start, last=services.last_work_date(), now=services.clock()
    )


def lines_of(services: Services, status: StoreStatus) -> list[DeviceLine]:
    """All registered terminals with how they stand, by name."""
    now, every = services.clock(), timedelta(minutes=services.settings.polling_interval_minutes)
    known = {device.name: device for device in services.store.devices.all()}
    return [
        DeviceLine(known[one.name].id or 0, one, known[one.name].timezone, *word_for(one, now, every))
        for one in status.devices
        if one.name in known
    ]
