"""One complete reading of one terminal: what to read, on how many connections, and what the next reading may rely on.

How bytes are fetched is in `tables` and `incremental`; what they mean, in `decode`.
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
from zk_pipeline.devices.incremental import READING_NEW_RECORDS, fetch_new_records, fits, position_of
from zk_pipeline.devices.keypad_lock import DeviceDisabled, KeypadLocks, device_disabled
from zk_pipeline.devices.models import Device, LogPosition, Reading, TerminalInfo
from zk_pipeline.devices.protocol.client import Counters, TerminalClient
from zk_pipeline.devices.protocol.connection import Connector
from zk_pipeline.devices.protocol.decode import decode_log
from zk_pipeline.devices.protocol.record_layouts import LOG_LAYOUTS
from zk_pipeline.devices.protocol.refusals import SessionLost
from zk_pipeline.devices.protocol.tables import ONLY_THE_LIST, RawLog, fetch_log, fetch_user_list
from zk_pipeline.devices.terminal_info import check_serial, describe, verify_serial

ATTEMPTS = 3
NEVER_LISTED = -1  # no terminal counts so many users

# The user list and lines on what is wrong with it, the failure to read it, or None where it was not needed.
_Asked: TypeAlias = "tuple[pd.DataFrame, tuple[str, ...]] | TerminalError | None"


def read_terminal(
    device: Device,
    *,
    comm_key: int,
    timeout: float,
    deadline: float,
    tail: LogPosition | None = None,
    lock_while_reading: bool = False,
    keypad_locks: KeypadLocks | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Reading:
    """Everything the terminal holds, or with `tail` everything since: complete and verified, or TerminalError.

    `timeout` is the longest silence and `deadline` the longest time for all of it, in seconds. Complete means: what
    was declared arrived, it is a whole number of records, and the terminal's own counter, asked before and after,
    confirms that number. A record that cannot be a punch is in `rejected` and the rest in `punches`.

    With the `tail` of an earlier reading only its last records and those after them are transferred, where these are
    proven to continue it (see `incremental`). Any doubt makes a full reading of it; `mode` says which it was.

    A user list that cannot be read costs the punches nothing: `users` is None then, and `warnings` has a line for it.

    A reading that failed as a whole is tried again on a fresh connection, twice. The terminal is not changed. It is
    locked only with `lock_while_reading`, while its log is transferred; StillDisabled, or the words of another failure,
    say when it could not be unlocked. Raises SerialChanged when `device.serial_number` is known and another terminal
    answers, SerialUnverified when it does not tell its serial number.
    """
    if tail is not None:
        device = replace(device, log_layout=tail.layout)
    connector = Connector.within(device, comm_key, timeout=timeout, deadline=deadline, clock=clock)
    if not lock_while_reading:
        return _read(connector, tail, None)
    with device_disabled(connector, keypad_locks) as disabling:
        return _read(disabling.connector, tail, disabling)


def read_whole_log(client: TerminalClient) -> tuple[RawLog, Reading]:
    """A full reading within a session that goes on; `bytes_read` is what it has received so far."""
    info = describe(client)
    check_serial(client, info)
    log = fetch_log(client, records_before=info.record_count, clock_local=info.clock_local)
    asked = _ask_users(client, log.after)
    if isinstance(asked, TerminalError) and not isinstance(asked, ONLY_THE_LIST):
        raise asked  # the session is in doubt
    received = client.transport.bytes_received
    return log, _reading(client.transport.device, info, log, _people(client.transport.device, asked), received)


def _read(connector: Connector, tail: LogPosition | None, disabling: DeviceDisabled | None) -> Reading:
    failure: TerminalError | None = None
    for _ in range(ATTEMPTS):
        try:
            return _read_once(connector, tail, disabling)
        except (IncompleteTransfer, ProtocolViolation, NoAnswer, SessionLost) as error:
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


def _read_once(connector: Connector, tail: LogPosition | None, disabling: DeviceDisabled | None) -> Reading:
    asked: _Asked = None
    with connector.session() as client:
        info = describe(client)
        check_serial(client, info)
        known = tail if tail is not None and fits(tail, info) else None
        with disabling.during(client) if disabling is not None else nullcontext():
            log = _fetch(client, known, info)
        if _needs_users(log, tail):
            asked = _ask_users(client, log.after)
    if isinstance(asked, (IncompleteTransfer, ProtocolViolation)):
        asked = _ask_users_again(connector)
    return _reading(connector.device, info, log, _people(connector.device, asked), connector.bytes_received)


def _ask_users(client: TerminalClient, before: Counters) -> _Asked:
    """The user list, or what went wrong with it: a complete log is not given up for it. To be asked for last."""
    if client.transport.is_broken:
        problem = "the session ended when the snapshot of the log was released"
        return IncompleteTransfer(client.transport.device, "reading the user list", problem)
    try:
        return fetch_user_list(client, before)
    except TerminalError as error:
        return error


def _ask_users_again(connector: Connector) -> _Asked:
    """The same on a fresh connection: perhaps it was only the transfer that broke."""
    try:
        with connector.session() as client:
            verify_serial(client)
            return _ask_users(client, client.counters())
    except TerminalError as error:
        return error


@dataclass(frozen=True)
class _People:
    """The user list as far as it was needed and could be had."""

    users: pd.DataFrame | None
    warnings: tuple[str, ...] = ()
    is_due: bool = False  # the next reading has to ask again


def _people(device: Device, asked: _Asked) -> _People:
    if asked is None:
        return _People(None)
    if not isinstance(asked, TerminalError):
        return _People(*asked)
    warning = (
        f"{device.name}: the user list could not be read: {asked.problem}. The people known from earlier readings "
        "stay; the next poll asks for it again."
    )
    return _People(None, (warning,), is_due=True)


def _fetch(client: TerminalClient, known: LogPosition | None, info: TerminalInfo) -> RawLog:
    log = fetch_new_records(client, known, info) if known is not None else None
    return log or fetch_log(client, records_before=info.record_count, clock_local=info.clock_local)


def _needs_users(log: RawLog, tail: LogPosition | None) -> bool:
    """Always with a full reading and for records that name only a slot: whose it is at which time is told by the lists
    of all readings. Else where users came or went.
    """
    if log.mode == "full" or tail is None or log.layout is None or not log.layout.names_users:
        return True
    return log.after.users != tail.user_count


def _reading(device: Device, info: TerminalInfo, log: RawLog, people: _People, bytes_read: int) -> Reading:
    layout = log.layout or LOG_LAYOUTS[0]
    new = log.table[log.known * layout.size :]
    first_index = log.start + log.known
    users = people.users
    punches, rejected = decode_log(new, layout, encoding=device.encoding, first_index=first_index)
    # Records that wait for a user list in quarantine are found again only by a full reading.
    is_waiting = len(new) > 0 and users is None and not layout.names_users
    tail = None if is_waiting else position_of(log, info)
    if tail is not None and people.is_due:
        tail = replace(tail, user_count=NEVER_LISTED)
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
        tail=tail,
        warnings=(*log.warnings, *people.warnings),
    )
