"""A delivery as the JSON that the CRM is sent, and the key that makes sending it twice harmless.

How it is sent is in `client`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from hashlib import sha256
from uuid import UUID, uuid5

from zk_pipeline.crm.batch_responses import SentRecord
from zk_pipeline.crm.mapping import IDENTITY_MAPPING, FieldMapping
from zk_pipeline.crm.models import Delivery

# Fixed for ever: another value would give every delivered day a second identity at the CRM.
KEY_NAMESPACE = UUID("7b0c5c43-0c1c-5ac6-9f0e-6a8b1f6f3d52")


def idempotency_key(site: str, user_id: str, work_date: date, revision: int, content: str) -> str:
    """The key of one revision of one day: the same at every attempt and in every process, and no other's.

    `content` is the hash of what the revision says. It tells apart the revisions of two stores: one that was lost and
    read anew from the terminals may number them differently, and the CRM must not take its days for repeats.
    A UUID over the JSON array of the parts, which no two different sets share.
    """
    return str(uuid5(KEY_NAMESPACE, json.dumps([site, user_id, work_date.isoformat(), revision, content])))


def batch_key(deliveries: Sequence[Delivery]) -> str:
    """The key of the request around a batch: the same for the same records in the same order."""
    return sha256("\n".join(d.idempotency_key for d in deliveries).encode()).hexdigest()


def crm_record(delivery: Delivery, mapping: FieldMapping = IDENTITY_MAPPING) -> dict[str, object]:
    """The JSON object of one day, fields in the order of the contract.

    While the outcome of an earlier request under its key is unknown, it is the record of that request, whatever the
    mapping says by now: a key that comes back with another body is refused by the CRM.

    Instants are ISO 8601 to the second with the UTC offset they carry, so they must be in the device's zone.
    A retraction (the day ceased to exist) is the one record whose `clock_in` is null: the contract has no field that
    says so, and every day that exists has a clock-in. `mapping` may add `is_retracted` and the site, which a record
    that is one of several sites has in any case.
    Raises ValueError on a naive instant: without an offset the CRM would read another moment.
    """
    if delivery.sent_body:
        sent: dict[str, object] = json.loads(delivery.sent_body)
        return sent
    record = {
        "user_id": delivery.user_id,
        "date": delivery.work_date.isoformat(),
        "clock_in": _aware(delivery.clock_in),
        "clock_out": _aware(delivery.clock_out),
        "is_outlier": delivery.is_outlier,
        "outlier_reason": delivery.outlier_reason,
        "device_name": delivery.device_name,
        "device_ip": delivery.device_ip,
        "revision": delivery.revision,
    }
    site = delivery.clock_in_site or delivery.site
    mapped = mapping.apply(record, {"site": site, "is_retracted": delivery.is_retracted})
    return mapped | {mapping.site_field: site} if delivery.record_per == "site" else mapped


def record_body(delivery: Delivery, mapping: FieldMapping = IDENTITY_MAPPING) -> str:
    """The JSON of a record as it is sent under its key: `sent_body` to the letter where it was kept.

    What a store keeps as `sent_body` when it claims the delivery.
    """
    if delivery.sent_body:
        return delivery.sent_body
    return json.dumps(crm_record(delivery, mapping), separators=(",", ":"), allow_nan=False)


def encode_one(delivery: Delivery, mapping: FieldMapping = IDENTITY_MAPPING) -> bytes:
    """The request body of a single record."""
    return record_body(delivery, mapping).encode("ascii")


def encode_batch(deliveries: Sequence[Delivery], mapping: FieldMapping = IDENTITY_MAPPING) -> bytes:
    """The request body of a batch: an array of records, each with its own `idempotency_key`."""
    records = [batch_record(delivery, mapping) for delivery in deliveries]
    return json.dumps(records, separators=(",", ":"), allow_nan=False).encode("ascii")


def batch_record(delivery: Delivery, mapping: FieldMapping = IDENTITY_MAPPING) -> dict[str, object]:
    """One record of a batch: as it would be alone, with its key."""
    return crm_record(delivery, mapping) | {"idempotency_key": delivery.idempotency_key}


def sent_record(delivery: Delivery, mapping: FieldMapping = IDENTITY_MAPPING) -> SentRecord:
    """By what the CRM's answer may say that it is about this record."""
    names = {name: mapping.rename.get(name, name) for name in ("user_id", "date")}
    has_both = not mapping.drop & names.keys()
    return SentRecord(
        key=delivery.idempotency_key,
        user_id=delivery.user_id if has_both else None,
        date=delivery.work_date.isoformat() if has_both else None,
        user_field=names["user_id"],
        date_field=names["date"],
    )


def _aware(value: datetime | None) -> datetime | None:
    if value is not None and value.utcoffset() is None:
        raise ValueError(f"instant {value} has no UTC offset")
    return value
