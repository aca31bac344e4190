"""Classification of CRM_LOOKUP responses: whether the CRM already has a revision of a record.

`client` sends the lookup before it retries a record with an unknown outcome.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import Enum

from zk_pipeline.crm.batch_responses import LIST_FIELDS
from zk_pipeline.crm.documents import MISSING, failure_sign, parse_json, whole_number
from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.errors import CrmSettingWrong
from zk_pipeline.crm.mapping import FieldMapping
from zk_pipeline.crm.responses import DeliveryResult, HttpResponse, ResponseClass, classify_response, is_empty
from zk_pipeline.crm.sanitize import extract_message, is_html, sanitize_line


def check_lookup(endpoint: CrmEndpoint, mapping: FieldMapping) -> None:
    """Raise CrmSettingWrong if CRM_LOOKUP could never recognize a record."""
    if endpoint.lookup is not None and "revision" in mapping.drop:
        raise CrmSettingWrong("CRM_LOOKUP needs the field revision, which crm_mapping.yaml drops: keep it there")


class LookupResult(Enum):
    """The revision of a day in the CRM."""

    DELIVERED = "this revision or a later one"
    NOT_DELIVERED = "none, or an earlier revision"


def classify_lookup(
    http: HttpResponse,
    record: Mapping[str, object],
    mapping: FieldMapping,
    *,
    now: datetime,
    per_site: bool = False,
    secrets: Collection[str] = (),
) -> LookupResult | DeliveryResult:
    """State of the day of `record` (as it was sent) in the CRM; a DeliveryResult if the response does not show it.

    The response is the record as a JSON object, or a list of records, also in a field of LIST_FIELDS. Records of other
    users or dates, and with `per_site` of other sites, are ignored. 404, 410, 204 and an empty list mean that there is
    none. An inconclusive response leaves the outcome unknown: a retry could create the record twice.
    """
    is_page = is_html(http.content_type, http.body)
    if not is_page and (http.status in (404, 410) or (http.status == 204 and is_empty(http.body))):
        return LookupResult.NOT_DELIVERED
    if is_page or not 200 <= http.status < 300:
        return _failed_lookup(http, now, secrets)
    records = None if http.is_cut else _records(http)
    if records is None:
        return _inconclusive_lookup(http, "is neither a record nor a list of records in JSON", secrets)
    if not records:
        return LookupResult.NOT_DELIVERED
    same_day = [each for each in records if _is_same_day(each, record, mapping, per_site)]
    name = mapping.rename.get("revision", "revision")
    revisions = [whole_number(each.get(name)) for each in same_day]
    wanted = whole_number(record.get(name))
    if not same_day:
        reason = "has records, but none of this day"
    elif wanted is None or None in revisions:
        reason = f"has no {name!r}, by which a revision is recognized"
    else:
        is_delivered = any(revision is not None and revision >= wanted for revision in revisions)
        return LookupResult.DELIVERED if is_delivered else LookupResult.NOT_DELIVERED
    return _inconclusive_lookup(http, reason, secrets)


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
    theirs: Mapping[str, object], record: Mapping[str, object], mapping: FieldMapping, per_site: bool
) -> bool:
    """False if a field of the CRM's record shows another user, date or site."""
    names = [mapping.rename.get(name, name) for name in ("user_id", "date")]
    names += [mapping.site_field] if per_site else []
    return all(
        str(theirs[name])[: len(str(record[name]))] == str(record[name])
        if name == names[1]
        else str(theirs[name]) == str(record[name])
        for name in names
        if theirs.get(name, MISSING) not in (MISSING, None) and name in record
    )


def _inconclusive_lookup(http: HttpResponse, reason: str, secrets: Collection[str]) -> DeliveryResult:
    error = (
        f"CRM_LOOKUP: the answer {reason} ({_message(http, secrets)}): "
        "the record is not sent again until a lookup is conclusive"
    )
    return DeliveryResult(meaning=ResponseClass.UNKNOWN, status=http.status, error=error)


def _message(http: HttpResponse, secrets: Collection[str]) -> str:
    message = extract_message(http.content_type, http.body, secrets=secrets)
    return sanitize_line(f"{http.status}: {message}" if message else str(http.status), secrets=secrets)
