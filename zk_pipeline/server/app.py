"""The application: services, routers, middleware. Creating it opens no file and starts no process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from zk_pipeline import __version__
from zk_pipeline.api import (
    actions,
    attendance,
    devices,
    explain,
    exports,
    health,
    holidays,
    quarantine,
    reviews,
    runs,
    shifts,
)
from zk_pipeline.config.settings import Settings
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.http.errors import add_error_handlers
from zk_pipeline.http.middleware import RequestGuard
from zk_pipeline.http.services import Parts, Services, make_services
from zk_pipeline.store.store import Store
from zk_pipeline.web import api_reference
from zk_pipeline.web.rendering import mount_web
from zk_pipeline.web.routers import ROUTERS

RUN_TIMEOUT_SECONDS = 30.0  # for runs to finish when the API stops
_TOKEN_USE_SECONDS = 60.0
# `actions` before `devices`: /api/devices/poll_all/ is not a device.
_API_MODULES = (
    actions,
    attendance,
    reviews,
    explain,
    exports,
    devices,
    shifts,
    holidays,
    quarantine,
    runs,
    health,
    api_reference,
)
_log = logging.getLogger("zk_pipeline.api")


def create_app(settings: Settings, store: Store, terminals: TerminalGateway, *, parts: Parts | None = None) -> FastAPI:
    """The REST API and the web admin on a store and a terminal gateway."""
    services = make_services(settings, store, terminals, parts)
    app = FastAPI(
        title="zk_pipeline",
        version=__version__,
        description="Terminals, punches, days and their delivery.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.services = services
    app.state.stopping = asyncio.Event()
    add_error_handlers(app)
    for part in _API_MODULES:
        app.include_router(part.router)
    mount_web(app, *ROUTERS)
    app.add_middleware(RequestGuard, requests=services.requests, any_host=settings.api_tokens_required)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    writing = asyncio.create_task(_write_token_uses_regularly(services))
    try:
        yield
    finally:
        app.state.stopping.set()
        writing.cancel()
        await run_in_threadpool(services.actions.stop, RUN_TIMEOUT_SECONDS)
        await run_in_threadpool(_write_token_uses, services)
        services.close()


async def _write_token_uses_regularly(services: Services) -> None:
    while True:
        await asyncio.sleep(_TOKEN_USE_SECONDS)
        await run_in_threadpool(_write_token_uses, services)


def _write_token_uses(services: Services) -> None:
    try:
        services.tokens.write_last_used()
    except ZkPipelineError as error:
        _log.warning("last use of tokens could not be stored, will be retried: %s", error)
