"""Rendering of pages and access to them: templates, static files, login, CSRF tokens of forms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, quote, urlsplit

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

from zk_pipeline import __version__
from zk_pipeline.http.auth import Identity, check_csrf, identify
from zk_pipeline.http.services import services_of
from zk_pipeline.store.api_tokens import Scope
from zk_pipeline.store.queries.waiting import Waiting, waiting
from zk_pipeline.web.formatting import add_formatting_filters
from zk_pipeline.web.navigation import WaitingCache, served_groups, shown_count
from zk_pipeline.web.notices import take_notice
from zk_pipeline.web.template_filters import add_template_filters

_FOLDER = Path(__file__).parent
_TEMPLATES = Jinja2Templates(directory=_FOLDER / "templates")
add_formatting_filters(_TEMPLATES.env)
add_template_filters(_TEMPLATES.env)
_TEMPLATES.env.filters.update(shown_count=shown_count)
_MAX_FIELDS = 1_050  # the rows of the longest page of a list, and the other fields


@dataclass(frozen=True)
class DagsterUi:
    """Links to the Dagster UI, None if ZK_PIPELINE_UI_URL is not set. `url` has no trailing slash."""

    url: str | None
    key_prefix: tuple[str, ...] = ()

    def run(self, run_id: str | None) -> str | None:
        return f"{self.url}/runs/{quote(run_id, safe='')}" if self.url and run_id else None

    def runs(self) -> str | None:
        return f"{self.url}/runs" if self.url else None

    def partition(self, asset: str, key: object) -> str | None:
        """One partition of an asset: a device of `raw_punches`, a work date of the others."""
        return f"{self.partitions(asset)}&partition={quote(str(key), safe='')}" if self.url else None

    def partitions(self, asset: str) -> str | None:
        """All partitions of an asset."""
        path = "/".join((*self.key_prefix, asset))
        return f"{self.url}/assets/{path}?view=partitions" if self.url else None


class LoginNeeded(Exception):
    """No session and no token; the login page leads back to the requested page."""


def mount_web(app: FastAPI, *pages: APIRouter) -> None:
    """Add pages, static files and the error page to the application."""
    for router in pages:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    app.add_exception_handler(LoginNeeded, _to_login)
    app.state.error_page = error_page
    served = {str(getattr(route, "path", "")) for router in pages for route in router.routes}
    app.state.navigation = served_groups(served | {"/api/docs"} if "/" in served else served)
    app.state.waiting = WaitingCache()


def render(
    request: Request,
    template: str,
    identity: Identity | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """Render a template with autoescaping.

    Every template has `identity`, `csrf`, `zone` (default zone), `now`, `ui` (links to the Dagster UI), `navigation`
    with its `menu_counts` of what waits, `here` (its entry of the page) and the `notice` of the form before.
    A page below others passes `breadcrumbs`: title and address of each of them.
    """
    services = services_of(request)
    context = {
        "identity": identity,
        "csrf": identity.session.csrf if identity is not None and identity.session is not None else "",
        "zone": services.settings.timezone,
        "now": services.clock(),
        "ui": DagsterUi(services.settings.ui_url, services.settings.key_prefix),
        "version": __version__,
        "navigation": request.app.state.navigation,
        "menu_counts": values.pop("menu_counts", None) or _menu_counts(request, identity),
        "here": _entry_of(request.url.path),
        "notice": None if identity is None or is_from_script(request) else take_notice(identity.session),
        **values,
    }
    return _TEMPLATES.TemplateResponse(request, template, context, status, headers)


def _menu_counts(request: Request, identity: Identity | None) -> Waiting:
    """The numbers of what waits; not read for a page without the navigation, nor for a fragment."""
    cache: WaitingCache = request.app.state.waiting
    if identity is None or is_from_script(request) or not request.app.state.navigation:
        return cache.latest
    return cache.current(lambda: waiting(services_of(request).store.database))


def _entry_of(path: str) -> str:
    """Path of the navigation entry to which a page belongs."""
    return path if path.startswith("/api/") else "/" + path.split("/")[1]


def error_page(request: Request, status: int, detail: str, headers: Mapping[str, str] | None) -> Response:
    more = dict(headers or {})
    if is_from_script(request) and request.method == "GET" and status == 503:
        return Response(status_code=204, headers=more)  # a polling page continues to poll
    if is_from_script(request):  # replace the whole content, not the requested fragment
        more |= {"HX-Retarget": "#main", "HX-Reselect": "#main", "HX-Reswap": "outerHTML"}
    identity, latest = getattr(request.state, "identity", None), request.app.state.waiting.latest
    values = {"error_status": status, "detail": detail, "menu_counts": latest}  # does not read a store that may be busy
    return render(request, "error.html", identity, status=status, headers=more, **values)


def require_login(scope: Scope) -> Callable[..., Identity]:
    """Dependency of pages: the identity with `scope`. Raises LoginNeeded, or HTTPException 403."""

    def check(request: Request) -> Identity:
        return _admitted(request, scope)

    return check


Form = dict[str, str]


@dataclass(frozen=True)
class Signed:
    """A form with a verified CSRF token of the session of `identity`."""

    identity: Identity
    fields: Form


def signed_form(*scopes: Scope) -> Callable[..., Awaitable[Signed]]:
    """Dependency of `POST` handlers: the form with a verified CSRF token, of an identity with one of `scopes`."""

    async def check(request: Request) -> Signed:
        identity = await run_in_threadpool(_admitted, request, *scopes)
        fields = await read_form(request)
        check_csrf(identity, fields.pop("csrf_token", None) or request.headers.get("x-csrf-token"))
        request.app.state.waiting.forget()
        return Signed(identity, fields)

    return check


async def read_form(request: Request) -> Form:
    """Fields of an urlencoded body; the last value of each name. Raises HTTPException 400 or 415."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "a form is expected")
    try:
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise HTTPException(400, "the form cannot be read") from None


