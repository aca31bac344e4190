"""Dagster's webserver with checks of host and origin: `python -m zk_pipeline.server.dagster_webserver`.

It has the options and environment variables of `dagster-webserver`, which has no such checks: any page in a browser on
this machine could start and stop runs. This module alone imports the package `dagster_webserver`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from zk_pipeline.runtime.interpreter import slow_imports
from zk_pipeline.runtime.private_files import keep_files_private

with slow_imports():
    from dagster_webserver import app as webserver_app
    from dagster_webserver import cli as webserver_cli
    from dagster_webserver.webserver import DagsterWebserver
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from zk_pipeline.config.settings import Settings, load_settings
    from zk_pipeline.defs.dagster_internals import keep_storage_engines, watch_code_server_rarely
    from zk_pipeline.errors import UsageError
    from zk_pipeline.http.origin import SAFE_METHODS, host_name, is_loopback_name, is_same_origin

# A page of another origin must not show the UI in a frame, where users would click on what they do not see.
_HEADERS = {"x-frame-options": "SAMEORIGIN", "cross-origin-resource-policy": "same-origin"}


class GuardedWebserver(DagsterWebserver[Any, Any]):
    """Dagster's webserver with `WebserverGuard` and, if UI_LOGIN_REQUIRED is set, the login of the web admin."""

    def __init__(self, settings: Settings, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._settings = settings

    def build_middleware(self) -> list[Middleware]:
        middleware = [Middleware(WebserverGuard, ui_host=urlsplit(self._settings.ui_url or "").hostname)]
        if self._settings.ui_login_required:
            from zk_pipeline.server.ui_login import UiLogin, create_login_app  # noqa: PLC0415 (loads the store)

            middleware.append(Middleware(UiLogin, login=create_login_app(self._settings)))
        return [*middleware, *super().build_middleware()]

    async def graphql_http_endpoint(self, request: Request) -> Response:
        """Accept JSON by POST, which no form, link or image of another page can send; by GET only show GraphiQL."""
        if request.method == "POST":
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return _reject(415, "GraphQL is accepted as application/json only")
        elif request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
            return _reject(405, "GraphQL is accepted by POST only", {"Allow": "POST"})
        response: Response = await super().graphql_http_endpoint(request)
        return response


@dataclass(frozen=True)
class WebserverGuard:
    """ASGI middleware that accepts names of this machine and `ui_host` as Host, against DNS rebinding, and what may
    change something, as well as web sockets, only from pages of the same origin or from no browser.
    """

    app: ASGIApp
    ui_host: str | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" else self._refusal(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (refusal or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not is_loopback_name(host) and host_name(host) != self.ui_host:
            return _reject(421, "unknown host name: use localhost, or set ZK_PIPELINE_UI_URL to the address of the UI")
        # Not even with an Authorization header: browsers send the login of a proxy with requests of foreign pages, too.
        if scope.get("method") not in SAFE_METHODS and not is_same_origin(headers):
            return _reject(403, "this request comes from a page of another origin")
        return None


def main() -> None:
    """Run the command `dagster-webserver` with `GuardedWebserver` as its application."""
    keep_files_private()
    try:
        settings = load_settings()
    except UsageError as error:
        sys.exit(f"error: {error}")
    watch_code_server_rarely()
    keep_storage_engines()
    webserver_app.DagsterWebserver = partial(GuardedWebserver, settings)  # type: ignore[attr-defined,assignment]
    webserver_cli.main()  # type: ignore[no-untyped-call]


def _reject(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers)


if __name__ == "__main__":
    main()
