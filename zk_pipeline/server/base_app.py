"""Base of the FastAPI applications of this package: services, error responses, pages, middleware, lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.concurrency import run_in_threadpool

from zk_pipeline import __version__
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.http.errors import add_error_handlers
from zk_pipeline.http.middleware import RequestGuard
from zk_pipeline.http.openapi_document import DocumentedApp
from zk_pipeline.http.services import Services
from zk_pipeline.web.rendering import mount_web

RUN_TIMEOUT_SECONDS = 30.0  # for runs to finish when the API stops
_TOKEN_USE_SECONDS = 60.0
_log = logging.getLogger("zk_pipeline.api")


def make_app(
    services: Services, *pages: APIRouter, api: Sequence[APIRouter] = (), openapi_url: str | None = None
) -> FastAPI:
    """An application with `api`, `pages`, error handlers and middleware. Routes are compared in this order: a request
    to the API takes half a millisecond longer after those of all pages.
    """
    app = DocumentedApp(
        title="zk_pipeline",
        version=__version__,
        description="Terminals, punches, days and their delivery.",
        openapi_url=openapi_url,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.services = services
    app.state.stopping = asyncio.Event()
    add_error_handlers(app)
    for router in api:
        app.include_router(router)
    mount_web(app, *pages)
    app.add_middleware(
        RequestGuard,
        requests=services.requests,
        any_host=services.settings.api_tokens_required,
        read_copy=services.read_copy,
    )
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
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
