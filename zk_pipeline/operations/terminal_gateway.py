"""Terminal gateway from the settings. Comm keys come from the environment or `.env`; the registry only has the name of
the variable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from zk_pipeline.config.settings import Settings, read_variable
from zk_pipeline.devices.gateway import TerminalGateway, comm_keys_from
from zk_pipeline.devices.models import Device
from zk_pipeline.store.store import Store


def comm_key_of(device: Device, home: Path, environ: Mapping[str, str]) -> int:
    """The device's current comm key; 0 without one. Raises UsageError naming the variable, not its value."""
    if device.comm_key_env is None:
        return 0
    value = read_variable(device.comm_key_env, home, environ)
    return comm_keys_from({} if value is None else {device.comm_key_env: value})(device)


def terminal_gateway(settings: Settings) -> TerminalGateway:
    """Gateway for assets and commands: limits of the settings, comm keys read when needed, shared device locks, and
    keypad locks recorded in the store.
    """

    def comm_key(device: Device) -> int:
        return comm_key_of(device, settings.home, os.environ)

    return TerminalGateway(
        timeout=settings.terminal_timeout,
        deadline=settings.poll_deadline,
        comm_keys=comm_key,
        locks=settings.terminal_locks,
        keypad_locks=Store.at(settings.store).keypad_locks,
        networks=settings.device_networks,
    )
