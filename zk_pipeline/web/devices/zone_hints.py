"""Hint at a wrong time zone of a terminal, from the measured drift of its clock."""

from __future__ import annotations

from zk_pipeline.devices.models import Device
from zk_pipeline.devices.zone_suggestions import suggested_zones, zone_shift
from zk_pipeline.http.services import Services
from zk_pipeline.web.formatting import duration


def zone_hint(services: Services, device: Device, drift_seconds: float | None) -> str | None:
    """Sentence that names the drift and zones that would explain it; None for a drift that no zone explains."""
    shift = zone_shift(drift_seconds)
    if shift is None:
        return None
    known = [services.settings.timezone, *(one.timezone for one in services.store.devices.all())]
    zones = suggested_zones(device.timezone, shift, services.clock(), known)
    way = "ahead" if shift.total_seconds() > 0 else "behind"
    cause = (
        f"its zone may be {_alternatives(zones)}; if {device.timezone} is right, set its clock" if zones else "set it"
    )
    return f"The terminal's clock is {duration(abs(round(shift.total_seconds() / 60)))} {way}: {cause}."


def _alternatives(zones: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(zones[:-1]), zones[-1])))
