"""Full log and user list of a terminal, verified against its counters.

Transfer is in `buffered_read`, decoding in `decode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from zk_pipeline.devices.errors import (
    IncompleteTransfer,
    LayoutUnknown,
    LogRefused,
    UnsupportedCommand,
    UserListUnreadable,
)
from zk_pipeline.devices.models import ReadingMode
from zk_pipeline.devices.protocol.buffered_read import (
    free_data,
    read_records,
    take_log_snapshot,
    take_user_snapshot,
)
from zk_pipeline.devices.protocol.client import Counters, TerminalClient
from zk_pipeline.devices.protocol.decode import decode_users, unreadable_ids, unreadable_names
from zk_pipeline.devices.protocol.frames import Command
from zk_pipeline.devices.protocol.layout_choice import (
    EARLIEST_PLAUSIBLE,
    detect_log_layout,
    detect_user_layout,
    possible_layouts,
)
from zk_pipeline.devices.protocol.record_layouts import LOG_LAYOUTS, USER_LAYOUTS, Layout, decode_times
from zk_pipeline.devices.protocol.refusals import RequestRefused

MAX_DATE = np.datetime64("2099-12-31", "s")
CREDIBLE_SHARE = 0.9  # a record of 16 bytes read as two of 8 has one such date


class UserListContradiction(IncompleteTransfer):
    """A complete user list contradicts the terminal's user counter."""


# Errors of the user list that do not affect the session.
USER_LIST_ERRORS = (UnsupportedCommand, UserListContradiction, UserListUnreadable)


@dataclass(frozen=True, kw_only=True)
class RawLog:
    """The log or its last records as bytes, confirmed by the terminal's counter before and after."""

    mode: ReadingMode
    table: bytes
    layout: Layout | None  # None if the log is empty
    after: Counters
    start: int = 0  # index in the log of the first record in `table`
    known: int = 0  # number of records at the beginning of `table` that earlier readings have read
    warnings: tuple[str, ...] = ()  # as in Reading


def fetch_log(client: TerminalClient, *, records_before: int, clock_local: datetime | None) -> RawLog:
    """Read the whole log.

    `clock_local` is the terminal's clock: dates up to it are evidence of a layout, see `layout_choice`. A log that
    contradicts the record counter is read again, since some firmware also counts deleted records: it is accepted, with
    a warning, if both readings agree and nearly all of its records have a credible date. Raises IncompleteTransfer if
    not, LayoutUnknown without evidence of a record layout.
    """
    log = _read_log(client, records_before)
    if not log.table:
        return log
    candidates = _candidates(log, records_before)
    if not candidates:
        return _fetch_uncounted_log(client, log, clock_local)
    return replace(log, layout=_log_layout(client, log.table, candidates, clock_local))


def fetch_users(client: TerminalClient, before: Counters) -> pd.DataFrame:
    """Read the user list, columns USER_COLUMNS.

    Raises UserListContradiction if it contradicts the user counter, UnsupportedCommand if the terminal sends none,
    UserListUnreadable if its entries are implausible.
    """
    return fetch_user_list(client, before)[0]


def fetch_user_list(client: TerminalClient, before: Counters) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The same, with warnings (as in `Reading.warnings`)."""
    client.transport.operation = "reading the user list"
    snapshot = take_user_snapshot(client)
    table = read_records(client, snapshot)
    if not table and before.users > 0:
        client.transport.fail(UnsupportedCommand, f"the terminal counts {before.users} users and sends none")
    low, high = sorted((before.users, client.counters().users))
    free_data(client, snapshot)
    client.transport.operation = "reading the user list"
    candidates = possible_layouts(len(table), USER_LAYOUTS, at_least=low, at_most=high)
    if not candidates:
        problem = f"{len(table)} bytes of users are not the {_count_range(low, high)} that the terminal counts"
        client.transport.fail(UserListContradiction, problem)
    layout = detect_user_layout(table, candidates) if table else USER_LAYOUTS[0]
    if layout is None:
        client.transport.fail(UserListUnreadable, f"{len(table)} bytes of users make no sense in any known layout")
    device = client.transport.device
    users = decode_users(table, layout, encoding=device.encoding)
    return users, (*unreadable_ids(table, layout, users, device), *unreadable_names(users, device))


def _read_log(client: TerminalClient, count: int) -> RawLog:
    """The log's records and the counters after it, without a layout; `count` is the record counter before."""
    client.transport.operation = "reading the log"
    try:
        snapshot = take_log_snapshot(client)
    except RequestRefused as refusal:
        if count > 0:
            raise
        return RawLog(
            mode="full",
            table=b"",
            layout=None,
            after=client.counters(),
            warnings=(_empty_log_warning(client, refusal),),
        )
    table = read_records(client, snapshot)
    if not table and count > 0:
        client.transport.fail(IncompleteTransfer, f"the terminal counts {count} records and sent none")
    after = client.counters()
    free_data(client, snapshot)
    return RawLog(mode="full", table=table, layout=None, after=after)


