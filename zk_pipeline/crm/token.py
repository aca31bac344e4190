"""Where the CRM's token comes from: a value, or a file that may be rotated while a run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock

from zk_pipeline.crm.errors import CrmSettingWrong

TokenSource = Callable[[], str]


class TokenFile:
    """The token in a file, read again when the file has changed; CrmSettingWrong when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        try:
            with self._lock:
                stat = self._path.stat()
                seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                if seen != self._seen:
                    self._token = self._path.read_text(encoding="utf-8").strip()
                    self._seen = seen
                return self._token
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise CrmSettingWrong(f"CRM_API_TOKEN_FILE ({self._path}) cannot be read: {reason}") from None


def checked_token(source: TokenSource) -> str:
    """The token as it stands now; CrmSettingWrong, without showing it, where it cannot be in a header."""
    token = source()
    if not token:
        raise CrmSettingWrong("no token for the CRM: set CRM_API_TOKEN or CRM_API_TOKEN_FILE")
    if not token.isascii() or not token.isprintable() or token != token.strip():
        raise CrmSettingWrong("CRM_API_TOKEN contains blanks around it, line ends or characters outside ASCII")
    return token
