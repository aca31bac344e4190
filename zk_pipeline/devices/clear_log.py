"""Clearing a terminal's log: the only thing here that destroys data, so every step before it is a proof."""

from __future__ import annotations

from collections.abc import Callable

from zk_pipeline.devices.clock import SYSTEM_CLOCK, Clock
from zk_pipeline.devices.errors import NotCleared
from zk_pipeline.devices.keypad_lock import KeypadLocks, device_disabled
from zk_pipeline.devices.models import Device, Reading
from zk_pipeline.devices.protocol.client import TerminalClient
from zk_pipeline.devices.protocol.connection import Connector
from zk_pipeline.devices.reading import read_whole_log


def clear_log(
    device: Device,
    *,
    comm_key: int,
    timeout: float,
    deadline: float,
    verified: Callable[[Reading], bool],
    keypad_locks: KeypadLocks | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Reading:
    """Delete everything from the terminal's log once `verified` has proven all of it safe; returns what it held.

    In one session: the whole log is read and handed to `verified`, the terminal is locked so that nobody can punch, its
    counter still has to be the number of records read, the log is cleared, the counter has to be 0, the terminal is
    unlocked. Raises NotCleared where any of this is not so, and TerminalError, or what `verified` raises, for what goes
    wrong; the log is then untouched unless the text says that clearing it was attempted. `deadline`, in seconds, covers
    `verified` too. An empty log is left alone.
    """
    connector = Connector.within(device, comm_key, timeout=timeout, deadline=deadline, clock=clock)
    with device_disabled(connector, keypad_locks) as disabling, disabling.connector.session() as client:
        log, reading = read_whole_log(client)
        if log.layout is None:
            return reading
        client.transport.doing = "verifying what the log holds"
        if not verified(reading):
            client.transport.fail(NotCleared, "not every record in it is stored")
        with disabling.during(client):
            _clear(client, records=len(log.table) // log.layout.size)
    return reading


def _clear(client: TerminalClient, *, records: int) -> None:
    counted = client.counters().records
    client.transport.doing = "checking that nothing has come in since"
    if counted != records:
        client.transport.fail(NotCleared, f"the terminal counts {counted} records and {records} were read")
    client.clear_log()
    left = client.counters().records
    client.transport.doing = "clearing the log"
    if left != 0:
        client.transport.fail(NotCleared, f"the terminal still counts {left} records after it")
