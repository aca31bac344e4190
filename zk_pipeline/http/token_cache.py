"""Cache of active API tokens, read from the store every few seconds instead of on every request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf

from zk_pipeline.store.api_tokens import ApiToken, TokenStore, split_token
from zk_pipeline.store.errors import StoreBusy

MAX_AGE_SECONDS = 2.0  # how long a revoked token may still be accepted
MAX_AGE_WHILE_LOCKED_SECONDS = 30.0  # the same while writers have the store: a revocation waits for them as well
_PATIENCE_SECONDS = 0.25  # of requests, for one read
LAST_USED_PRECISION = timedelta(hours=1)  # a write per use would lock the store too often


@dataclass
class TokenCache:
    """Verifies tokens; if the store cannot be read, its error is raised instead of trusting an outdated cache."""

    store: TokenStore
    monotonic: Callable[[], float]
    _active: dict[str, ApiToken] = field(default_factory=dict)
    _read_at: float | None = None
    _used: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _reading: Future[dict[str, ApiToken]] | None = None
    _asked_at: float = 0.0
    _reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "tokens"), repr=False)

    def verify(self, text: str) -> ApiToken | None:
        """The active token with this text, else None."""
        parts = split_token(text)
        if parts is None:
            return None
        token = self.by_id(parts[0])
        return token if token is not None and token.is_proven_by(parts[1]) else None

    def by_id(self, token_id: str) -> ApiToken | None:
        """The active token with this id, else None."""
        token = self._current(token_id).get(token_id)
        if token is not None and self._is_last_used_outdated(token):
            self._used.add(token_id)
        return token

    def write_last_used(self) -> None:
        """Update `last_used_at` of tokens whose stored value was more than an hour old when they were used."""
        used, self._used = self._used, set()
        if used:
            try:
                self.store.note_used(used)
            except BaseException:
                self._used |= used
                raise
            self._read_at = None

    def _current(self, token_id: str) -> dict[str, ApiToken]:
        """Active tokens by id. Requests share one read; they wait for it briefly, or until it ends if the token is not
        known or what is known is too old.
        """
        with self._lock:
            age = inf if self._read_at is None else self.monotonic() - self._read_at
            if age <= MAX_AGE_SECONDS:
                return self._active
            if self._reading is None or self._reading.done():
                self._reading, self._asked_at = self._reader.submit(self._read), self.monotonic()
            reading = self._reading
            may_be_old = age <= MAX_AGE_WHILE_LOCKED_SECONDS and token_id in self._active
            patience = max(0.0, self._asked_at + _PATIENCE_SECONDS - self.monotonic())
        try:
            return reading.result(patience if may_be_old else None)
        except (FutureTimeout, StoreBusy):
            if not may_be_old:
                raise
            return self._active

    def _read(self) -> dict[str, ApiToken]:
        began = self.monotonic()
        active = self.store.good()
        with self._lock:
            self._active, self._read_at = active, began
        return active

    def _is_last_used_outdated(self, token: ApiToken) -> bool:
        return token.last_used_at is None or self.store.clock() - token.last_used_at > LAST_USED_PRECISION
