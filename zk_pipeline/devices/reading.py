"""One complete reading of one terminal: what to read, on how many connections, and what the next reading may rely on.

How bytes are fetched is in `tables` and `tails`; what they mean, in `decode`.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pandas as pd

from zk_pipeline.devices.client import TerminalClient
from zk_pipeline.devices.clock import SYSTEM_CLOCK, Clock
from zk_pipeline.devices.connection import Connector
from zk_pipeline.devices.decode import decode_log
from zk_pipeline.devices.disabling import Disabling, enabled_afterwards
from zk_pipeline.devices.errors import (
    DeadlineExceeded,
    IncompleteTransfer,
    NoAnswer,
    ProtocolViolation,
    Refused,
    TerminalError,
    Unreachable,
)
from zk_pipeline.devices.layouts import LOG_LAYOUTS
from zk_pipeline.devices.models import Device, LogTail, Reading, TerminalInfo
from zk_pipeline.devices.session import check_serial, describe
from zk_pipeline.devices.tables import RawLog, fetch_log, fetch_users_if_any
from zk_pipeline.devices.tails import READING_NEW_RECORDS, fetch_new_records, fits, tail_of, unchanged_log

ATTEMPTS = 3


def read_terminal(
    device: Device,
    *,
    comm_key: int,
    timeout: float,
    deadline: float,
    tail: LogTail | None = None,
    lock_while_reading: bool = False,
    clock: Clock = SYSTEM_CLOCK,
) -> Reading:
    """Everything the terminal holds, or with `tail` everything since: complete and verified, or TerminalError.

    `timeout` is the longest silence and `deadline` the longest time for all of it, in seconds. Complete means: what
    was declared arrived, it is a whole number of records, and the terminal's own counter, asked before and after,
    confirms that number. A record that cannot be a punch is in `rejected` and the rest in `punches`.

    With the `tail` of an earlier reading nothing is transferred where the counter has not moved, and only new records
    where these are proven to continue it (see `tails`). Any doubt makes a full reading of it; `mode` says which it was.

    A reading that failed as a whole is tried again on a fresh connection, twice. The terminal is not changed. It is
    locked only with `lock_while_reading`, while its log is transferred; StillDisabled, or the words of another failure,
    say when it could not be unlocked. Raises SerialChanged when `device.serial_number` is known and another terminal
    answers.
    """
    if tail is not None:
        device = replace(device, log_layout=tail.layout)
    connector = Connector.within(device, comm_key, timeout=timeout, deadline=deadline, clock=clock)
    if not lock_while_reading:
        return _read(connector, tail, None)
    with enabled_afterwards(connector) as disabling:
        return _read(disabling.connector, tail, disabling)


def read_whole_log(client: TerminalClient) -> tuple[RawLog, Reading]:
    """A full reading within a session that goes on; `bytes_read` is what it has received so far."""
    info = describe(client)
    check_serial(client, info)
    log = fetch_log(client, records_before=info.record_count, clock_local=info.clock_local)
    users, warnings = fetch_users_if_any(client, log.after)
    received = client.transport.bytes_received
    return log, _reading(client.transport.device, info, log, users, warnings, bytes_read=received)


def _read(connector: Connector, tail: LogTail | None, disabling: Disabling | None) -> Reading:
    failure: TerminalError | None = None
    for _ in range(ATTEMPTS):
        try:
            return _read_once(connector, tail, disabling)
        except (IncompleteTransfer, ProtocolViolation, NoAnswer) as error:
            failure = failure or error
            if error.attempted == READING_NEW_RECORDS:
                tail = None
        except (Refused, Unreachable, DeadlineExceeded):
            # In a second attempt that says less than why the first one failed.
            if failure is None:
                raise
            break
    assert failure is not None
    raise failure


def _read_once(connector: Connector, tail: LogTail | None, disabling: Disabling | None) -> Reading:
    with connector.session() as client:
        info = describe(client)
        check_serial(client, info)
        known = tail if tail is not None and fits(tail, info) else None
        if known is not None and known.record_count == info.record_count:
            log = unchanged_log(known, info)
        else:
            with disabling.during(client) if disabling is not None else nullcontext():
                log = _fetch(client, known, info)
        users, warnings = fetch_users_if_any(client, log.after) if _needs_users(log, tail) else (None, ())
    return _reading(connector.device, info, log, users, warnings, bytes_read=connector.bytes_received)


def _fetch(client: TerminalClient, known: LogTail | None, info: TerminalInfo) -> RawLog:
    log = fetch_new_records(client, known, info) if known is not None else None
    return log or fetch_log(client, records_before=info.record_count, clock_local=info.clock_local)


def _needs_users(log: RawLog, tail: LogTail | None) -> bool:
    """Always with a full reading; else for records that do not name their users, and where users came or went."""
    if log.mode == "full" or tail is None or log.layout is None:
        return True
    has_unnamed = log.mode == "tail" and not log.layout.names_users
    return has_unnamed or log.after.users != tail.user_count


def _reading(
    device: Device,
    info: TerminalInfo,
    log: RawLog,
    users: pd.DataFrame | None,
    warnings: tuple[str, ...],
    *,
    bytes_read: int,
) -> Reading:
    layout = log.layout or LOG_LAYOUTS[0]
    new = log.table[log.known * layout.size :]
    first_index = log.start + log.known
    punches, rejected = decode_log(new, layout, users=users, encoding=device.encoding, first_index=first_index)
    # Records that wait for a user list in quarantine are found again only by a full reading.
    is_waiting = len(new) > 0 and users is None and not layout.names_users
    return Reading(
        info=info,
        reported_after=log.after.records,
        layout=log.layout.size if log.layout else None,
        log_layout=log.layout.name if log.layout else None,
        bytes_read=bytes_read,
        punches=punches,
        rejected=rejected,
        users=users,
        mode=log.mode,
        tail=None if is_waiting else tail_of(log, info),
        warnings=warnings,
    )
