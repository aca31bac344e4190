"""Lock a terminal's keypad and sensor (DISABLEDEVICE) during an operation, and guarantee the unlock afterwards.

A process may be killed, or lose the connection, while the keypad is locked. So the lock is recorded in `KeypadLocks`
before it is taken, and the record deleted after the terminal has confirmed the unlock; the next contact unlocks a
terminal with a record (`unlock_left_locked`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from zk_pipeline.devices.errors import DeviceLeftDisabled, TerminalError, UnsupportedCommand
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.client import TerminalClient
from zk_pipeline.devices.protocol.connection import Connector
from zk_pipeline.errors import ZkPipelineError

UNLOCK_TIMEOUTS = 2  # part of the deadline reserved for unlocking on a new connection; at most a quarter of it

_log = logging.getLogger(__name__)


class KeypadLocks(Protocol):
    """Durable record of the terminals that this pipeline has locked. Each method raises ZkPipelineError on failure."""

    def note(self, device: Device) -> None:
        """Record, durably, that the terminal may be locked from now on."""

    def is_noted(self, device: Device) -> bool:
        """Whether the terminal may be locked."""

    def forget(self, device: Device) -> None:
        """Delete the record: the terminal has confirmed that it is unlocked."""


def unlock_reserve_seconds(timeout: float, deadline: float) -> float:
    """Seconds of a deadline reserved for unlocking on a separate connection."""
    return min(UNLOCK_TIMEOUTS * timeout, max(deadline, 0.0) / 4)


@dataclass
class DeviceDisabled:
    """Lock state of a terminal's keypad. The deadline of `connector` leaves time for the unlock."""

    connector: Connector
    locks: KeypadLocks | None = None
    is_disabled: bool = False
    is_noted: bool = False
    is_refused: bool = False  # the terminal rejected DISABLEDEVICE

    @contextmanager
    def during(self, client: TerminalClient) -> Iterator[None]:
        """Lock the keypad while the block runs. Without a working session, `device_disabled` unlocks it.

        Raises TerminalError if the terminal rejects the lock, and ZkPipelineError if the lock cannot be recorded; it is
        not taken then.
        """
        self._note()
        self.is_disabled = True  # before the request: its answer may be lost
        try:
            self._disable(client)
            yield
        finally:
            self._enable(client)

    def forget(self) -> None:
        """Delete the record of the lock after the unlock. If that fails, the next contact repeats the unlock."""
        if self.locks is None or not self.is_noted:
            return
        _forget(self.locks, self.connector.device)
        self.is_noted = False

    def _note(self) -> None:
        if self.locks is not None and not self.is_noted:
            self.locks.note(self.connector.device)
            self.is_noted = True

    def _disable(self, client: TerminalClient) -> None:
        self.is_refused = False
        try:
            client.disable()
        except UnsupportedCommand:
            self.is_refused = True
            raise

    def _enable(self, client: TerminalClient) -> None:
        if client.transport.is_broken:
            return
        try:
            client.enable()
        except TerminalError:
            return  # `device_disabled` tries again on a new connection
        self.is_disabled = False


@contextmanager
def device_disabled(connector: Connector, locks: KeypadLocks | None = None) -> Iterator[DeviceDisabled]:
    """A DeviceDisabled whose lock is undone when the block ends, on a new connection if necessary.

    Raises DeviceLeftDisabled if the unlock fails; if the block failed too, its TerminalError with that problem added to
    the message.
    """
    deadline = connector.deadline
    reserve = unlock_reserve_seconds(connector.timeout, deadline.seconds)
    disabling = DeviceDisabled(replace(connector, deadline=deadline.sooner(reserve)), locks)
    try:
        yield disabling
    except BaseException as error:
        left = _undo(connector, disabling)
        if left is not None and isinstance(error, TerminalError):
            problem = f"{error.problem}; and the terminal could not be unlocked ({left.problem})"
            raise type(error)(connector.device, error.attempted, problem, advice=error.advice) from left
        raise
    left = _undo(connector, disabling)
    if left is not None:
        raise DeviceLeftDisabled(connector.device, "unlocking the terminal", left.problem) from left


def _undo(connector: Connector, disabling: DeviceDisabled) -> TerminalError | None:
    """Unlock a terminal that may be locked; returns the error if that failed."""
    if disabling.is_disabled:
        try:
            with connector.session() as client:
                client.enable()
        except UnsupportedCommand as error:
            if not disabling.is_refused or connector.device.keypad_locked_at is not None:
                return error
            # The firmware rejects both commands, so the terminal was never locked.
        except TerminalError as error:
            return error
        disabling.is_disabled = False
    disabling.forget()
    return None


def unlock_left_locked(connector: Connector, locks: KeypadLocks) -> None:
    """Unlock a terminal that was left locked, and delete the record; on failure log a warning and keep the record.

    Raises nothing: the caller's operation continues in any case.
    """
    name, registered = connector.device.name, connector.device.serial_number
    try:
        with connector.session() as client:
            serial = client.option("~SerialNumber") if registered else ""
            if serial and serial != registered:
                _log.warning("%s was left locked, and another terminal (%s) answers at its address now", name, serial)
                return
            client.enable()
    except TerminalError as error:
        _log.warning("%s was left locked, and could not be unlocked: %s", name, error)
        return
    _log.warning("%s was left locked, and is unlocked now", name)
    _forget(locks, connector.device)


def _forget(locks: KeypadLocks, device: Device) -> None:
    try:
        locks.forget(device)
    except ZkPipelineError as error:
        _log.warning(
            "%s is unlocked, which could not be recorded; the next contact unlocks it again: %s", device.name, error
        )
