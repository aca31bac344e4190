"""Browser sessions, in memory only: a restart of the API ends all of them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zk_pipeline.devices.models import TerminalInfo

_MAX_SESSIONS = 1_000


@dataclass(frozen=True)
class Undo:
    """The form that undoes a change: the address it is sent to, and its fields."""

    path: str
    fields: Mapping[str, str]
    label: str = "Undo"


@dataclass(frozen=True)
class Notice:
    """Result of a form, shown by the next page."""

    text: str
    undo: Undo | None = None


@dataclass(frozen=True)
class Tested:
    """Result of a connection test of a terminal that is not saved yet; `connection`: the fields it depends on; the
    drift of `info` is that in `timezone`.
    """

    connection: tuple[object, ...]
    timezone: str
    info: TerminalInfo


@dataclass
class Session:
    """One login. `csrf` is the CSRF token of its forms; `used_at` and `began_at` are monotonic seconds; `notice` is
    shown once, `tested` is kept until its terminal is saved.
    """

    token_id: str
    csrf: str = field(repr=False)
    began_at: float
    used_at: float
    notice: Notice | None = None
    tested: Tested | None = None

    def is_signed_by(self, csrf: str | None) -> bool:
        return hmac.compare_digest(self.csrf.encode(), (csrf or "").encode("utf-8", "replace"))


@dataclass
class Sessions:
    """Sessions by the hash of their cookie. They expire `idle` seconds after the last use, or after `longest`."""

    monotonic: Callable[[], float]
    idle: float = 8 * 3600.0
    longest: float = 24 * 3600.0
    cookie_name: str = "zk_session"
    _sessions: OrderedDict[str, Session] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, token_id: str) -> str:
        """Start a session; returns the value of its cookie."""
        cookie, now = secrets.token_urlsafe(32), self.monotonic()
        with self._lock:
            self._sessions[_key(cookie)] = Session(token_id, secrets.token_urlsafe(32), now, now)
            while len(self._sessions) > _MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return cookie

    def find(self, cookie: str | None) -> Session | None:
        """The session of a cookie, unless it has expired; renews its idle time."""
        if not cookie:
            return None
        now = self.monotonic()
        with self._lock:
            session = self._sessions.get(_key(cookie))
            if session is None:
                return None
            if now - session.used_at > self.idle or now - session.began_at > self.longest:
                del self._sessions[_key(cookie)]
                return None
            session.used_at = now
        return session

    def end(self, cookie: str | None) -> None:
        if cookie:
            with self._lock:
                self._sessions.pop(_key(cookie), None)


def _key(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
