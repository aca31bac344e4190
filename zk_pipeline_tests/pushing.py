"""Contacts and uploads of terminals that push, stored without a receiver."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from zk_pipeline.devices.push.uploads import DeviceEvent, ParsedUpload, PushedPunch
from zk_pipeline.operations.pushing_terminals import adopt_terminal
from zk_pipeline.store.push.terminals import Contact
from zk_pipeline.store.push.uploads import PushUpload
from zk_pipeline.store.store import Store


def contact(store: Store, serial: str, **facts: Any) -> None:
    """One connection of a terminal, now."""
    store.push.record_contacts(
        [Contact(**{"serial_number": serial, "address": "198.51.100.7", "seen_at": store.clock(), **facts})]
    )


def adopted(store: Store, serial: str, name: str, **facts: Any) -> None:
    """A new device whose terminal pushes, in UTC."""
    contact(store, serial, **facts)
    adopt_terminal(
        store, serial, name, timezone=None, default_timezone="UTC", site=None, with_secret=False, by="cli:test"
    )


def upload(
    store: Store,
    serial: str,
    *punches: tuple[str, str],
    events: Iterable[DeviceEvent] = (),
    table: str = "ATTLOG",
    stamp: str = "9999",
) -> None:
    """One upload of (user id, ISO wall-clock time) and events by the adopted terminal."""
    device = next(one.device for one in store.push.terminals() if one.serial_number == serial)
    assert device is not None
    pushed = [PushedPunch(user, datetime.fromisoformat(at), 0, 1, None, None) for user, at in punches]
    listed = list(events)
    lines = len(pushed) + len(listed)
    (stored,) = store.push.store(
        [
            PushUpload(
                serial_number=serial,
                device=device,
                timezone=store.devices.get(device).timezone,
                table_name=table,
                stamp=stamp,
                parsed=ParsedUpload(pushed, [], [], listed, lines, f"OK: {lines}"),
                received_at=store.clock(),
            )
        ]
    )
    assert stored is not None


def event(code: int, at: str, *, user_id: str = "0", detail: str = "", is_operation: bool = True) -> DeviceEvent:
    return DeviceEvent(code, user_id, datetime.fromisoformat(at), detail, is_operation)
