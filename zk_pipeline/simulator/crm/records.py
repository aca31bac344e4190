"""Validation of records by the emulated CRM. Requests are handled in `application`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

from zk_pipeline.simulator.crm.ledger import Record


def validation_error(record: object) -> str | None:
    """The problem of one record as a message; None if the record is valid."""
    if not isinstance(record, dict):
        return "a record must be a JSON object"
    missing, unknown = _CHECKS.keys() - record.keys(), record.keys() - _CHECKS.keys() - {"site"}
    if missing or unknown:
        problems = [f"missing {', '.join(sorted(missing))}"] if missing else []
        problems += [f"unknown {', '.join(sorted(unknown))}"] if unknown else []
        return "fields: " + "; ".join(problems)
    wrong = [
        f"{name} must be {expected}" for name, (expected, is_valid) in _CHECKS.items() if not is_valid(record[name])
    ]
    if not _is_text(record.get("site", "")):
        wrong.append("site (in a record per site) must be a text")
    return "; ".join(wrong) or None


def split_key(record: object) -> tuple[str, Record] | None:
    """Split a record of a batch into its key and the record itself; None without a key."""
    if not isinstance(record, dict) or not isinstance(record.get("idempotency_key"), str):
        return None
    return record["idempotency_key"], {k: v for k, v in record.items() if k != "idempotency_key"}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _is_instant_or_null(value: object) -> bool:
    if value is None:
        return True
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).utcoffset() is not None
    except ValueError:
        return False


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_revision(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_CHECKS: dict[str, tuple[str, Callable[[object], bool]]] = {
    "user_id": ("a non-empty text", _is_id),
    "date": ("a date as YYYY-MM-DD", _is_date),
    "clock_in": ("an ISO 8601 instant with its UTC offset, or null", _is_instant_or_null),
    "clock_out": ("an ISO 8601 instant with its UTC offset, or null", _is_instant_or_null),
    "is_outlier": ("true or false", _is_flag),
    "outlier_reason": ("a text", _is_text),
    "device_name": ("a text", _is_text),
    "device_ip": ("a text", _is_text),
    "revision": ("a number from 1", _is_revision),
}
