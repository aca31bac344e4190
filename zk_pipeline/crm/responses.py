"""Classification of the CRM's HTTP responses: delivered, fault of the record, of the destination, or of the settings.

Batch responses are in `batch_responses`, requests without a response in `transport`, retries and pauses in `delivery`
and `circuit_breaker`. `docs/crm.md` documents the same rules.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from urllib.parse import urlsplit

from zk_pipeline.crm.documents import failure_sign, parse_json, value_at
from zk_pipeline.crm.sanitize import extract_message, is_html, sanitize_line

MAX_RETRY_AFTER = 86_400.0  # seconds; a longer pause is cut to one day


class ResponseClass(StrEnum):
    """Class of a response, or of a missing one; the value explains it."""

    DELIVERED = "the CRM has this revision"
    REJECTED = "fault of the record: a retry changes nothing"
    BATCH_REJECTED = "one record in the batch was rejected: split the batch to find it"
    UNAVAILABLE = "fault of the destination: retry later under the same key"
    UNKNOWN = "unknown outcome, applied or not: retry later under the same key"
    UNCLEAR = "fault of the record or of the address: the responses to other users' records decide"
    MISCONFIGURED = "wrong settings: every other record would get the same response"


@dataclass(frozen=True, kw_only=True)
class DeliveryResult:
    """Result of one attempt for one record. `error` is one bounded line without secrets, or None."""

    meaning: ResponseClass
    status: int | None = None  # None without a status line
    error: str | None = None
    retry_after: float | None = None  # seconds of the pause that the CRM asks for


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """A response as received; `body` is cut at the transport's limit, with `is_cut`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False

    @property
    def content_type(self) -> str:
        return by_lower_name(self.headers).get("content-type", "")


TOKEN_OR_ADDRESS = {*range(200, 300), 403}  # an UNCLEAR response with one of these is about the settings or one record
NEVER_ALREADY_APPLIED = {401, 403, 407, 408, 425, 429}  # about the request, whatever its body says
# UNCLEAR: about this record, or about every request (rights, address, method, media type), like a web page with a 2xx.
# See `address_evidence`.
_BY_STATUS = {
    **dict.fromkeys((401, 402, 407), ResponseClass.MISCONFIGURED),
    **dict.fromkeys((403, 404, 405, 406, 410, 411, 415, 421, 426, 431), ResponseClass.UNCLEAR),
    **dict.fromkeys((408, 423, 425, 429), ResponseClass.UNAVAILABLE),
    409: ResponseClass.UNKNOWN,
}
_BY_CLASS = {3: ResponseClass.MISCONFIGURED, 4: ResponseClass.REJECTED, 5: ResponseClass.UNAVAILABLE}


@dataclass(frozen=True, kw_only=True)
class ResponseRule:
    """Conditions on a response, all of which must be met; None or empty ones are ignored."""

    statuses: frozenset[int] = frozenset()
    path: str | None = None  # dotted, into the JSON document
    value: object = None  # expected value at the path
    text: str | None = None  # exact text in the body

    def is_met(self, http: HttpResponse) -> bool:
        if self.statuses and http.status not in self.statuses:
            return False
        if self.text is not None and self.text not in http.body.decode("utf-8", errors="replace"):
            return False
        return self.path is None or (not http.is_cut and self._has_value(http))

    def _has_value(self, http: HttpResponse) -> bool:
        try:
            found = value_at(parse_json(http.body, http.content_type), str(self.path))
        except ValueError:
            return False
        return found == self.value and isinstance(found, bool) == isinstance(self.value, bool)


@dataclass(frozen=True, kw_only=True)
class ResponseRules:
    """Response rules of one CRM, from crm_mapping.yaml. Without `success` rules, the default applies."""

    success: tuple[ResponseRule, ...] = ()  # a 2xx is a success only if it meets one of these
    already: tuple[ResponseRule, ...] = ()  # a response that meets one of these shows that the CRM has this revision

    def is_success(self, http: HttpResponse) -> bool:
        return any(rule.is_met(http) for rule in self.success)

    def is_already(self, http: HttpResponse) -> bool:
        return any(rule.is_met(http) for rule in self.already)


DEFAULT_RULES = ResponseRules()


def classify_response(
    http: HttpResponse, *, now: datetime, secrets: Collection[str] = (), rules: ResponseRules = DEFAULT_RULES
) -> DeliveryResult:
    """Classify the response to a single record, or the status of one record of a batch.

    A 2xx is a success if it is empty or a JSON document without a sign of failure; with `success` rules, if it meets
    one of them. A 409 follows draft-ietf-httpapi-idempotency-key-header: another request with this key is in progress,
    so the outcome is unknown. A 409, or a 422 without a sign of failure, that is marked as a replay
    (`Idempotent-Replay` or `Idempotent-Replayed: true`) means that the revision was applied before. `now` is aware and
    the base of a `Retry-After` date in a response without `Date`.
    """
    headers = by_lower_name(http.headers)
    meaning, why = _classify(http, headers, rules)
    if meaning is ResponseClass.DELIVERED:
        return DeliveryResult(meaning=meaning, status=http.status)
    message: str = extract_message(http.content_type, http.body, secrets=secrets)
    error = f"{http.status}: {message}" if message else f"{http.status}"
    if meaning is ResponseClass.MISCONFIGURED or (meaning is ResponseClass.UNCLEAR and http.status in TOKEN_OR_ADDRESS):
        location = sanitize_line(_without_query(headers.get("location", "")), secrets=secrets)
        error = _setup_advice(http.status, error, location)
    elif why:
        reason = sanitize_line(why, secrets=secrets)
        error = (
            f"{http.status} does not show that the CRM accepted the record, {reason}: {message} "
            "(if this is success, describe it under success: in crm_mapping.yaml)"
        )
    wait = retry_after(headers, now=now) if meaning in (ResponseClass.UNAVAILABLE, ResponseClass.UNKNOWN) else None
    return DeliveryResult(meaning=meaning, status=http.status, error=error, retry_after=wait)


