"""A terminal's log and user list, held against what it counts.

Bytes come from `bulk`, rows are made in `decode`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from zk_pipeline.devices.bulk import read_log_table, read_user_table
from zk_pipeline.devices.client import Counters, TerminalClient
from zk_pipeline.devices.decode import decode_users
from zk_pipeline.devices.errors import IncompleteTransfer, NoAnswer, ProtocolViolation, RefusesProtocol
from zk_pipeline.devices.layouts import LOG_LAYOUTS, USER_LAYOUTS, Layout, fitting, most_plausible
from zk_pipeline.devices.models import ReadingMode

END_OF_TIME = np.datetime64("2099-12-31", "s")


@dataclass(frozen=True, kw_only=True)
class RawLog:
    """The log as bytes, or its end, confirmed by the terminal's counter before and after."""

    mode: ReadingMode
    table: bytes
    layout: Layout | None  # None when the log is empty
    after: Counters
    start: int = 0  # place in the log of the first record in `table`
    known: int = 0  # how many records at the beginning of `table` earlier readings have brought


def fetch_log(client: TerminalClient, *, records_before: int, clock_local: datetime | None) -> RawLog:
    """The whole log. Raises IncompleteTransfer when it is not what the terminal counts.

    `clock_local` is what the terminal's clock shows: where only plausibility tells layouts apart, punches lie
    before it.
    """
    table = _log_table(client, records_before)
    after = client.counters()
    layout = None
    if table:
        client.transport.doing = "reading the log"
        layout = _log_layout(client, table, (records_before, after.records), clock_local)
    return RawLog(mode="full", table=table, layout=layout, after=after)


def fetch_users(client: TerminalClient, before: Counters) -> pd.DataFrame:
    """The whole user list, columns USER_COLUMNS.

    Raises IncompleteTransfer when it is not what the terminal counts, RefusesProtocol when it sends none.
    """
    table = read_user_table(client)
    if not table and before.users > 0:
        client.transport.fail(RefusesProtocol, f"the terminal counts {before.users} users and sends none")
    low, high = sorted((before.users, client.counters().users))
    client.transport.doing = "reading the user list"
    candidates = fitting(len(table), USER_LAYOUTS, at_least=low, at_most=high)
    layout = most_plausible(table, candidates, latest=END_OF_TIME) if len(table) else USER_LAYOUTS[0]
    if layout is None:
        problem = f"{len(table)} bytes of users are not the {_counted(low, high)} that the terminal counts"
        client.transport.fail(IncompleteTransfer, problem)
    return decode_users(table, layout, encoding=client.transport.device.encoding)


def fetch_users_if_any(client: TerminalClient, before: Counters) -> pd.DataFrame | None:
    """The whole user list; None where the terminal refuses it or falls silent over it.

    To be asked for last: after a silence nothing more can be asked.
    """
    try:
        return fetch_users(client, before)
    except (RefusesProtocol, NoAnswer):
        return None


def _log_table(client: TerminalClient, count: int) -> bytes:
    try:
        table = read_log_table(client)
    except RefusesProtocol:
        if count > 0:
            raise
        return b""  # nothing to give is no reason to fail
    if not table and count > 0:
        client.transport.fail(IncompleteTransfer, f"the terminal counts {count} records and sent none")
    return table


def _log_layout(client: TerminalClient, table: bytes, counted: tuple[int, int], clock_local: datetime | None) -> Layout:
    before, after = counted
    candidates = fitting(len(table), LOG_LAYOUTS, at_least=before, at_most=after)
    if not candidates:
        problem = f"{len(table)} bytes of records are not the {_counted(before, after)} that the terminal counts"
        client.transport.fail(IncompleteTransfer, problem)
    latest = END_OF_TIME
    if clock_local is not None:
        latest = np.datetime64(clock_local, "s") + np.timedelta64(1, "D")
    layout = most_plausible(table, candidates, latest=latest)
    if layout is None:
        client.transport.fail(ProtocolViolation, f"the layout of {len(table)} bytes of records cannot be told")
    return layout


def _counted(before: int, after: int) -> str:
    return str(after) if before == after else f"{before} to {after}"
