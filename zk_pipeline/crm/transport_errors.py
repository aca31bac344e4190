"""Classification of transport exceptions: the `DeliveryResult` of a request that got no response.

Responses are classified in `responses`.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection, Iterator

import requests
import urllib3

from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline.crm.sanitize import sanitize_line

_NEVER_CONNECTED = (
    requests.ConnectTimeout,
    urllib3.exceptions.NewConnectionError,
    ConnectionRefusedError,
    socket.gaierror,
)
# A peer that went away while TLS was being agreed on: a failure of the line, not of trust.
_CUT_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def classify_exception(error: BaseException, endpoint: CrmEndpoint, *, secrets: Collection[str] = ()) -> DeliveryResult:
    """The meaning of an exception of requests, urllib3, ssl or socket, in words without queries or secrets.

    Trust and names that do not exist are the set-up's fault; a connection that never was is the
    destination's; once a connection was made, the record may have been applied.
    """
    causes = list(_causes(error))
    for cause in causes:
        problem = misconfiguration(cause, endpoint)
        if problem:
            return DeliveryResult(meaning=ResponseClass.MISCONFIGURED, error=sanitize_line(problem, secrets=secrets))
    never_connected = any(isinstance(c, _NEVER_CONNECTED) for c in causes)
    where = f"{endpoint.host}:{endpoint.port}"
    if never_connected:
        text = f"cannot connect to {where}: {_reason(causes)}"
        return DeliveryResult(meaning=ResponseClass.UNAVAILABLE, error=sanitize_line(text, secrets=secrets))
    text = f"no complete answer from {where}: {_reason(causes)}"
    return DeliveryResult(meaning=ResponseClass.UNKNOWN, error=sanitize_line(text, secrets=secrets))


def misconfiguration(cause: BaseException, endpoint: CrmEndpoint) -> str | None:
    """What to change when `cause` (one link of a chain) is the set-up's fault; None when it is not."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {endpoint.host} is not trusted ({cause.verify_message}): "
            "renew it, correct the name in CRM_API_URL, or name a private authority in CRM_CA_BUNDLE"
        )
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, _CUT_TLS):
        where = f"{endpoint.host}:{endpoint.port}"
        return f"no TLS with {where} ({cause.reason}): check the scheme and port of CRM_API_URL"
    if isinstance(cause, socket.gaierror) and cause.errno in (socket.EAI_NONAME, socket.EAI_FAMILY):
        return f"the name {endpoint.host} does not exist: check CRM_API_URL"
    if isinstance(cause, requests.exceptions.InvalidURL | urllib3.exceptions.LocationValueError):
        return "CRM_API_URL is not a valid address"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Every exception inside `error`; urllib3 and requests carry theirs in `reason` and arguments, too."""
    seen: set[int] = set()
    queue = [error]
    while queue:
        link = queue.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        queue += [getattr(link, "reason", None), *link.args, link.__cause__, link.__context__]


def _reason(causes: list[BaseException]) -> str:
    # Innermost first: the outer ones repeat it with addresses and object names.
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    if any(isinstance(c, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError) for c in causes):
        return "it took too long"
    return str(causes[-1]) or type(causes[-1]).__name__
