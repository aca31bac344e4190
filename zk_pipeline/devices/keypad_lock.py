"""Locking a terminal's reader and keys for a while, and making sure that people can punch again afterwards.

A process may be killed, or lose the connection, while it holds a terminal locked. So the lock is noted in a
`KeypadLocks` before it is taken, and forgotten after the terminal has confirmed that it is unlocked; what is noted is
undone at the next contact (`unlock_left`).
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

ENABLE_TIMEOUTS = 2  # what is kept of the deadline for unlocking on a fresh connection; at most a quarter

_log = logging.getLogger(__name__)


class KeypadLocks(Protocol):
    """Memory of the terminals that are locked by us. Each method raises ZkPipelineError where it cannot do that."""

    def note(self, device: Device) -> None:
        """Remember, durably, that the terminal may be locked from now on."""

    def is_noted(self, device: Device) -> bool:
        """Whether the terminal may be locked."""

    def forget(self, device: Device) -> None:
        """The terminal has confirmed that it is unlocked."""


def unlocking_seconds(timeout: float, deadline: float) -> float:
    """Seconds of a deadline that unlocking on a connection of its own may take."""
    return min(ENABLE_TIMEOUTS * timeout, max(deadline, 0.0) / 4)


@dataclass
class DeviceDisabled:
    """Whether a terminal may be disabled by us. The deadline of `connector` leaves time to enable it again."""

    connector: Connector
    locks: KeypadLocks | None = None
    is_disabled: bool = False
    is_noted: bool = False
    is_refused: bool = False  # the terminal answered that it does not let itself be disabled

    @contextmanager
    def during(self, client: TerminalClient) -> Iterator[None]:
        """Disabled while the block runs; enabled again if the session still works, or else left to others.

        Raises TerminalError where the terminal does not let itself be disabled, and ZkPipelineError where the lock
        cannot be noted, before it is taken.
        """
        self._note()
        self.is_disabled = True  # already before: the answer may be lost on its way
        try:
            self._disable(client)
            yield
        finally:
            self._enable(client)

    def forget(self) -> None:
        """Called once the terminal is enabled. What cannot be forgotten is undone once more at the next contact."""
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
            return  # a fresh connection is next, see `device_disabled`
        self.is_disabled = False


@contextmanager
def device_disabled(connector: Connector, locks: KeypadLocks | None = None) -> Iterator[DeviceDisabled]:
    """A Disabling that is undone when the block ends, on a fresh connection if need be.

    Raises StillDisabled where that fails; if the block itself failed, its TerminalError with that added to its words.
    """
    deadline = connector.deadline
    kept = unlocking_seconds(connector.timeout, deadline.seconds)
    disabling = DeviceDisabled(replace(connector, deadline=deadline.sooner(kept)), locks)
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
    """Enable a terminal that may be disabled; why that failed, None where it did not."""
    if disabling.is_disabled:
        try:
            with connector.session() as client:
                client.enable()
        except UnsupportedCommand as error:
            if not disabling.is_refused or connector.device.keypad_locked_at is not None:
                return error
            # It refuses to be unlocked as it refused to be locked: it never was.
        except TerminalError as error:
            return error
        disabling.is_disabled = False
    disabling.forget()
    return None


def unlock_left(connector: Connector, locks: KeypadLocks) -> None:
    """Unlock a terminal that was left locked, and forget that once it confirms; else the log says why not.

    Raises nothing: what is to be done with the terminal is done in any case, and the lock stays noted.
    """
    name, registered = connector.device.name, connector.device.serial_number
    try:
        with connector.session() as client:
            serial = client.option("~SerialNumber") if registered else ""
            if serial and serial != registered:
                _log.warning("%s was left locked, and another terminal (%s) answers in its place now", name, serial)
                return
            client.enable()
    except TerminalError as error:
        _log.warning("%s was left locked, and is not unlocked: %s", name, error)
        return
    _log.warning("%s was left locked, and is unlocked now", name)
    _forget(locks, connector.device)


def _forget(locks: KeypadLocks, device: Device) -> None:
    try:
        locks.forget(device)
    except ZkPipelineError as error:
        _log.warning(
            "%s is unlocked, which could not be noted; the next contact unlocks it once more: %s", device.name, error
        )
