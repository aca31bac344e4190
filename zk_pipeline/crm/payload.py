"""JSON payload of deliveries, and their idempotency keys. Requests are in `client`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from hashlib import sha256
from uuid import UUID, uuid5

from zk_pipeline.crm.batch_responses import SentRecord
from zk_pipeline.crm.mapping import IDENTITY_MAPPING, FieldMapping
from zk_pipeline.crm.models import Delivery

# Never change: another value would give every delivered day a second idempotency key at the CRM.
KEY_NAMESPACE = UUID("7b0c5c43-0c1c-5ac6-9f0e-6a8b1f6f3d52")


def idempotency_key(site: str, user_id: str, work_date: date, revision: int, content: str) -> str:
    """Idempotency key of one revision of a day: unique, and the same in every attempt and process.

    `content` is the hash of the revision's content. It distinguishes the revisions of two stores: a store that was
    lost and rebuilt from the terminals may number its revisions differently, and the CRM must not treat them as
    repeats. The key is a UUID (version 5) of the JSON array of all arguments.
    """
    return str(uuid5(KEY_NAMESPACE, json.dumps([site, user_id, work_date.isoformat(), revision, content])))


def batch_key(deliveries: Sequence[Delivery]) -> str:
    """Idempotency key of a batch request: the same for the same records in the same order."""
    return sha256("\n".join(d.idempotency_key for d in deliveries).encode()).hexdigest()


def crm_record(delivery: Delivery, mapping: FieldMapping = IDENTITY_MAPPING) -> dict[str, object]:
    """The JSON object of one day, fields in the order of the contract.

    While the outcome of an earlier request under its key is unknown, the record is that of the earlier request,
    whatever the mapping is now: the CRM rejects a key that is repeated with another body.

    Instants are ISO 8601 to the second with their UTC offset, so they must be in the device's zone. Only a retraction
    has a null `clock_in`: the contract has no other field for it. `mapping` may add `is_retracted` and the site; a
    record per site always has the site. Raises ValueError for a naive instant.
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
    """JSON of a record as it is sent under its key; `sent_body` unchanged if it was stored.

    The store saves it as `sent_body` when it claims the delivery.
    """
    if delivery.sent_body:
        return delivery.sent_body
    return json.dumps(crm_record(delivery, mapping), separators=(",", ":"), allow_nan=False)


def encode_one(delivery: Delivery, mapping: FieldMapping = IDENTITY_MAPPING) -> bytes:
    """Request body of a single record."""
    return record_body(delivery, mapping).encode("ascii")


def encode_batch(deliveries: Sequence[Delivery], mapping: FieldMapping = IDENTITY_MAPPING) -> bytes:
    """Request body of a batch: an array of records, each with its `idempotency_key`."""
    records = [batch_record(delivery, mapping) for delivery in deliveries]
    return json.dumps(records, separators=(",", ":"), allow_nan=False).encode("ascii")


def batch_record(delivery: Delivery, mapping: FieldMapping = IDENTITY_MAPPING) -> dict[str, object]:
    """One record of a batch: the single record with its `idempotency_key`."""
    return crm_record(delivery, mapping) | {"idempotency_key": delivery.idempotency_key}


def sent_record(delivery: Delivery, mapping: FieldMapping = IDENTITY_MAPPING) -> SentRecord:
    """The identity by which a response can name this record."""
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
