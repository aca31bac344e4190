"""Login with an API token, and logout."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from zk_pipeline.http.auth import cookie_name, identify, is_login_allowed, note_invalid_token
from zk_pipeline.http.services import Given
from zk_pipeline.web.rendering import Form, ReaderForm, read_form, render, safe_target

router = APIRouter(include_in_schema=False)
_UNENCRYPTED = (
    "A token must not be sent unencrypted: use HTTPS or a browser on this machine, "
    "or set API_ALLOW_INSECURE_HTTP=true on a network you trust."
)


@router.get("/login")
def show(request: Request) -> Response:
    problem = None if is_login_allowed(request) else _UNENCRYPTED
    target = safe_target(request.query_params.get("next"))
    return render(request, "login.html", identify(request), next=target, problem=problem)


@router.post("/login")
async def log_in(request: Request, services: Given, form: Annotated[Form, Depends(read_form)]) -> Response:
    target = safe_target(form.get("next"))
    if not is_login_allowed(request):
        return render(request, "login.html", status=403, next=target, problem=_UNENCRYPTED)
    token = await run_in_threadpool(services.tokens.verify, form.get("token", "").strip())
    if token is None:
        note_invalid_token(request)
        return render(request, "login.html", status=401, next=target, problem="Invalid or revoked token.")
    services.sessions.end(request.cookies.get(cookie_name(request)))
    response = RedirectResponse(target, 303)
    response.set_cookie(
        cookie_name(request),
        services.sessions.begin(token.id),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
        path="/",
    )
    return response


@router.post("/logout")
def log_out(request: Request, services: Given, _: ReaderForm) -> Response:
    services.sessions.end(request.cookies.get(cookie_name(request)))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(cookie_name(request), path="/", secure=request.url.scheme == "https", httponly=True)
    return response
