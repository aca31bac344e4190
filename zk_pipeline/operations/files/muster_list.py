"""Texts of the muster list, for the command and the page."""

from __future__ import annotations

from datetime import datetime

from zk_pipeline.store.days.muster import SiteMuster, TerminalReading
from zk_pipeline.time_text import instant


def reading_text(reading: TerminalReading, now: datetime) -> str:
    """When the data of a terminal was last read."""
    if reading.last_read_at is None:
        return f"{reading.device} was never read"
    at = instant(reading.last_read_at, reading.timezone, "minutes")
    minutes = int((now - reading.last_read_at).total_seconds() // 60)
    age = f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
    return f"{reading.device} was last read {age} ago, at {at}"


def unsafe_reasons(site: SiteMuster, now: datetime) -> list[str]:
    """Why the list of a site may be wrong; empty if it is safe."""
    if not site.terminals:
        return ["no terminal of this site is enabled"]
    return [
        f"{reading_text(one, now)}: employees may have come or left since, and are missing or listed wrongly"
        for one in site.outdated
    ]
