"""Device tables for previews in the UI and for the command line."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from zk_pipeline.devices.models import Device
from zk_pipeline.time_text import instant

DEVICE_COLUMNS = ["name", "site", "enabled", "last_sync", "address", "protocol", "timezone", "serial_number"]


def device_table(devices: Sequence[Device]) -> pd.DataFrame:
    """One row per device, columns DEVICE_COLUMNS."""
    rows = [
        (d.name, d.site, d.enabled, _last_sync(d), _address(d), d.protocol, d.timezone, d.serial_number)
        for d in devices
    ]
    return pd.DataFrame(rows, columns=DEVICE_COLUMNS)


def _last_sync(device: Device) -> str | None:
    return None if device.last_sync is None else instant(device.last_sync, precision="minutes")


def _address(device: Device) -> str:
    return f"{device.ip_address}:{device.port}"
