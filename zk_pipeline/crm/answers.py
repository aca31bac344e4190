"""What an HTTP answer of the CRM means: whose fault it is, and so what becomes of the record. Pure functions.

Requests that got no answer are in `failures`; attempts, pauses and stopping are in `delivery` and `gate`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from urllib.parse import urlsplit

from requests.structures import CaseInsensitiveDict

from zk_pipeline.crm.words import is_html, one_line, words_of

MAX_RETRY_AFTER = 86_400.0  # seconds; a CRM that asks for more is taken to mean a day


class Meaning(str, Enum):
    """What an answer, or its absence, says; the value explains it."""

    DELIVERED = "the CRM holds this revision"
    REFUSED = "the record's fault: sending it again changes nothing"
    BATCH_REFUSED = "some record's fault, the CRM does not say which: its halves will show"
    UNAVAILABLE = "the destination's fault: later, under the same key"
    UNKNOWN = "applied or not, nobody knows: later, under the same key"
    MISCONFIGURED = "the set-up's fault: every other record would meet the same"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The meaning of one attempt for one record. `error` is one bounded line without secrets, or None."""

    meaning: Meaning
    status: int | None = None  # None where no status line came
    error: str | None = None
    retry_after: float | None = None  # seconds the CRM asks everybody to wait


@dataclass(frozen=True, kw_only=True)
class HttpAnswer:
    """An answer as it came; `body` holds at most the transport's bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return CaseInsensitiveDict(self.headers).get("Content-Type", "")


_TRANSIENT = {408, 423, 425, 429}
# The endpoint's word about the request as such (method, media type, protocol), not about the record.
_WRONG_ENDPOINT = {402, 405, 406, 407, 411, 415, 421, 426, 431}


def read_answer(http: HttpAnswer, *, now: datetime, secrets: Collection[str] = ()) -> Answer:
    """The meaning of an answer to a single record, or of a status given for one record of a batch.

    The contract is silent on 409. It is taken as draft-ietf-httpapi-idempotency-key-header has it: another
    request with this key is under way, so the outcome is unknown and the same key is sent again. If the
    answer says that it is a replay (`Idempotent-Replay` or `Idempotent-Replayed: true`), the revision was
    applied before and counts as delivered. `now` is aware and measures a `Retry-After` date in an answer
    without a `Date` of its own.
    """
    headers = CaseInsensitiveDict(http.headers)
    meaning = _meaning(http, headers)
    if meaning is Meaning.DELIVERED:
        return Answer(meaning=meaning, status=http.status)
    words = words_of(http.content_type, http.body, secrets=secrets)
    said = f"{http.status}: {words}" if words else str(http.status)
    if meaning is Meaning.MISCONFIGURED:
        location = one_line(_without_query(headers.get("Location", "")), secrets=secrets)
        said = _what_to_change(http.status, said, location)
    wait = retry_after(headers, now=now) if meaning in (Meaning.UNAVAILABLE, Meaning.UNKNOWN) else None
    return Answer(meaning=meaning, status=http.status, error=said, retry_after=wait)


def _meaning(http: HttpAnswer, headers: Mapping[str, str]) -> Meaning:
    status = http.status
    if 200 <= status < 300:
        return Meaning.MISCONFIGURED if is_html(http.content_type, http.body) else Meaning.DELIVERED
    if 300 <= status < 400 or status in (401, 403) or status in _WRONG_ENDPOINT:
        return Meaning.MISCONFIGURED
    if status == 409:
        replayed = headers.get("Idempotent-Replay") or headers.get("Idempotent-Replayed") or ""
        return Meaning.DELIVERED if replayed.strip().lower() == "true" else Meaning.UNKNOWN
    if status in _TRANSIENT or 500 <= status < 600:
        return Meaning.UNAVAILABLE
    return Meaning.REFUSED if 400 <= status < 500 else Meaning.UNKNOWN


def _what_to_change(status: int, said: str, location: str) -> str:
    if status in (401, 403):
        return (
            f"the CRM refuses the credentials ({said}): check CRM_API_TOKEN or CRM_API_TOKEN_FILE, and CRM_AUTH_SCHEME"
        )
    if 300 <= status < 400:
        return f"CRM_API_URL redirects ({status}) to {location or 'nowhere'}: set it to the final address"
    if 200 <= status < 300:
        return f"CRM_API_URL answers with a web page ({said}): set it to the address of the CRM's API"
    return f"CRM_API_URL does not take a POST of JSON ({said}): check the address"


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


def read_batch_answer(
    http: HttpAnswer, keys: Sequence[str], *, now: datetime, secrets: Collection[str] = ()
) -> list[Answer]:
    """The meaning of an answer to a batch, one per key of `keys`, in their order.

    A success must account for each record: a JSON array, or an object whose `results` is one, of
    `{"idempotency_key", "status", "error"}`; without keys the order counts, if there are as many as records.
    A record that is not accounted for is UNKNOWN; a success without any results is MISCONFIGURED.
    """
    whole = read_answer(http, now=now, secrets=secrets)
    if whole.meaning is Meaning.REFUSED:
        whole = Answer(meaning=Meaning.BATCH_REFUSED, status=whole.status, error=whole.error)
    if whole.meaning is not Meaning.DELIVERED:
        return [whole] * len(keys)
    results = _results(http.body)
    if results is None:
        error = "the CRM's answer to a batch has no result for each record: set CRM_BATCH_SIZE=1"
        return [Answer(meaning=Meaning.MISCONFIGURED, status=http.status, error=error)] * len(keys)
    if len(results) == len(keys) and not any("idempotency_key" in r for r in results):
        by_key = dict(zip(keys, results, strict=True))
    else:
        by_key = {str(r.get("idempotency_key")): r for r in results}
    found = sum(key in by_key for key in keys)
    missing = Answer(
        meaning=Meaning.UNKNOWN,
        status=http.status,
        error=f"the CRM's answer to a batch accounts for {found} of {len(keys)} records",
    )
    return [_read_result(by_key[k], missing, now=now, secrets=secrets) if k in by_key else missing for k in keys]


def _results(body: bytes) -> list[dict[str, object]] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = value.get("results")
    if not isinstance(value, list):
        return None
    return [r for r in value if isinstance(r, dict)]


def _read_result(result: dict[str, object], missing: Answer, *, now: datetime, secrets: Collection[str]) -> Answer:
    status = result.get("status")
    if not isinstance(status, int) or isinstance(status, bool):
        return missing
    body = json.dumps({k: v for k, v in result.items() if k not in ("idempotency_key", "status")}).encode()
    headers = {"Content-Type": "application/json"}
    return read_answer(HttpAnswer(status=status, headers=headers, body=body), now=now, secrets=secrets)
