"""Login of the web admin in front of the Dagster UI, for UI_LOGIN_REQUIRED."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from urllib.parse import quote

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zk_pipeline.config.settings import Settings
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.http.auth import identify
from zk_pipeline.http.errors import error_body, error_response
from zk_pipeline.http.services import make_services
from zk_pipeline.http.sessions import Sessions
from zk_pipeline.operations.terminal_gateway import terminal_gateway
from zk_pipeline.server.base_app import lifespan, make_app
from zk_pipeline.store.store import Store
from zk_pipeline.web import login


def create_login_app(settings: Settings) -> FastAPI:
    """The login page alone, with sessions of its own."""
    services = make_services(settings, Store.at(settings.store), terminal_gateway(settings))
    # Browsers send cookies to all ports of a host: the session of `zk-pipeline api` must not be overwritten.
    sessions = Sessions(time.monotonic, cookie_name="zk_ui_session")
    return make_app(replace(services, sessions=sessions), login.router)


@dataclass(frozen=True)
class UiLogin:
    """ASGI middleware that requires a token of scope `admin`, in the Authorization header or by a browser session."""

    app: ASGIApp
    login: FastAPI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            async with AsyncExitStack() as exits:
                await exits.enter_async_context(lifespan(self.login))

                async def end_and_send(message: Message) -> None:
                    if message["type"].startswith("lifespan.shutdown"):  # after it the server ends the event loop
                        await exits.aclose()
                    await send(message)

                await self.app(scope, receive, end_and_send)
        elif scope["path"] in ("/login", "/logout") or scope["path"].startswith("/static/"):
            await self.login(scope, receive, send)
        else:
            refusal = await run_in_threadpool(self._refusal, scope)
            await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        is_encrypted = scope["scheme"] in ("https", "wss")
        # Also for a web socket, whose handshake is a GET request.
        request = Request(
            {"method": "GET", **scope, "type": "http", "scheme": "https" if is_encrypted else "http", "app": self.login}
        )
        is_page = "text/html" in request.headers.get("accept", "")
        try:
            identity = identify(request)
            if identity is None and is_page:
                query = f"?{request.url.query}" if request.url.query else ""
                return RedirectResponse(f"/login?next={quote(request.url.path + query)}", 303)
            if identity is None:
                raise HTTPException(401, "Authentication credentials were not provided.", {"WWW-Authenticate": "Token"})
            request.state.identity = identity
            if not identity.may("admin"):
                raise HTTPException(403, f"the Dagster UI needs a token of scope admin; this one has {identity.scope}")
        except HTTPException as error:
            status, body, headers = error.status_code, {"detail": error.detail}, dict(error.headers or {})
        except ZkPipelineError as error:
            status, body, headers = error_body(error)
        else:
            return None
        return error_response(request, status, body, headers) if is_page else JSONResponse(body, status, headers)
