"""Classification of the CRM's HTTP responses: whose fault it is, and so what becomes of the record. Pure functions.

Responses to a batch are in `batch_answers`, requests without a response in `transport_errors`; attempts, pauses and
stopping are in `delivery` and `circuit_breaker`. `docs/crm.md` has the same as a contract.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from urllib.parse import urlsplit

from requests.structures import CaseInsensitiveDict

from zk_pipeline.crm.documents import failure_sign, parse_json
from zk_pipeline.crm.rules import DEFAULT_RULES, AnswerRules
from zk_pipeline.crm.sanitize import extract_message, is_html, sanitize_line

MAX_RETRY_AFTER = 86_400.0  # seconds; a CRM that asks for more is taken to mean a day


class ResponseClass(str, Enum):
    """What an answer, or its absence, says; the value explains it."""

    DELIVERED = "the CRM holds this revision"
    REJECTED = "the record's fault: sending it again changes nothing"
    BATCH_REFUSED = "some record's fault, the CRM does not say which: its halves will show"
    UNAVAILABLE = "the destination's fault: later, under the same key"
    UNKNOWN = "applied or not, nobody knows: later, under the same key"
    UNCLEAR = "the record's fault or the address's: what other people's records get will show"
    MISCONFIGURED = "the set-up's fault: every other record would meet the same"


@dataclass(frozen=True, kw_only=True)
class DeliveryResult:
    """The meaning of one attempt for one record. `error` is one bounded line without secrets, or None."""

    meaning: ResponseClass
    status: int | None = None  # None where no status line came
    error: str | None = None
    retry_after: float | None = None  # seconds the CRM asks everybody to wait


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """An answer as it came; `body` holds at most the transport's bound, and `is_cut` where there was more."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False

    @property
    def content_type(self) -> str:
        return CaseInsensitiveDict(self.headers).get("Content-Type", "")


TOKEN_OR_ADDRESS = {*range(200, 300), 403}  # an UNCLEAR response with one of these is about the set-up or one record
NEVER_ALREADY = {401, 403, 407, 408, 425, 429}  # about the request, whatever its body says
# UNCLEAR: about this record, or about every request (rights, address, method, media type); a web page with a 2xx is
# another. See `address`.
_BY_STATUS = {
    **dict.fromkeys((401, 402, 407), ResponseClass.MISCONFIGURED),
    **dict.fromkeys((403, 404, 405, 406, 410, 411, 415, 421, 426, 431), ResponseClass.UNCLEAR),
    **dict.fromkeys((408, 423, 425, 429), ResponseClass.UNAVAILABLE),
    409: ResponseClass.UNKNOWN,
}
_BY_CLASS = {3: ResponseClass.MISCONFIGURED, 4: ResponseClass.REJECTED, 5: ResponseClass.UNAVAILABLE}


def classify_response(
    http: HttpResponse, *, now: datetime, secrets: Collection[str] = (), rules: AnswerRules = DEFAULT_RULES
) -> DeliveryResult:
    """The meaning of an answer to a single record, or of a status given for one record of a batch.

    A 2xx is a success where it is empty or a JSON document without a sign of failure, or where it meets a rule of
    `success` if there are any. 409 is read as draft-ietf-httpapi-idempotency-key-header has it: another request with
    this key is under way, so the outcome is unknown. A 409, or a 422 without a sign of failure inside, that says it is
    a replay (`Idempotent-Replay` or `Idempotent-Replayed: true`) means that the revision was applied before. `now` is
    aware and measures a `Retry-After` date in an answer without a `Date` of its own.
    """
    headers = CaseInsensitiveDict(http.headers)
    meaning, why = _meaning(http, headers, rules)
    if meaning is ResponseClass.DELIVERED:
        return DeliveryResult(meaning=meaning, status=http.status)
    words: str = extract_message(http.content_type, http.body, secrets=secrets)
    said = f"{http.status}: {words}" if words else f"{http.status}"
    if meaning is ResponseClass.MISCONFIGURED or (meaning is ResponseClass.UNCLEAR and http.status in TOKEN_OR_ADDRESS):
        location = sanitize_line(_without_query(headers.get("Location", "")), secrets=secrets)
        said = _what_to_change(http.status, said, location)
    elif why:
        said = (
            f"{http.status} does not show that the CRM took the record, {sanitize_line(why, secrets=secrets)}: {words}"
        )
        said += " (if this is success, describe it under success: in crm_mapping.yaml)"
    wait = retry_after(headers, now=now) if meaning in (ResponseClass.UNAVAILABLE, ResponseClass.UNKNOWN) else None
    return DeliveryResult(meaning=meaning, status=http.status, error=said, retry_after=wait)


