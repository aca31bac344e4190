"""Clear a terminal's log: the only operation that deletes data from a terminal, after every record is verified."""

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
    """Delete all records of the terminal's log after `verified` has confirmed that they are stored; returns the log.

    Steps, in one session: read the whole log and call `verified`, lock the keypad so that no punch arrives, check that
    the record counter still equals the number of records read, clear the log, check that the counter is 0, unlock the
    keypad. Raises NotCleared if a check fails, TerminalError for a failure of the terminal, and any error of
    `verified`; the log is then unchanged unless the message says that clearing was attempted. `deadline`, in seconds,
    includes `verified`. An empty log is not cleared.
    """
    connector = Connector.within(device, comm_key, timeout=timeout, deadline=deadline, clock=clock)
    with device_disabled(connector, keypad_locks) as disabling, disabling.connector.session() as client:
        log, reading = read_whole_log(client)
        if log.layout is None:
            return reading
        client.transport.operation = "verifying that the records are stored"
        if not verified(reading):
            client.transport.fail(NotCleared, "not every record of the log is stored")
        with disabling.during(client):
            _clear(client, records=len(log.table) // log.layout.size)
    return reading


def _clear(client: TerminalClient, *, records: int) -> None:
    record_count = client.counters().records
    client.transport.operation = "checking that no record was added since"
    if record_count != records:
        client.transport.fail(NotCleared, f"the terminal counts {record_count} records and {records} were read")
    client.clear_log()
    left = client.counters().records
    client.transport.operation = "clearing the log"
    if left != 0:
        client.transport.fail(NotCleared, f"the terminal still counts {left} records")