def _empty_log_warning(client: TerminalClient, refusal: RequestRefused) -> str:
    """A warning if a refused log is accepted as empty. Raises LogRefused without evidence that it is empty.

    Firmware of the ZEM family (published sources of 2012, `CMD_QUERY_DATA`) answers ACK_ERROR if the log is empty: this
    is evidence from a terminal that has sent its log before. SpeedFace-H5L answers 4989 and counts 0 although its log
    has punches (pyzk issue #170); one client library has seen 4991 from an empty table, which is not enough evidence.
    """
    client.transport.operation = "reading the log"
    if refusal.answer != Command.ACK_ERROR or client.transport.device.log_layout is None:
        client.transport.fail(LogRefused, f"the terminal counts no records, and {refusal.problem}")
    name = client.transport.device.name
    return (
        f"{name}: its log was accepted as empty: the terminal counts no records and answered {refusal.answer} to the "
        "request for the log, which it has sent before. If there are new punches at the terminal, restart it."
    )


def _candidates(log: RawLog, before: int) -> list[Layout]:
    return possible_layouts(len(log.table), LOG_LAYOUTS, at_least=before, at_most=log.after.records)


def _fetch_uncounted_log(client: TerminalClient, first: RawLog, clock_local: datetime | None) -> RawLog:
    before = first.after.records
    if client.transport.is_broken:  # by the release of the first snapshot
        problem = f"{len(first.table)} bytes of records are not the {before} that the terminal counts"
        client.transport.fail(IncompleteTransfer, problem)
    log = _read_log(client, before)
    if not log.table:
        return log
    if candidates := _candidates(log, before):  # the log was cleared, or has grown, during the first reading
        return replace(log, layout=_log_layout(client, log.table, candidates, clock_local))
    client.transport.operation = "reading the log"
    counted = _count_range(before, log.after.records)
    whole = possible_layouts(len(log.table), LOG_LAYOUTS, at_least=0, at_most=0)
    layout = _proven_layout(client, log.table, whole, clock_local)
    if layout is None or not log.table.startswith(first.table) or not _is_credible(log.table, layout, clock_local):
        problem = f"{len(log.table)} bytes of records are not the {counted} that the terminal counts"
        client.transport.fail(IncompleteTransfer, problem)
    warning = (
        f"{client.transport.device.name}: the terminal counts {counted} records and its log has "
        f"{len(log.table) // layout.size}, in two readings: these were accepted. If no records were deleted at the "
        "terminal, some may be missing."
    )
    return replace(log, layout=layout, warnings=(*log.warnings, warning))


def _is_credible(table: bytes, layout: Layout, clock_local: datetime | None) -> bool:
    """Whether nearly all records have a possible date, up to the terminal's clock."""
    times = decode_times(layout.records(table)["time"])
    is_dated = (times >= EARLIEST_PLAUSIBLE) & (times <= _latest(clock_local))
    return float(is_dated.mean()) >= CREDIBLE_SHARE


def _log_layout(
    client: TerminalClient, table: bytes, candidates: Sequence[Layout], clock_local: datetime | None
) -> Layout:
    layout = _proven_layout(client, table, candidates, clock_local)
    if layout is None:
        client.transport.operation = "reading the log"
        possible = " or ".join(one.name for one in candidates)
        client.transport.fail(LayoutUnknown, f"the newest records make no sense in layout {possible}")
    return layout


def _proven_layout(
    client: TerminalClient, table: bytes, candidates: Sequence[Layout], clock_local: datetime | None
) -> Layout | None:
    return detect_log_layout(table, candidates, latest=_latest(clock_local), known=client.transport.device.log_layout)


def _latest(clock_local: datetime | None) -> np.datetime64:
    """The last possible date of a punch, by the terminal's clock."""
    if clock_local is None:
        return MAX_DATE
    return np.datetime64(clock_local, "s") + np.timedelta64(1, "D")


def _count_range(before: int, after: int) -> str:
    return str(after) if before == after else f"{before} to {after}"