def _meaning(http: HttpResponse, headers: Mapping[str, str], rules: AnswerRules) -> tuple[ResponseClass, str | None]:
    """With it, for a 2xx that is no success, why."""
    status = http.status
    if (200 <= status < 300 or (400 <= status < 500 and status not in NEVER_ALREADY)) and rules.is_already(http):
        return ResponseClass.DELIVERED, None
    if 200 <= status < 300:
        return _meaning_of_success(http, rules)
    if status in (409, 422) and _is_replay(headers) and (status == 409 or _problem_of(http) is None):
        return ResponseClass.DELIVERED, None
    return _BY_STATUS.get(status) or _BY_CLASS.get(status // 100, ResponseClass.UNKNOWN), None


def may_be_applied(outcome: str, status: int | None) -> bool:
    """Decide from an attempt's outcome if the CRM may have applied its record.

    `outcome` is the name of its ResponseClass in lower case. True where no final answer came, where one came of a
    gateway or of a CRM that broke off (5xx but 503), and for a web page with a 2xx. False where no connection was made.
    """
    status = status or 0
    return (
        outcome == "unknown"
        or (outcome == "unavailable" and status >= 500 and status != 503)
        or (outcome in ("misconfigured", "unclear") and 200 <= status <= 299)
    )


def _is_replay(headers: Mapping[str, str]) -> bool:
    replayed = headers.get("Idempotent-Replay") or headers.get("Idempotent-Replayed") or ""
    return replayed.strip().lower() == "true"


def _meaning_of_success(http: HttpResponse, rules: AnswerRules) -> tuple[ResponseClass, str | None]:
    if rules.success:
        if rules.is_success(http):
            return ResponseClass.DELIVERED, None
        no_rule = "as it meets no rule of success: in crm_mapping.yaml"
        return (ResponseClass.UNCLEAR, None) if _is_page(http) else (ResponseClass.UNKNOWN, no_rule)
    if _is_page(http):
        return ResponseClass.UNCLEAR, None
    why = _problem_of(http)
    return (ResponseClass.DELIVERED, None) if why is None else (ResponseClass.UNKNOWN, why)


def _is_page(http: HttpResponse) -> bool:
    return not is_empty(http.body) and is_html(http.content_type, http.body)


def is_empty(body: bytes) -> bool:
    """Whether a body has nothing in it but a byte order mark and blanks."""
    return not body.removeprefix(b"\xef\xbb\xbf").strip()


def _problem_of(http: HttpResponse) -> str | None:
    """Why a body does not show success; None where it is empty or JSON without a sign of failure."""
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


def _what_to_change(status: int, said: str, location: str) -> str:
    if status in (401, 403):
        return (
            f"the CRM refuses the credentials ({said}): check CRM_API_TOKEN or CRM_API_TOKEN_FILE, and CRM_AUTH_SCHEME"
        )
    if 300 <= status < 400:
        return f"CRM_API_URL redirects ({status}) to {location or 'nowhere'}: set it to the final address"
    if 200 <= status < 300:
        return f"CRM_API_URL answers with a web page ({said}): set it to the address of the CRM's API"
    return f"the CRM asks for more than credentials ({said}): check the CRM's account and the way there"


def _without_query(location: str) -> str:
    try:
        parts = urlsplit(location)
    except ValueError:
        return "an invalid address"
    return parts._replace(query="", fragment="", netloc=parts.netloc.rpartition("@")[2]).geturl()


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds asked for by `Retry-After`, a number or an HTTP date, at most MAX_RETRY_AFTER; or None.

    A date is measured from the answer's own `Date`, so that a clock of ours that is off does not matter.
    """
    headers = CaseInsensitiveDict(headers)
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        until = _http_date(value)
        if until is None:
            return None
        seconds = (until - (_http_date(headers.get("Date", "")) or now)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
