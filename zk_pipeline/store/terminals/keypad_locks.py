"""Persistent record of terminals with a locked keypad: `devices.keypad_locked_at`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.devices.models import Device
from zk_pipeline.store.engine.database import Database


@dataclass(frozen=True)
class KeypadLockStore:
    """`KeypadLocks` of registered devices, by name, shared by all hosts of a store. Raises StoreBusy."""

    database: Database
    clock: Callable[[], datetime]

    def note(self, device: Device) -> None:
        """Record the lock before the terminal is locked. An earlier record keeps its time."""
        self._set(device, "coalesce(keypad_locked_at, $now)", {"now": self.clock()})

    def is_noted(self, device: Device) -> bool:
        with self.database.read("look up a keypad lock", device.name) as connection:
            row = connection.execute(
                "SELECT keypad_locked_at IS NOT NULL FROM devices WHERE name = ?", [device.name]
            ).fetchone()
        return bool(row and row[0])

    def forget(self, device: Device) -> None:
        """Delete the record after the terminal confirmed that it is unlocked."""
        self._set(device, "NULL", {})

    def _set(self, device: Device, value: str, parameters: dict[str, object]) -> None:
        with self.database.write("note a keypad lock", device.name) as connection:
            connection.execute(
                f"UPDATE devices SET keypad_locked_at = {value} WHERE name = $name",  # noqa: S608 (constant SQL)
                parameters | {"name": device.name},
            )
