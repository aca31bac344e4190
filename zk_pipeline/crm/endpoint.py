"""Where the CRM is and on what terms it may be spoken to, checked once. Speaking to it is in `transport`."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from zk_pipeline.crm.errors import CrmMisconfigured


@dataclass(frozen=True, kw_only=True)
class CrmEndpoint:
    """A checked CRM address; CrmMisconfigured, naming the setting, on one that must not or cannot be used."""

    url: str = field(repr=False)  # its query may hold a secret
    scheme: str = "Token"  # first word of the Authorization header
    timeout: float = 30.0  # seconds for one whole request, from connecting to the last byte of the answer
    ca_bundle: Path | None = None
    allow_insecure_http: bool = False

    def __post_init__(self) -> None:
        parts = self._parts()
        if parts.scheme == "http" and not self.allow_insecure_http and not _is_loopback(parts.hostname or ""):
            raise CrmMisconfigured(
                "CRM_API_URL is plain http, which would show the token and people's hours to the network: "
                "use https://, or set CRM_ALLOW_INSECURE_HTTP=true"
            )
        if not self.scheme.isascii() or not self.scheme.isprintable() or len(self.scheme.split()) != 1:
            raise CrmMisconfigured("CRM_AUTH_SCHEME must be one word such as Token or Bearer")
        if not self.timeout > 0:
            raise CrmMisconfigured("CRM_REQUEST_TIMEOUT must be more than 0 seconds")
        if self.ca_bundle is not None:
            _check_bundle(self.ca_bundle)

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
        """Another path (with a query, if it has one) of the same server."""
        parts = self._parts()
        return f"{parts.scheme}://{parts.netloc}{path}"

    @property
    def shown(self) -> str:
        """The address without its query, which may hold a secret."""
        return self._parts()._replace(query="", fragment="").geturl()

    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url)
            port_is_wrong = parts.port == 0
        except ValueError:
            raise CrmMisconfigured("CRM_API_URL is not a valid address") from None
        has_blanks = any(c.isspace() or not c.isprintable() for c in self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or port_is_wrong or has_blanks:
            raise CrmMisconfigured("CRM_API_URL must be a full address such as https://crm.example.com/api/attendance/")
        if parts.username is not None or parts.password is not None:
            raise CrmMisconfigured("CRM_API_URL must not contain a user or password: use CRM_API_TOKEN")
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
        raise CrmMisconfigured(f"CRM_CA_BUNDLE ({path}) is not a readable PEM file of certificates: {reason}") from None
