"""API tokens: create, list, revoke, look up by public id. The API defines what a scope allows.

A token is `zkp_<id>_<secret>`. The secret is 256 random bits, so one round of SHA-256 suffices: it cannot be guessed,
and every request computes the hash. Passwords would need scrypt.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Database

Scope = Literal["read", "request", "approve", "operate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
# What each scope permits: corrections of attendance (request, approve) and the operation of terminals and deliveries
# are apart.
PERMITTED: Mapping[Scope, tuple[Scope, ...]] = {
    "read": ("read",),
    "request": ("read", "request"),
    "approve": ("read", "request", "approve"),
    "operate": ("read", "operate"),
    "admin": SCOPES,
}

_TOKEN = re.compile(r"zkp_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[\w .@+-]{1,100}")


@dataclass(frozen=True)
class ApiToken:
    """A row of `api_tokens`."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    secret_sha256: str = field(repr=False)

    def is_proven_by(self, secret: str) -> bool:
        """Compare with the token's secret part, in constant time."""
        return hmac.compare_digest(self.secret_sha256, _sha256(secret))


def split_token(text: str) -> tuple[str, str] | None:
    """(id, secret) of a token as a client sends it; None if the token is malformed."""
    match = _TOKEN.fullmatch(text)
    return (match[1], match[2]) if match else None


@dataclass(frozen=True)
class TokenStore:
    database: Database
    clock: Callable[[], datetime]

    def create(self, name: str, scope: Scope) -> str:
        """Create a token and return it in full. The secret is not stored, so it cannot be shown later.

        Raises UsageError for an invalid name and for that of an active token.
        """
        if not _NAME.fullmatch(name) or name != name.strip():
            raise UsageError(f"token name {name[:120]!r} is not valid: 1 to 100 letters, digits, blanks or .@+-_")
        token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with self.database.write("create an API token") as connection:
            taken = connection.execute(
                "SELECT count(*) FROM api_tokens WHERE name = ? AND revoked_at IS NULL", [name]
            ).fetchone()
            if taken != (0,):
                raise UsageError(f"there is a token named {name!r} already: revoke it first, or choose another name")
            connection.execute(
                "INSERT INTO api_tokens (id, name, scope, secret_sha256, created_at) VALUES (?, ?, ?, ?, ?)",
                [token_id, name, scope, _sha256(secret), self.clock()],
            )
        return f"zkp_{token_id}_{secret}"

    def all(self) -> list[ApiToken]:
        """All tokens, revoked ones included, by name and creation time."""
        return self._read("ORDER BY name, created_at")

    def good(self) -> dict[str, ApiToken]:
        """Active tokens by id."""
        return {token.id: token for token in self._read("WHERE revoked_at IS NULL")}

    def revoke(self, name: str) -> None:
        """Revoke the active token of that name. Raises UsageError if there is none."""
        with self.database.write("revoke an API token") as connection:
            good = "name = $name AND revoked_at IS NULL"
            found = connection.execute(f"SELECT id FROM api_tokens WHERE {good}", {"name": name}).fetchall()  # noqa: S608
            connection.execute(
                f"UPDATE api_tokens SET revoked_at = $now WHERE {good}",  # noqa: S608 (constant SQL)
                {"name": name, "now": self.clock()},
            )
        if not found:
            raise UsageError(f"no active token is named {name!r}; `zk-pipeline api-token list` shows them")

    def note_used(self, token_ids: Collection[str]) -> None:
        """Record the current time as the last use of these tokens."""
        with self.database.write("note API tokens in use") as connection:
            connection.execute(
                "UPDATE api_tokens SET last_used_at = ? WHERE list_contains(?, id)", [self.clock(), list(token_ids)]
            )

    def _read(self, rest: str) -> list[ApiToken]:
        with self.database.read("read API tokens") as connection:
            rows = connection.execute(
                "SELECT id, name, scope, created_at, last_used_at, revoked_at, secret_sha256 "  # noqa: S608 (constant SQL)
                f"FROM api_tokens {rest}"
            ).fetchall()
        return [ApiToken(*row) for row in rows]


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
