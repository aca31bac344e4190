"""Status label of a terminal, and limits of its clock drift and log fill level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from zk_pipeline.devices.models import Device
from zk_pipeline.http.services import Services
from zk_pipeline.operations.alerting.quality_results import DEVICE_SILENT
from zk_pipeline.store.queries.overview import DeviceStatus

# The limits of the checks of `raw_punches`.
MAX_DRIFT_SECONDS = 60.0
MAX_FILL = 0.8


@dataclass(frozen=True)
class DeviceLine:
    """A row of a list of terminals."""

    id: int
    status: DeviceStatus
    device: Device
    kind: str
    label: str

    @property
    def timezone(self) -> str:
        return self.device.timezone

    @property
    def address(self) -> str:
        """Address that polls connect to, or from which a terminal that only pushes connected at its adoption."""
        return self.status.address if self.device.polled else self.device.ip_address or "–"

    @property
    def is_drifting(self) -> bool:
        return abs(self.status.clock_drift_seconds or 0.0) >= MAX_DRIFT_SECONDS

    @property
    def is_nearly_full(self) -> bool:
        return (self.status.fill or 0.0) >= MAX_FILL


def label_of(status: DeviceStatus, connection: str, now: datetime, polled_every: timedelta) -> tuple[str, str]:
    """CSS class and label: locked, disabled, or the result and age of the latest poll or contact. `connection`: as of
    its Device.
    """
    is_silent = status.last_success is None or now - status.last_success > max(DEVICE_SILENT, 3 * polled_every)
    labels = (
        (status.keypad_locked_at is not None, "bad", "locked"),
        (not status.enabled, "", "disabled"),
        (connection == "files", "", "files only"),
        (connection == "pushes" and status.last_success is None, "", "adopted"),  # has not connected since
        (status.last_poll is None, "warn", "never polled"),
        (status.last_poll_status == "failed", "bad", "not read"),
        (is_silent, "warn", "silent"),
        (True, "ok", "read" if status.polled else "connected"),
    )
    return next((kind, label) for applies, kind, label in labels if applies)


def lines_of(
    services: Services, devices: Sequence[DeviceStatus], registered: Sequence[Device] | None = None
) -> list[DeviceLine]:
    """Terminals with their status, by name. `registered`: their entries; None: read all."""
    now, every = services.clock(), timedelta(minutes=services.settings.polling_interval_minutes)
    known = {device.name: device for device in (services.store.devices.all() if registered is None else registered)}
    return [
        DeviceLine(
            known[one.name].id or 0, one, known[one.name], *label_of(one, known[one.name].connection, now, every)
        )
        for one in devices
        if one.name in known
    ]
