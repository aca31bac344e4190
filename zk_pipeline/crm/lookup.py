"""The CRM's answer to CRM_LOOKUP: does it hold this revision of a record already?

Asked before a record whose outcome is unknown is sent again, in `client`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import Enum

from zk_pipeline.crm.batch_responses import LIST_FIELDS
from zk_pipeline.crm.documents import MISSING, failure_sign, parse_json, whole_number
from zk_pipeline.crm.mapping import FieldMapping
from zk_pipeline.crm.responses import DeliveryResult, HttpResponse, ResponseClass, classify_response, is_empty
from zk_pipeline.crm.sanitize import extract_message, is_html, sanitize_line


class LookupResult(Enum):
    """The revision of a day that the CRM holds."""

    THIS = "this revision or a later one"
    NOT_THIS = "nothing, or an earlier revision"


def classify_lookup(
    http: HttpResponse,
    record: Mapping[str, object],
    mapping: FieldMapping,
    *,
    now: datetime,
    per_site: bool = False,
    secrets: Collection[str] = (),
) -> LookupResult | DeliveryResult:
    """The state at the CRM of the day of `record` (as it was sent); an Answer where that is not seen.

    The CRM answers with the record as a JSON object, or with a list of records, also under a name of LISTS. Records of
    other people or dates, and with `per_site` of other sites, are passed over. 404, 410, 204 and an empty list say that
    there is none. Where the answer does not show it the outcome stays unknown: sent again, the record could be there
    twice.
    """
    is_page = is_html(http.content_type, http.body)
    if not is_page and (http.status in (404, 410) or (http.status == 204 and is_empty(http.body))):
        return LookupResult.NOT_THIS
    if is_page or not 200 <= http.status < 300:
        return _failed_lookup(http, now, secrets)
    held = None if http.is_cut else _records(http)
    if held is None:
        return _inconclusive_lookup(http, "is neither a record nor a list of records in JSON", secrets)
    ours = [one for one in held if _is_same_day(one, record, mapping, per_site)]
    if not ours:
        return (
            _inconclusive_lookup(http, "has records, but none of this day", secrets) if held else LookupResult.NOT_THIS
        )
    name = mapping.rename.get("revision", "revision")
    revisions = [whole_number(one.get(name)) for one in ours]
    wanted = whole_number(record.get(name))
    if wanted is None or None in revisions:
        return _inconclusive_lookup(http, f"has no {name!r}, by which a revision is recognized", secrets)
    is_held = any(revision is not None and revision >= wanted for revision in revisions)
    return LookupResult.THIS if is_held else LookupResult.NOT_THIS


def _failed_lookup(http: HttpResponse, now: datetime, secrets: Collection[str]) -> DeliveryResult:
    whole = classify_response(http, now=now, secrets=secrets)
    is_outage = whole.meaning in (ResponseClass.UNAVAILABLE, ResponseClass.UNKNOWN)
    return DeliveryResult(
        meaning=whole.meaning if is_outage else ResponseClass.MISCONFIGURED,
        status=http.status,
        error=f"CRM_LOOKUP: {_message(http, secrets)}: check its address and whether the token may read there",
        retry_after=whole.retry_after,
    )


def _records(http: HttpResponse) -> list[dict[str, object]] | None:
    try:
        value = parse_json(http.body, http.content_type)
    except ValueError:
        return None
    if isinstance(value, dict):
        if failure_sign(value) is not None:
            return None
        inner = next((value[name] for name in LIST_FIELDS if isinstance(value.get(name), list | dict)), None)
        value = value if inner is None else inner
    if isinstance(value, dict):
        return [value] if value else None
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return None
    return value


def _is_same_day(
    held: Mapping[str, object], record: Mapping[str, object], mapping: FieldMapping, per_site: bool
) -> bool:
    """True unless a field of a record that is held says that it is another's."""
    names = [mapping.rename.get(name, name) for name in ("user_id", "date")]
    names += [mapping.site_field] if per_site else []
    return all(
        str(held[name])[: len(str(record[name]))] == str(record[name])
        if name == names[1]
        else str(held[name]) == str(record[name])
        for name in names
        if held.get(name, MISSING) not in (MISSING, None) and name in record
    )


def _inconclusive_lookup(http: HttpResponse, why: str, secrets: Collection[str]) -> DeliveryResult:
    error = f"CRM_LOOKUP: the answer {why} ({_message(http, secrets)}): the record is not sent again before it is seen"
    return DeliveryResult(meaning=ResponseClass.UNKNOWN, status=http.status, error=error)


def _message(http: HttpResponse, secrets: Collection[str]) -> str:
    words = extract_message(http.content_type, http.body, secrets=secrets)
    return sanitize_line(f"{http.status}: {words}" if words else str(http.status), secrets=secrets)
