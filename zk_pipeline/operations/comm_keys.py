"""Comm keys of terminals, from the environment or `.env`; the registry only holds the variable's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zk_pipeline.devices.gateway import comm_keys_from
from zk_pipeline.devices.models import Device
from zk_pipeline.settings import read_variable


def comm_key_of(device: Device, home: Path, environ: Mapping[str, str]) -> int:
    """The device's comm key, read now; 0 where it names none. Raises UsageError naming the variable, not its value."""
    if device.comm_key_env is None:
        return 0
    value = read_variable(device.comm_key_env, home, environ)
    return comm_keys_from({} if value is None else {device.comm_key_env: value})(device)
