"""Terminals that push, adopted, and uploads made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

from zk_pipeline.devices.push.uploads import DeviceEvent, ParsedUpload, PushedPunch, RejectedLine
from zk_pipeline.store.push.terminals import Contact
from zk_pipeline.store.push.uploads import PushUpload, StoredUpload
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import SERIAL


def adopt(store: Store, name: str = "Gate", serial: str = SERIAL, timezone: str | None = "UTC", **learned: Any) -> None:
    """Adopt a terminal that has connected just now, and connects again."""
    contact(store, serial)
    store.push.adopt(serial, name, timezone=timezone, default_timezone="UTC", site=None, by="test")
    contact(store, serial, **learned)


def contact(store: Store, serial: str = SERIAL, **learned: Any) -> None:
    """Record a contact at the time of the store."""
    store.push.record_contacts([Contact(serial_number=serial, address="192.0.2.10", seen_at=store.clock(), **learned)])


def store_uploads(store: Store, uploads: Sequence[PushUpload]) -> list[StoredUpload | None]:
    """Store uploads in one transaction; returns the counts of each."""
    with closing(store.push.writer()) as writer:
        return writer.store(uploads)


def push(
    store: Store,
    *punches: tuple[str, str],
    name: str = "Gate",
    serial: str = SERIAL,
    table: str = "ATTLOG",
    stamp: str | None = "9999",
    rejected: Sequence[bytes] = (),
    events: Sequence[DeviceEvent] = (),
    drift_seconds: float | None = None,
) -> StoredUpload:
    """Store an upload of (user id, wall clock) punches and events, received at the time of the store."""
    parsed = [PushedPunch(user, datetime.fromisoformat(at), 0, 1, None, None) for user, at in punches]
    lines = len(punches) + len(rejected) + len(events)
    bad = [RejectedLine(raw, "impossible date") for raw in rejected]
    (stored,) = store_uploads(
        store,
        [
            PushUpload(
                serial_number=serial,
                device=name,
                timezone=store.devices.get(name).timezone,
                table_name=table,
                stamp=stamp,
                parsed=ParsedUpload(parsed, bad, [], list(events), lines, f"OK: {lines}"),
                received_at=store.clock(),
                drift_seconds=drift_seconds,
            )
        ],
    )
    assert stored is not None
    return stored


def event(code: int, at: str, *, user_id: str = "0", detail: str = "", is_operation: bool = True) -> DeviceEvent:
    """An event at an ISO wall-clock time: of the operation log, or of access control."""
    return DeviceEvent(code, user_id, datetime.fromisoformat(at), detail, is_operation)
