"""Classification of batch responses per record: items are matched by key, by user and date, or by index, never guessed.

The classification of an item's status is in `responses`; `docs/crm.md` lists the accepted shapes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from zk_pipeline.crm.documents import failure_sign, parse_json, plain_name, reports_success, status_of, whole_number
from zk_pipeline.crm.responses import (
    DEFAULT_RULES,
    DeliveryResult,
    HttpResponse,
    ResponseClass,
    ResponseRules,
    classify_response,
    is_empty,
)
from zk_pipeline.crm.sanitize import sanitize_line

LIST_FIELDS = (
    "results",
    "items",
    "records",
    "responses",
    "data",
)  # fields of an object that may contain its list of results
_STATUS_FIELDS = ("status", "statuscode", "httpstatus")  # the first field with a status counts
_BATCH_SIZE_ADVICE = "set CRM_BATCH_SIZE=1 if the CRM does not answer record by record (docs/crm.md)"

Item = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class SentRecord:
    """Identity of a sent record in a response: its key, and its user and date if they were sent."""

    key: str
    user_id: str | None = None
    date: str | None = None
    user_field: str = "user_id"  # the CRM's field names
    date_field: str = "date"


def classify_single_response(
    http: HttpResponse,
    sent: SentRecord,
    *,
    now: datetime,
    secrets: Collection[str] = (),
    rules: ResponseRules = DEFAULT_RULES,
) -> DeliveryResult:
    """Classify the response to a single record, also if it is a list of one result."""
    whole = classify_response(http, now=now, secrets=secrets, rules=rules)
    is_settled = whole.meaning is ResponseClass.MISCONFIGURED or rules.success or rules.is_already(http)
    if not 200 <= http.status < 300 or is_settled:
        return whole
    items = result_items(http)
    if items is None or not any(_status(item) for item in items):
        if http.status == 207 and whole.meaning is ResponseClass.DELIVERED:
            return replace(whole, meaning=ResponseClass.UNKNOWN, error="207 without the record's result")
        return whole
    (answer,) = _classify_items(http, items, [sent], now=now, secrets=secrets, rules=rules)
    return answer


def classify_batch_response(
    http: HttpResponse,
    sent: Sequence[SentRecord],
    *,
    now: datetime,
    secrets: Collection[str] = (),
    rules: ResponseRules = DEFAULT_RULES,
) -> list[DeliveryResult]:
    """Classify the response to a batch: one result per record of `sent`, in their order.

    A success must contain each record's result: a list, also in a field of LIST_FIELDS, of objects with a `status`.
    Items are matched by `idempotency_key`, by user and date, or by `index`; by position only if no item has any of
    these and there are as many items as records. A record without an item, or with contradicting ones, is UNKNOWN. A
    success without any results, in JSON or empty, is MISCONFIGURED.
    """
    whole = classify_response(http, now=now, secrets=secrets)
    if whole.meaning in (ResponseClass.REJECTED, ResponseClass.UNCLEAR):
        return [replace(whole, meaning=ResponseClass.BATCH_REJECTED)] * len(sent)
    is_success = 200 <= http.status < 300 or whole.meaning is ResponseClass.DELIVERED
    if not is_success or whole.meaning is ResponseClass.MISCONFIGURED:
        return [whole] * len(sent)
    items = result_items(http)
    if items is None:
        return [_without_results(http, whole)] * len(sent)
    return _classify_items(http, items, sent, now=now, secrets=secrets, rules=rules)


def result_items(http: HttpResponse) -> list[Item] | None:
    """The items of a response; None if it has no list of objects or was cut off."""
    if http.is_cut:
        return None
    try:
        value = parse_json(http.body, http.content_type)
    except ValueError:
        return None
    if isinstance(value, dict):
        value = next((value[name] for name in LIST_FIELDS if isinstance(value.get(name), list)), None)
    if not isinstance(value, list):
        return None
    items = [item for item in value if isinstance(item, dict)]
    return items if items or not value else None


def _without_results(http: HttpResponse, whole: DeliveryResult) -> DeliveryResult:
    """Result for a success without the records' results."""
    if http.is_cut or (whole.meaning is ResponseClass.UNKNOWN and not is_empty(http.body)):
        return replace(whole, meaning=ResponseClass.UNKNOWN, error=f"{whole.error}; {_BATCH_SIZE_ADVICE}")
    error = f"the CRM's answer to a batch has no result for each record: {_BATCH_SIZE_ADVICE}"
    return DeliveryResult(meaning=ResponseClass.MISCONFIGURED, status=http.status, error=error)


def _classify_items(
    http: HttpResponse,
    items: list[Item],
    sent: Sequence[SentRecord],
    *,
    now: datetime,
    secrets: Collection[str],
    rules: ResponseRules,
) -> list[DeliveryResult]:
    matched = match_items(items, sent)
    found = sum(isinstance(each, list) for each in matched)
    missing = f"the CRM's answer to a batch accounts for {found} of {len(sent)} records"
    answers = []
    for each in matched:
        if not isinstance(each, list):
            error = missing if each is None else f"the CRM's answer to a batch contradicts itself: {each}"
            answers.append(
                DeliveryResult(
                    meaning=ResponseClass.UNKNOWN, status=http.status, error=sanitize_line(error, secrets=secrets)
                )
            )
            continue
        read = [_classify_item(item, http.status, now=now, secrets=secrets, rules=rules) for item in each]
        if len({one.meaning for one in read}) > 1:
            statuses = " and ".join(str(one.status) for one in read)
            error = f"the CRM's answer to a batch contradicts itself: one record has {statuses}"
            read = [DeliveryResult(meaning=ResponseClass.UNKNOWN, status=http.status, error=error)]
        answers.append(read[0])
    return answers


