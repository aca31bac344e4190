"""Who asks, and whether they may: a token in the Authorization header, or the session of a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException

from zk_pipeline.http.middleware import SAFE_METHODS, is_loopback_name
from zk_pipeline.http.services import Services, services_of
from zk_pipeline.http.sessions import Session
from zk_pipeline.store.api_tokens import SCOPES, Scope

_SCHEMES = ("token", "bearer")
_HEADER = APIKeyHeader(
    name="Authorization",
    scheme_name="token",
    description="`Authorization: Token …` or `Authorization: Bearer …`, as `zk-pipeline api-token create` gave it",
    auto_error=False,
)


@dataclass(frozen=True)
class Identity:
    """Who asks: a token, or a session that was begun with one. `session` is None for what is not a browser."""

    name: str
    scope: Scope
    session: Session | None = None

    def may(self, scope: Scope) -> bool:
        """Each scope includes those before it."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


ANYONE = Identity("anyone", "admin")  # where API_TOKENS_REQUIRED is false


def identify(request: Request) -> Identity | None:
    """Who asks; None for nobody known. Raises HTTPException 401 or 429 for a token that is not good."""
    services = services_of(request)
    header = request.headers.get("authorization")
    identity = _by_token(request, services, header) if header is not None else _by_session(request, services)
    if identity is None and header is None and not services.settings.api_tokens_required:
        identity = ANYONE
    request.state.who = identity.name if identity else None
    return identity


REQUIREMENTS: set[Callable[..., Identity]] = set()  # what `require` gave out


def require(scope: Scope) -> Callable[..., Identity]:
    """A dependency of API routes: the identity, which may do what `scope` allows. 401, 403 or 429 otherwise."""

    def check(request: Request, _: Annotated[str | None, Security(_HEADER)]) -> Identity:
        identity = identify(request)
        if identity is None:
            raise unauthorized("Authentication credentials were not provided.")
        if not identity.may(scope):
            raise HTTPException(403, f"this token may {identity.scope}; what was asked for needs the scope {scope}")
        if identity.session is not None and request.method not in SAFE_METHODS:
            check_csrf(identity, request.headers.get("x-csrf-token"))
        return identity

    REQUIREMENTS.add(check)
    return check


Reader = Annotated[Identity, Depends(require("read"))]
Operator = Annotated[Identity, Depends(require("operate"))]
Admin = Annotated[Identity, Depends(require("admin"))]


def check_csrf(identity: Identity, csrf: str | None) -> None:
    """Raises HTTPException 403 unless the request carries what only a page of this session knows."""
    if identity.session is not None and not identity.session.is_signed_by(csrf):
        raise HTTPException(403, "the form is not of this session: load the page again")


def address_of(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def cookie_name(request: Request) -> str:
    """Over HTTPS the name itself makes browsers insist on Secure, our host and the whole site."""
    return "__Host-zk_session" if request.url.scheme == "https" else "zk_session"


def may_log_in_here(request: Request) -> bool:
    """A token must not travel in the clear: HTTPS, or this machine talking to itself."""
    is_local = is_loopback_name(request.headers.get("host", "")) and is_loopback_name(address_of(request))
    return request.url.scheme == "https" or is_local or services_of(request).settings.api_allow_insecure_http


def unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Token"})


def _by_token(request: Request, services: Services, header: str) -> Identity:
    scheme, _, text = header.strip().partition(" ")
    token = services.tokens.prove(text.strip()) if scheme.lower() in _SCHEMES else None
    if token is not None:
        return Identity(token.name, token.scope)
    # A good token is let in all the same: another client behind the same proxy must not lock it out.
    address = address_of(request)
    wait = services.failed_logins.seconds_to_wait(address)
    if wait > 0:
        raise too_many_attempts(wait)
    services.failed_logins.note_failure(address)
    raise unauthorized("Invalid token.")


def too_many_attempts(wait: float) -> HTTPException:
    seconds = max(1, int(wait) + 1)
    return HTTPException(429, f"too many wrong tokens: try again in {seconds} s", {"Retry-After": str(seconds)})


def _by_session(request: Request, services: Services) -> Identity | None:
    session = services.sessions.find(request.cookies.get(cookie_name(request)))
    token = services.tokens.by_id(session.token_id) if session is not None else None
    return Identity(token.name, token.scope, session) if token is not None else None
