"""Routers of the web admin, in the order in which their paths are matched."""

from __future__ import annotations

from zk_pipeline.web import deliveries, login, overview, runs, search, sites
from zk_pipeline.web.attendance import (
    day,
    exports,
    holidays,
    leaves,
    lists,
    month_sheet,
    payroll,
    people,
    person,
    presence,
    punch_requests,
    reviews,
    rotations,
    seasons,
    shifts,
)
from zk_pipeline.web.devices import forms, pages, punch_files, pushing, quarantine

# `pushing` and `forms` before `pages`: /devices/adopt and /devices/new are no devices.
_PAGES = (
    login,
    overview,
    search,
    pushing,
    forms,
    pages,
    punch_files,
    runs,
    sites,
    people,
    person,
    presence,
    lists,
    reviews,
    punch_requests,
    day,
    deliveries,
    quarantine,
    exports,
    month_sheet,
    payroll,
    shifts,
    rotations,
    seasons,
    holidays,
    leaves,
)
ROUTERS = tuple(page.router for page in _PAGES)
