"""Set a terminal's clock and record the drift, so that punches with a wrong time are marked as suspect."""

from __future__ import annotations

from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.terminal_info import ClockChange
from zk_pipeline.store.store import Store


def set_clock(store: Store, terminals: TerminalGateway, device: Device) -> ClockChange:
    """Set the clock of `device` to the host's time; the next poll marks punches that a wrong clock recorded before.

    Raises TerminalError.
    """
    changed = terminals.set_clock(device)
    store.devices.record_clock(
        device.name, drift_before=changed.drift_before_seconds, drift_after=changed.drift_after_seconds
    )
    return changed
