"""One complete reading of one terminal: full or incremental, with retries and the user list.

Transfer is in `tables` and `incremental`, decoding in `decode`.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TypeAlias

import pandas as pd

from zk_pipeline.devices.clock import SYSTEM_CLOCK, Clock
from zk_pipeline.devices.errors import (
    DeadlineExceeded,
    IncompleteTransfer,
    NoAnswer,
    ProtocolViolation,
    Refused,
    TerminalError,
    Unreachable,
)
from zk_pipeline.devices.incremental import READING_NEW_RECORDS, can_resume, fetch_new_records, position_of
from zk_pipeline.devices.keypad_lock import DeviceDisabled, KeypadLocks, device_disabled
from zk_pipeline.devices.models import Device, LogPosition, Reading, TerminalInfo
from zk_pipeline.devices.protocol.client import Counters, TerminalClient
from zk_pipeline.devices.protocol.connection import Connector
from zk_pipeline.devices.protocol.decode import decode_log
from zk_pipeline.devices.protocol.record_layouts import LOG_LAYOUTS
from zk_pipeline.devices.protocol.refusals import SessionLost
from zk_pipeline.devices.protocol.tables import USER_LIST_ERRORS, RawLog, fetch_log, fetch_user_list
from zk_pipeline.devices.terminal_info import check_serial, read_terminal_info, verify_serial

ATTEMPTS = 3
USER_LIST_DUE = -1  # as a user count: no terminal reports it, so the next reading requests the list

# The user list with its warnings, the error of reading it, or None if it was not needed.
_UserListResult: TypeAlias = "tuple[pd.DataFrame, tuple[str, ...]] | TerminalError | None"


def read_terminal(
    device: Device,
    *,
    comm_key: int,
    timeout: float,
    deadline: float,
    position: LogPosition | None = None,
    lock_while_reading: bool = False,
    keypad_locks: KeypadLocks | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Reading:
    """Read the terminal's whole log, or with `position` the records since: complete and verified, or TerminalError.

    Time limits in seconds: `timeout` for one answer, `deadline` for the whole reading. Complete means: all declared
    bytes arrived, they are a whole number of records, and the terminal's own counter, read before and after, confirms
    that number. Records that cannot be a punch are in `rejected`, all others in `punches`.

    With the `position` of an earlier reading, only its last records and those after them are transferred, if they are
    proven to continue it (see `incremental`); otherwise the reading becomes a full one. `mode` is the result.

    A user list that cannot be read does not fail the reading: `users` is None then, with a line in `warnings`.

    A failed reading is retried on a new connection, twice. The terminal is not changed. Its keypad is locked only with
    `lock_while_reading`, during the transfer of the log; a failed unlock raises DeviceLeftDisabled, or is added to the
    message of another error. Raises SerialChanged if `device.serial_number` is known and another terminal answers,
    SerialUnverified if the terminal reports no serial number.
    """
    if position is not None:
        device = replace(device, log_layout=position.layout)
    connector = Connector.within(device, comm_key, timeout=timeout, deadline=deadline, clock=clock)
    if not lock_while_reading:
        return _read(connector, position, None)
    with device_disabled(connector, keypad_locks) as disabling:
        return _read(disabling.connector, position, disabling)


def read_whole_log(client: TerminalClient) -> tuple[RawLog, Reading]:
    """A full reading within a session that stays open; `bytes_read` counts the bytes received so far."""
    info = read_terminal_info(client)
    check_serial(client, info)
    log = fetch_log(client, records_before=info.record_count, clock_local=info.clock_local)
    users = _fetch_users(client, log.after)
    if isinstance(users, TerminalError) and not isinstance(users, USER_LIST_ERRORS):
        raise users  # the error may affect the session
    received = client.transport.bytes_received
    return log, _reading(client.transport.device, info, log, _user_list(client.transport.device, users), received)


def _read(connector: Connector, position: LogPosition | None, disabling: DeviceDisabled | None) -> Reading:
    failure: TerminalError | None = None
    for _ in range(ATTEMPTS):
        try:
            return _read_once(connector, position, disabling)
        except (IncompleteTransfer, ProtocolViolation, NoAnswer, SessionLost) as error:
            failure = failure or error
            if error.attempted == READING_NEW_RECORDS:
                position = None
        except (Refused, Unreachable, DeadlineExceeded):
            # In a retry, the error of the first attempt is more specific.
            if failure is None:
                raise
            break
    assert failure is not None
    raise failure


def _read_once(connector: Connector, position: LogPosition | None, disabling: DeviceDisabled | None) -> Reading:
    users: _UserListResult = None
    with connector.session() as client:
        info = read_terminal_info(client)
        check_serial(client, info)
        resumable = position if position is not None and can_resume(position, info) else None
        with disabling.during(client) if disabling is not None else nullcontext():
            log = _fetch(client, resumable, info)
        if _needs_users(log, position):
            users = _fetch_users(client, log.after)
    if isinstance(users, (IncompleteTransfer, ProtocolViolation)):
        users = _retry_users(connector)
    return _reading(connector.device, info, log, _user_list(connector.device, users), connector.bytes_received)


def _fetch_users(client: TerminalClient, before: Counters) -> _UserListResult:
    """The user list, or the error of reading it: it does not fail a complete log. Requested last in a session."""
    if client.transport.is_broken:
        problem = "the session ended when the snapshot of the log was released"
        return IncompleteTransfer(client.transport.device, "reading the user list", problem)
    try:
        return fetch_user_list(client, before)
    except TerminalError as error:
        return error


def _retry_users(connector: Connector) -> _UserListResult:
    """The same on a new connection: only the transfer may have failed."""
    try:
        with connector.session() as client:
            verify_serial(client)
            return _fetch_users(client, client.counters())
    except TerminalError as error:
        return error


@dataclass(frozen=True)
class _UserList:
    """The user list, None if it was not needed or not readable."""

    users: pd.DataFrame | None
    warnings: tuple[str, ...] = ()
    is_due: bool = False  # the next reading has to request it again


def _user_list(device: Device, result: _UserListResult) -> _UserList:
    if result is None:
        return _UserList(None)
    if not isinstance(result, TerminalError):
        return _UserList(*result)
    warning = (
        f"{device.name}: the user list could not be read: {result.problem}. Users known from earlier readings stay; "
        "the next poll requests the list again."
    )
    return _UserList(None, (warning,), is_due=True)


def _fetch(client: TerminalClient, resumable: LogPosition | None, info: TerminalInfo) -> RawLog:
    log = fetch_new_records(client, resumable, info) if resumable is not None else None
    return log or fetch_log(client, records_before=info.record_count, clock_local=info.clock_local)


def _needs_users(log: RawLog, position: LogPosition | None) -> bool:
    """Whether the user list is needed: in a full reading, for records that name only a slot (its users over time are
    known from the lists of all readings), and after a change of the user counter.
    """
    if log.mode == "full" or position is None or log.layout is None or not log.layout.names_users:
        return True
    return log.after.users != position.user_count


def _reading(device: Device, info: TerminalInfo, log: RawLog, user_list: _UserList, bytes_read: int) -> Reading:
    layout = log.layout or LOG_LAYOUTS[0]
    new = log.table[log.known * layout.size :]
    first_index = log.start + log.known
    users = user_list.users
    punches, rejected = decode_log(new, layout, encoding=device.encoding, first_index=first_index)
    # Records that wait in quarantine for a user list are read again only by a full reading.
    is_waiting = len(new) > 0 and users is None and not layout.names_users
    position = None if is_waiting else position_of(log, info)
    if position is not None and user_list.is_due:
        position = replace(position, user_count=USER_LIST_DUE)
    return Reading(
        info=info,
        record_count_after=log.after.records,
        layout=log.layout.size if log.layout else None,
        log_layout=log.layout.name if log.layout else None,
        bytes_read=bytes_read,
        punches=punches,
        rejected=rejected,
        users=users,
        mode=log.mode,
        position=position,
        warnings=(*log.warnings, *user_list.warnings),
    )
