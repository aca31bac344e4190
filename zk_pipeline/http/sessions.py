"""Who is logged in with a browser. Kept in memory: a restart of the API logs everybody out, and nothing is on disk."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

_MOST_SESSIONS = 1_000


@dataclass
class Session:
    """One login. `csrf` goes into every form of it; `used_at` and `began_at` are monotonic seconds."""

    token_id: str
    csrf: str = field(repr=False)
    began_at: float
    used_at: float

    def is_signed_by(self, csrf: str | None) -> bool:
        return hmac.compare_digest(self.csrf.encode(), (csrf or "").encode("utf-8", "replace"))


@dataclass
class Sessions:
    """Logins by their cookie, of which only a hash is kept. They end after `idle` or `longest` seconds."""

    monotonic: Callable[[], float]
    idle: float = 8 * 3600.0
    longest: float = 24 * 3600.0
    _held: OrderedDict[str, Session] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, token_id: str) -> str:
        """A new session; the value for its cookie."""
        cookie, now = secrets.token_urlsafe(32), self.monotonic()
        with self._lock:
            self._held[_key(cookie)] = Session(token_id, secrets.token_urlsafe(32), now, now)
            while len(self._held) > _MOST_SESSIONS:
                self._held.popitem(last=False)
        return cookie

    def find(self, cookie: str | None) -> Session | None:
        """The session of a cookie, if it has not ended; using it keeps it alive."""
        if not cookie:
            return None
        now = self.monotonic()
        with self._lock:
            session = self._held.get(_key(cookie))
            if session is None:
                return None
            if now - session.used_at > self.idle or now - session.began_at > self.longest:
                del self._held[_key(cookie)]
                return None
            session.used_at = now
        return session

    def end(self, cookie: str | None) -> None:
        if cookie:
            with self._lock:
                self._held.pop(_key(cookie), None)


def _key(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