def _classify(http: HttpResponse, headers: Mapping[str, str], rules: ResponseRules) -> tuple[ResponseClass, str | None]:
    """The class, and for a 2xx that is not a success, the reason."""
    status = http.status
    if (200 <= status < 300 or (400 <= status < 500 and status not in NEVER_ALREADY_APPLIED)) and rules.is_already(
        http
    ):
        return ResponseClass.DELIVERED, None
    if 200 <= status < 300:
        return _classify_success(http, rules)
    if status in (409, 422) and _is_replay(headers) and (status == 409 or _failure_reason(http) is None):
        return ResponseClass.DELIVERED, None
    return _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, ResponseClass.UNKNOWN), None


# Attempts whose record the CRM may have applied: outcome (a ResponseClass in lower case) and HTTP status (0: none).
# No final response; a 5xx except 503, from a gateway or a failing CRM; a web page with a 2xx.
POSSIBLY_APPLIED = (
    ("unknown", range(1000)),
    ("unavailable", range(500, 503)),
    ("unavailable", range(504, 1000)),
    ("misconfigured", range(200, 300)),
    ("unclear", range(200, 300)),
)


def may_have_been_applied(outcome: str, status: int | None) -> bool:
    """Whether the CRM may have applied the record of an attempt, by POSSIBLY_APPLIED."""
    return any(outcome == name and (status or 0) in statuses for name, statuses in POSSIBLY_APPLIED)


def _is_replay(headers: Mapping[str, str]) -> bool:
    replayed = headers.get("idempotent-replay") or headers.get("idempotent-replayed") or ""
    return replayed.strip().lower() == "true"


def _classify_success(http: HttpResponse, rules: ResponseRules) -> tuple[ResponseClass, str | None]:
    if rules.success:
        if rules.is_success(http):
            return ResponseClass.DELIVERED, None
        no_rule = "as it meets no rule of success: in crm_mapping.yaml"
        return (ResponseClass.UNCLEAR, None) if _is_page(http) else (ResponseClass.UNKNOWN, no_rule)
    if _is_page(http):
        return ResponseClass.UNCLEAR, None
    why = _failure_reason(http)
    return (ResponseClass.DELIVERED, None) if why is None else (ResponseClass.UNKNOWN, why)


def _is_page(http: HttpResponse) -> bool:
    return not is_empty(http.body) and is_html(http.content_type, http.body)


def is_empty(body: bytes) -> bool:
    """Whether a body consists of a byte order mark and blanks at most."""
    return not body.removeprefix(b"\xef\xbb\xbf").strip()


def _failure_reason(http: HttpResponse) -> str | None:
    """Reason why a body does not show success; None if it is empty or JSON without a sign of failure."""
    if http.is_cut:
        return f"as it is longer than the {len(http.body)} bytes that are read"
    if is_empty(http.body):
        return "as a 207 needs a result" if http.status == 207 else None
    if "problem+json" in http.content_type.lower():
        return "as it is a problem document"
    try:
        sign = failure_sign(parse_json(http.body, http.content_type))
    except ValueError:
        return "as it is not JSON"
    return None if sign is None else f"as it has a sign of failure ({sign})"


def _setup_advice(status: int, error: str, location: str) -> str:
    if status in (401, 403):
        return (
            f"the CRM rejects the credentials ({error}): check CRM_API_TOKEN or CRM_API_TOKEN_FILE, and CRM_AUTH_SCHEME"
        )
    if 300 <= status < 400:
        return f"CRM_API_URL redirects ({status}) to {location or 'nowhere'}: set it to the final address"
    if 200 <= status < 300:
        return f"CRM_API_URL answers with a web page ({error}): set it to the address of the CRM's API"
    return f"the CRM or a proxy requires more than the token ({error}): check the CRM account and the proxy"


def _without_query(location: str) -> str:
    try:
        parts = urlsplit(location)
    except ValueError:
        return "an invalid address"
    return parts._replace(query="", fragment="", netloc=parts.netloc.rpartition("@")[2]).geturl()


def by_lower_name(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds of `Retry-After`, a number or an HTTP date, at most MAX_RETRY_AFTER; or None.

    A date is relative to the response's `Date`, so that a wrong local clock does not matter.
    """
    headers = by_lower_name(headers)
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        until = _http_date(value)
        if until is None:
            return None
        seconds = (until - (_http_date(headers.get("date", "")) or now)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
