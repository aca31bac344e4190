"""All pages of the web admin, in the order in which their paths are tried."""

from __future__ import annotations

from zk_pipeline.web import (
    attendance,
    days,
    deliveries,
    device_forms,
    devices,
    exports,
    holidays,
    login,
    month_sheet,
    overview,
    quarantine,
    reviews,
    runs,
    shifts,
)

# `device_forms` before `devices`: /devices/new is not a device.
_PAGES = (
    login,
    overview,
    device_forms,
    devices,
    runs,
    attendance,
    reviews,
    days,
    deliveries,
    quarantine,
    exports,
    month_sheet,
    shifts,
    holidays,
)
ROUTERS = tuple(page.router for page in _PAGES)
