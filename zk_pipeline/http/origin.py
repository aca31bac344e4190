"""Host and origin of a request: protection against web pages of other origins (CSRF, DNS rebinding)."""

from __future__ import annotations

import ipaddress
import re

from starlette.datastructures import Headers

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


_HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?", re.ASCII)


def is_host(text: str) -> bool:
    """Syntax check of a Host header: a host name or an address, with or without a port."""
    return _HOST.fullmatch(text) is not None


def host_name(host: str) -> str:
    """The name or address in a Host header, in lower case and without the port; empty if it is malformed."""
    match = _HOST.fullmatch(host)
    return match[1].strip("[]").lower() if match else ""


def is_loopback_name(host: str) -> bool:
    """True for a loopback name or address, given as a Host header or without a port."""
    name = host_name(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_same_origin(headers: Headers) -> bool:
    """True for a request of a page of this origin or of no browser. Browsers send at least one of the headers."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in (None, "same-origin", "none"):
        return False
    return origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower() != ""
