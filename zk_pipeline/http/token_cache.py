"""The good tokens, read from the store every few seconds instead of on every request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from zk_pipeline.store.api_tokens import ApiToken, TokenStore, split_token

FRESH_SECONDS = 2.0  # how long a revoked token may still be let in
USE_NOTED_EVERY = timedelta(hours=1)  # a write for each use would hold the store


@dataclass
class TokenCache:
    """Finds tokens; raises what the store raises rather than letting anybody in on old knowledge."""

    store: TokenStore
    monotonic: Callable[[], float]
    _good: dict[str, ApiToken] = field(default_factory=dict)
    _read_at: float | None = None
    _used: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prove(self, text: str) -> ApiToken | None:
        """The good token that `text` is, if it is one."""
        parts = split_token(text)
        if parts is None:
            return None
        token = self.by_id(parts[0])
        return token if token is not None and token.is_proven_by(parts[1]) else None

    def by_id(self, token_id: str) -> ApiToken | None:
        """The good token of that id."""
        token = self._current().get(token_id)
        if token is not None and self._is_noteworthy(token):
            self._used.add(token_id)
        return token

    def write_down_uses(self) -> None:
        """Put on record which tokens were used since their last use on record was an hour old."""
        used, self._used = self._used, set()
        if used:
            try:
                self.store.note_used(used)
            except BaseException:
                self._used |= used
                raise
            self._read_at = None

    def _current(self) -> dict[str, ApiToken]:
        with self._lock:  # one reads, the others wait for what it finds
            if self._read_at is None or self.monotonic() - self._read_at > FRESH_SECONDS:
                began = self.monotonic()
                self._good = self.store.good()
                self._read_at = began
            return self._good

    def _is_noteworthy(self, token: ApiToken) -> bool:
        return token.last_used_at is None or self.store.clock() - token.last_used_at > USE_NOTED_EVERY
