"""The application of `zk-pipeline api`. Creating it opens no file and starts no process."""

from __future__ import annotations

from fastapi import FastAPI

from zk_pipeline.api import (
    actions,
    attendance,
    devices,
    explain,
    exports,
    health,
    holidays,
    leaves,
    payroll,
    presence,
    punch_requests,
    pushing_terminals,
    quarantine,
    reviews,
    runs,
    shifts,
)
from zk_pipeline.config.settings import Settings
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.http.services import Parts, make_services
from zk_pipeline.server.base_app import make_app
from zk_pipeline.store.store import Store
from zk_pipeline.web import api_reference
from zk_pipeline.web.routers import ROUTERS

# `actions` before `devices`: /api/devices/poll_all/ is not a device.
_API_MODULES = (
    actions,
    attendance,
    presence,
    reviews,
    punch_requests,
    explain,
    exports,
    payroll,
    devices,
    pushing_terminals,
    shifts,
    holidays,
    leaves,
    quarantine,
    runs,
    health,
    api_reference,
)


def create_app(settings: Settings, store: Store, terminals: TerminalGateway, *, parts: Parts | None = None) -> FastAPI:
    """The REST API and the web admin on a store and a terminal gateway."""
    services = make_services(settings, store, terminals, parts)
    api = [part.router for part in _API_MODULES]
    return make_app(services, *ROUTERS, api=api, openapi_url="/api/openapi.json")
