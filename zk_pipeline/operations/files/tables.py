"""Device tables for previews in the UI and for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd

from zk_pipeline.devices.models import Device

DEVICE_COLUMNS = ["name", "site", "enabled", "last_sync", "address", "protocol", "timezone", "serial_number"]


def device_table(devices: Sequence[Device]) -> pd.DataFrame:
    """One row per device, columns DEVICE_COLUMNS."""
    rows = [
        (d.name, d.site, d.enabled, _utc(d.last_sync), _address(d), d.protocol, d.timezone, d.serial_number)
        for d in devices
    ]
    return pd.DataFrame(rows, columns=DEVICE_COLUMNS)


def _utc(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _address(device: Device) -> str:
    return f"{device.ip_address}:{device.port}"
