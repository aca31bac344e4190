"""Locking a terminal's reader and keys for a while, and making sure that people can punch again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from zk_pipeline.devices.client import TerminalClient
from zk_pipeline.devices.connection import Connector
from zk_pipeline.devices.errors import StillDisabled, TerminalError

ENABLE_TIMEOUTS = 2  # what is kept of the deadline for unlocking on a fresh connection; at most a quarter


@dataclass
class Disabling:
    """Whether a terminal may be disabled by us. The deadline of `connector` leaves time to enable it again."""

    connector: Connector
    is_disabled: bool = False

    @contextmanager
    def during(self, client: TerminalClient) -> Iterator[None]:
        """Disabled while the block runs; enabled again if the session still works, or else left to others.

        Raises TerminalError where the terminal does not let itself be disabled.
        """
        self.is_disabled = True  # already before: the answer may be lost on its way
        try:
            client.disable()
            yield
        finally:
            self._enable(client)

    def _enable(self, client: TerminalClient) -> None:
        if client.transport.is_broken:
            return
        try:
            client.enable()
        except TerminalError:
            return  # a fresh connection is next, see `enabled_afterwards`
        self.is_disabled = False


@contextmanager
def enabled_afterwards(connector: Connector) -> Iterator[Disabling]:
    """A Disabling that is undone when the block ends, on a fresh connection if need be.

    Raises StillDisabled where that fails; if the block itself failed, its TerminalError with that added to its words.
    """
    deadline = connector.deadline
    kept = min(ENABLE_TIMEOUTS * connector.timeout, deadline.seconds / 4)
    disabling = Disabling(replace(connector, deadline=deadline.sooner(kept)))
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
        raise StillDisabled(connector.device, "unlocking the terminal", left.problem) from left


def _undo(connector: Connector, disabling: Disabling) -> TerminalError | None:
    """Enable a terminal that may be disabled; why that failed, None where it did not."""
    if not disabling.is_disabled:
        return None
    try:
        with connector.session() as client:
            client.enable()
    except TerminalError as error:
        return error
    disabling.is_disabled = False
    return None
