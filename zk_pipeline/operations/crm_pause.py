"""Pause of deliveries that the CRM asked for (Retry-After)."""

from __future__ import annotations

from datetime import datetime

from zk_pipeline.config.settings import Settings
from zk_pipeline.store.store import Store
from zk_pipeline.time_text import instant


def paused_until(store: Store, settings: Settings) -> datetime | None:
    """End of the pause that the CRM asked for; None without a CRM or a pause."""
    return None if settings.crm_api_url is None else store.deliveries.paused_until(settings.crm_api_url)


def pause_message(store: Store, settings: Settings) -> str | None:
    """Message about the current pause that the CRM asked for; None without one."""
    until = paused_until(store, settings)
    if until is None:
        return None
    lift = "`sync --force` lifts it, and also sends delivered records again"
    return f"the CRM asked for a pause until {instant(until)}; {lift}"
