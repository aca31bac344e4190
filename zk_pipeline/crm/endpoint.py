"""CRM endpoint: address, TLS and timeout settings, checked once; token from a value or a file."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from threading import Lock
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urljoin, urlsplit

from zk_pipeline.crm.errors import CrmSettingWrong

_MIN_SECRET_LENGTH = 4  # characters; a shorter query value is hidden only with its name, else every "1" would be


@dataclass(frozen=True, kw_only=True)
class CrmEndpoint:
    """A checked CRM address. Raises CrmSettingWrong, naming the setting, for an insecure or invalid one."""

    url: str = field(repr=False)  # its query may contain a secret
    scheme: str = "Token"  # first word of the Authorization header
    timeout: float = 30.0  # seconds for one whole request, from connecting to the last byte of the answer
    ca_bundle: Path | None = None
    allow_insecure_http: bool = False
    lookup: str | None = field(default=None, repr=False)  # URL template of CRM_LOOKUP

    def __post_init__(self) -> None:
        parts = self._parts()
        if parts.scheme == "http" and not self.allow_insecure_http and not _is_loopback(parts.hostname or ""):
            raise CrmSettingWrong(
                "CRM_API_URL is plain http, which exposes the token and attendance data to the network: "
                "use https://, or set CRM_ALLOW_INSECURE_HTTP=true"
            )
        if not self.scheme.isascii() or not self.scheme.isprintable() or len(self.scheme.split()) != 1:
            raise CrmSettingWrong("CRM_AUTH_SCHEME must be one word such as Token or Bearer")
        if not self.timeout > 0:
            raise CrmSettingWrong("CRM_REQUEST_TIMEOUT must be more than 0 seconds")
        if self.ca_bundle is not None:
            _check_bundle(self.ca_bundle)
        if self.lookup is not None:
            self._check_lookup(self.lookup)

    @property
    def is_tls(self) -> bool:
        return self._parts().scheme == "https"

    @property
    def host(self) -> str:
        return self._parts().hostname or ""

    @property
    def port(self) -> int:
        return self._parts().port or (443 if self.is_tls else 80)

    def elsewhere(self, path: str) -> str:
        """URL of another path (may include a query) on the same server."""
        parts = self._parts()
        return f"{parts.scheme}://{parts.netloc}{path}"

    def lookup_url(self, user_id: str, work_date: date) -> str:
        """URL of CRM_LOOKUP for a user's date."""
        template = self.lookup or ""
        filled = template.replace("{user_id}", quote(user_id, safe="")).replace("{date}", work_date.isoformat())
        return urljoin(self.url, filled)

    @property
    def secrets(self) -> frozenset[str]:
        """Query strings and values of both addresses, raw and decoded: they may be credentials."""
        found: set[str] = set()
        for query in (self._parts().query, urlsplit(self.lookup or "").query):
            pairs = [pair for pair in query.split("&") if "{" not in pair]
            found |= {query, unquote(query), *pairs, *map(unquote, pairs)}
            raw = [pair.partition("=")[2] for pair in pairs]
            found |= {
                value for value in raw + [value for _, value in parse_qsl(query)] if len(value) >= _MIN_SECRET_LENGTH
            }
        return frozenset(value for value in found if len(value) >= _MIN_SECRET_LENGTH and "{" not in value)

    def _check_lookup(self, template: str) -> None:
        needed = ("{user_id}", "{date}")
        rest = template.replace(needed[0], "").replace(needed[1], "")
        if not all(name in template for name in needed) or any(
            c in "{}#" or not c.isprintable() or c.isspace() for c in rest
        ):
            raise CrmSettingWrong(
                "CRM_LOOKUP must be a path or address with {user_id} and {date}, such as "
                "/api/attendance/?user_id={user_id}&date={date}"
            )
        try:
            there = urlsplit(self.lookup_url("1", date.min))
        except ValueError:
            raise CrmSettingWrong("CRM_LOOKUP is not a valid address") from None
        here = self._parts()
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            raise CrmSettingWrong("CRM_LOOKUP must be on the server of CRM_API_URL: the token is sent there, too")

    @property
    def shown(self) -> str:
        """The address without its query, which may contain a secret."""
        return self._parts()._replace(query="", fragment="").geturl()

    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url)
            port_is_wrong = parts.port == 0
        except ValueError:
            raise CrmSettingWrong("CRM_API_URL is not a valid address") from None
        has_blanks = any(c.isspace() or not c.isprintable() for c in self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or port_is_wrong or has_blanks:
            raise CrmSettingWrong("CRM_API_URL must be a full address such as https://crm.example.com/api/attendance/")
        if parts.username is not None or parts.password is not None:
            raise CrmSettingWrong("CRM_API_URL must not contain a user or password: use CRM_API_TOKEN")
        return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_bundle(path: Path) -> None:
    try:
        ssl.create_default_context(cafile=str(path))
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror or type(error).__name__
        raise CrmSettingWrong(f"CRM_CA_BUNDLE ({path}) is not a readable PEM file of certificates: {reason}") from None


TokenSource = Callable[[], str]


class TokenFile:
    """Token in a file, read again after each change of the file. Raises CrmSettingWrong if it cannot be read."""

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


def read_token(source: TokenSource) -> str:
    """The current token. Raises CrmSettingWrong, without the token, if it is not valid in a header."""
    token = source()
    if not token:
        raise CrmSettingWrong("no token for the CRM: set CRM_API_TOKEN or CRM_API_TOKEN_FILE")
    if not token.isascii() or not token.isprintable() or token != token.strip():
        raise CrmSettingWrong(
            "CRM_API_TOKEN has surrounding blanks, line breaks or non-ASCII characters: set it without them"
        )
    return token