def match_items(items: Sequence[Item], sent: Sequence[SentRecord]) -> list[list[Item] | str | None]:
    """The items of each record; None without any; a text about the contradiction if there is one."""
    clues = _RecordIndex(items, sent)
    if not any(clues.has_any(item) for item in items):
        return [[item] for item in items] if len(items) == len(sent) else [None] * len(sent)
    matched: dict[int, list[Item]] = defaultdict(list)
    contradictions: dict[int, str] = {}
    for item in items:
        places = clues.places(item)
        named = {place for place in places.values() if place is not None}
        if len(named) == 1 and None not in places.values():
            matched[named.pop()].append(item)
        else:
            fields = " and ".join(sorted(places)) or "nothing"
            contradictions |= dict.fromkeys(named, f"{fields} of one result are of different records")
    return [contradictions.get(n) or matched.get(n) for n in range(len(sent))]


class _RecordIndex:
    """Index of the sent records by the fields with which an item names its record: key, user and date, index."""

    def __init__(self, items: Sequence[Item], sent: Sequence[SentRecord]) -> None:
        self.by_key = {record.key: n for n, record in enumerate(sent)}
        self.by_day: dict[tuple[str, str], set[int]] = defaultdict(set)
        for n, record in enumerate(sent):
            if record.user_id is not None and record.date is not None:
                self.by_day[record.user_id, record.date].add(n)
        self.fields = sent[0] if sent else SentRecord(key="")
        self.count = len(sent)
        self.first = self._first_index(items)

    def has_any(self, item: Item) -> bool:
        return bool({"idempotencykey", "index"} & _by_plain_name(item).keys()) or self._day(item) is not None

    def places(self, item: Item) -> dict[str, int | None]:
        """Position of the record by each field that names it; None for a record that was not sent. An unknown user and
        date are ignored if another field names the record: they may be the CRM's own.
        """
        plain = _by_plain_name(item)
        found: dict[str, int | None] = {}
        if "idempotencykey" in plain:
            found["idempotency_key"] = self.by_key.get(str(plain["idempotencykey"]))
        day = self._day(item)
        if day is not None:
            places = self.by_day.get(day, set())
            if len(places) == 1:
                found["user and date"] = next(iter(places))
            elif not found:
                found["user and date"] = None
        index = self._index(item)
        if index is not None and self.first is not None:
            found["index"] = index - self.first if 0 <= index - self.first < self.count else None
        elif "index" in plain and not found:
            found["index"] = None
        return found

    def _first_index(self, items: Sequence[Item]) -> int | None:
        """Base of the indexes, 0 or 1; None if the items do not show it."""
        indexes = [index for item in items if (index := self._index(item)) is not None]
        if 0 in indexes:
            return 0
        return 1 if self.count in indexes else None

    def _day(self, item: Item) -> tuple[str, str] | None:
        """User and date of an item, or of the record nested in it."""
        for each in (item, *(value for value in item.values() if isinstance(value, dict))):
            user, day = each.get(self.fields.user_field), each.get(self.fields.date_field)
            if isinstance(user, str | int) and isinstance(day, str):
                return str(user), day[:10]
        return None

    @staticmethod
    def _index(item: Item) -> int | None:
        return whole_number(next((value for name, value in item.items() if plain_name(name) == "index"), None))


def _by_plain_name(item: Item) -> Item:
    return {plain_name(name): value for name, value in item.items() if value is not None}


def _status(item: Item) -> int | None:
    plain = _by_plain_name(item)
    return next((status for name in _STATUS_FIELDS if (status := status_of(plain.get(name))) is not None), None)


def _classify_item(
    item: Item, whole: int, *, now: datetime, secrets: Collection[str], rules: ResponseRules
) -> DeliveryResult:
    status = _status(item)
    if status is None and reports_success(item) and failure_sign(item) is None:
        status = 200
    if status is None:
        status = status_of(item.get("code"))
    content = {name: value for name, value in item.items() if plain_name(name) not in ("idempotencykey", "index")}
    body = json.dumps(content)
    if status is None:
        error = f"the CRM's answer to a batch gives a record no status: {body}"
        return DeliveryResult(meaning=ResponseClass.UNKNOWN, status=whole, error=sanitize_line(error, secrets=secrets))
    http = HttpResponse(status=status, headers={"Content-Type": "application/json"}, body=body.encode())
    answer = classify_response(http, now=now, secrets=secrets, rules=rules)
    if answer.meaning in (ResponseClass.MISCONFIGURED, ResponseClass.UNCLEAR):
        # The CRM accepted the request as a whole, so this record is at fault.
        meaning = ResponseClass.REJECTED if status >= 400 else ResponseClass.UNKNOWN
        return DeliveryResult(meaning=meaning, status=status, error=f"{status}: {sanitize_line(body, secrets=secrets)}")
    return answer
