"""Authentication and authorization: a token in the Authorization header, or the session of a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException

from zk_pipeline.http.origin import SAFE_METHODS, is_loopback_name
from zk_pipeline.http.services import Services, services_of
from zk_pipeline.http.sessions import Session
from zk_pipeline.store.api_tokens import PERMITTED, Scope
from zk_pipeline.store.engine.read_copy import identify_reader

_SCHEMES = ("token", "bearer")
_HEADER = APIKeyHeader(
    name="Authorization",
    scheme_name="token",
    description="`Authorization: Token …` or `Authorization: Bearer …`, as `zk-pipeline api-token create` gave it",
    auto_error=False,
)


@dataclass(frozen=True)
class Identity:
    """The identity of a request: a token, or a browser session that was started with one (else `session` is None)."""

    name: str
    scope: Scope
    session: Session | None = None

    def may(self, *scopes: Scope) -> bool:
        """True if the scope of the identity includes one of `scopes`."""
        return any(scope in PERMITTED[self.scope] for scope in scopes)


ANONYMOUS_ADMIN = Identity("anyone", "admin")  # where API_TOKENS_REQUIRED is false


def identify(request: Request) -> Identity | None:
    """The identity of a request; None without credentials. Raises HTTPException 401 or 429 for an invalid token."""
    services = services_of(request)
    header = request.headers.get("authorization")
    identity = _by_token(request, services, header) if header is not None else _by_session(request, services)
    if identity is None and header is None and not services.settings.api_tokens_required:
        identity = ANONYMOUS_ADMIN
    request.state.who = identity.name if identity else None
    if identity is not None:
        identify_reader(identity.name)
    return identity


REQUIREMENTS: set[Callable[..., Identity]] = set()  # every dependency that `require` returned


def require(*scopes: Scope) -> Callable[..., Identity]:
    """A dependency of API routes: the identity, if it has one of the scopes. Raises HTTPException 401, 403 or 429."""

    def check(request: Request, _: Annotated[str | None, Security(_HEADER)]) -> Identity:
        identity = identify(request)
        if identity is None:
            raise unauthorized_error("Authentication credentials were not provided.")
        if not identity.may(*scopes):
            needed = " or ".join(scopes)
            raise HTTPException(403, f"the token has the scope {identity.scope}; this request needs {needed}")
        if identity.session is not None and request.method not in SAFE_METHODS:
            check_csrf(identity, request.headers.get("x-csrf-token"))
        return identity

    REQUIREMENTS.add(check)
    return check


# `scopes` is for the OpenAPI document.
Reader = Annotated[Identity, Security(require("read"), scopes=["read"])]
Requester = Annotated[Identity, Security(require("request"), scopes=["request"])]
Approver = Annotated[Identity, Security(require("approve"), scopes=["approve"])]
Reviewer = Annotated[Identity, Security(require("approve", "operate"), scopes=["approve"])]
Operator = Annotated[Identity, Security(require("operate"), scopes=["operate"])]
Admin = Annotated[Identity, Security(require("admin"), scopes=["admin"])]


def check_csrf(identity: Identity, csrf: str | None) -> None:
    """Raises HTTPException 403 unless the request carries the CSRF token of its session."""
    if identity.session is not None and not identity.session.is_signed_by(csrf):
        raise HTTPException(403, "the form belongs to another session: load the page again")


def client_address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def cookie_name(request: Request) -> str:
    """Over HTTPS the prefix `__Host-` makes browsers require Secure, this host and the path /."""
    return f"{'__Host-' if request.url.scheme == 'https' else ''}{services_of(request).sessions.cookie_name}"


def is_login_allowed(request: Request) -> bool:
    """Whether a login is allowed: over HTTPS, or over loopback, since tokens must not be sent in clear text."""
    is_local = is_loopback_name(request.headers.get("host", "")) and is_loopback_name(client_address(request))
    return request.url.scheme == "https" or is_local or services_of(request).settings.api_allow_insecure_http


def unauthorized_error(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Token"})


def _by_token(request: Request, services: Services, header: str) -> Identity:
    scheme, _, text = header.strip().partition(" ")
    token = services.tokens.verify(text.strip()) if scheme.lower() in _SCHEMES else None
    if token is not None:
        return Identity(token.name, token.scope)
    note_invalid_token(request)
    raise unauthorized_error("Invalid token.")


def note_invalid_token(request: Request) -> None:
    """Count an invalid token of the client's address. Raises HTTPException 429 after too many.

    To be called after the verification: valid tokens are never throttled, since another client behind the same proxy
    must not lock them out.
    """
    failed_logins, address = services_of(request).failed_logins, client_address(request)
    wait = failed_logins.seconds_to_wait(address)
    if wait > 0:
        seconds = max(1, int(wait) + 1)
        raise HTTPException(429, f"too many invalid tokens: try again in {seconds} s", {"Retry-After": str(seconds)})
    failed_logins.note_failure(address)


def _by_session(request: Request, services: Services) -> Identity | None:
    session = services.sessions.find(request.cookies.get(cookie_name(request)))
    token = services.tokens.by_id(session.token_id) if session is not None else None
    return Identity(token.name, token.scope, session) if token is not None else None