def safe_target(text: str | None) -> str:
    """Redirect target after login: a local path; `/` for an address of another site."""
    target = text or "/"
    parts = urlsplit(target)
    is_local = target.startswith("/") and not parts.scheme and not parts.netloc and target.isprintable()
    return target if is_local and "\\" not in target and not target.startswith("//") else "/"


def _admitted(request: Request, *scopes: Scope) -> Identity:
    identity = identify(request)
    if identity is None:
        raise LoginNeeded
    request.state.identity = identity
    if not identity.may(*scopes):
        needed = " or ".join(scopes)
        raise HTTPException(403, f"this token has the scope {identity.scope}; this page needs the scope {needed}")
    return identity


async def _to_login(request: Request, _: Exception) -> Response:
    path = _shown_path(request)
    returns = path != "/" and (request.method == "GET" or is_from_script(request))
    target = f"/login?next={quote(path)}" if returns else "/login"
    if is_from_script(request):
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)


def _shown_path(request: Request) -> str:
    """Path and query of the page in the browser window; `/` if unknown."""
    shown = request.headers.get("hx-current-url", "/") if is_from_script(request) else str(request.url)
    try:
        parts = urlsplit(shown)
    except ValueError:
        return "/"
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def is_from_script(request: Request) -> bool:
    """Whether htmx requests a fragment; it gets the same pages as a browser without scripts."""
    return request.headers.get("hx-request") == "true"


Reader = Annotated[Identity, Depends(require_login("read"))]
Requester = Annotated[Identity, Depends(require_login("request"))]
Operator = Annotated[Identity, Depends(require_login("operate"))]
Admin = Annotated[Identity, Depends(require_login("admin"))]
ReaderForm = Annotated[Signed, Depends(signed_form("read"))]
RequesterForm = Annotated[Signed, Depends(signed_form("request"))]
ApproverForm = Annotated[Signed, Depends(signed_form("approve"))]
ReviewerForm = Annotated[Signed, Depends(signed_form("approve", "operate"))]
OperatorForm = Annotated[Signed, Depends(signed_form("operate"))]
AdminForm = Annotated[Signed, Depends(signed_form("admin"))]
