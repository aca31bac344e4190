"""Device tables for previews in the UI and for the command line."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from zk_pipeline.devices.models import Device

DEVICE_COLUMNS = ["name", "address", "protocol", "timezone", "site", "enabled", "serial_number", "last_sync"]


def device_table(devices: Sequence[Device]) -> pd.DataFrame:
    """One row per device, columns DEVICE_COLUMNS."""
    rows = [
        (d.name, f"{d.ip_address}:{d.port}", d.protocol, d.timezone, d.site, d.enabled, d.serial_number, d.last_sync)
        for d in devices
    ]
    return pd.DataFrame(rows, columns=DEVICE_COLUMNS)
