"""Metadata links from assets and partitions to pages of the web admin; none if ZK_PIPELINE_ADMIN_URL is not set."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import dagster as dg

_PAGES = {
    "devices": "/devices",
    "raw_punches": "/punches",
    "work_dates": "/attendance",
    "daily_attendance": "/attendance",
    "crm_sync": "/deliveries",
}


@dataclass(frozen=True)
class AdminLinks:
    """`url` is ZK_PIPELINE_ADMIN_URL. Each method returns metadata with the URL of a page under `admin_page`."""

    url: str | None

    def asset(self, name: str) -> dict[str, dg.MetadataValue]:
        return self._page(_PAGES[name])

    def device(self, device_id: int | None) -> dict[str, dg.MetadataValue]:
        return {} if device_id is None else self._page(f"/devices/{device_id}")

    def days(self, day: date) -> dict[str, dg.MetadataValue]:
        """The attendance days of a work date."""
        return self._page(f"/attendance?start_date={day}&end_date={day}")

    def delivered(self, day: date) -> dict[str, dg.MetadataValue]:
        """The delivered deliveries of a work date."""
        return self._page(f"/deliveries?state=delivered&start_date={day}&end_date={day}")

    def _page(self, path: str) -> dict[str, dg.MetadataValue]:
        return {"admin_page": dg.MetadataValue.url(f"{self.url}{path}")} if self.url else {}
