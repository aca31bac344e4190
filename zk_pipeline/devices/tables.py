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
from zk_pipeline.devices.decode import decode_users, unreadable_ids, unreadable_names
from zk_pipeline.devices.errors import IncompleteTransfer, LayoutUnknown, NoAnswer, RefusesProtocol, UserListUnreadable
from zk_pipeline.devices.layout_choice import fitting, log_layout, user_layout
from zk_pipeline.devices.layouts import LOG_LAYOUTS, USER_LAYOUTS, Layout
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
    """The whole log. Raises IncompleteTransfer when it is not what the terminal counts, LayoutUnknown when nothing in
    it tells how its records are written.

    `clock_local` is what the terminal's clock shows: dates up to it are evidence, see `layout_choice`.
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

    Raises IncompleteTransfer when it is not what the terminal counts, RefusesProtocol when it sends none,
    UserListUnreadable when its entries make no sense.
    """
    return fetch_user_list(client, before)[0]


def fetch_user_list(client: TerminalClient, before: Counters) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The same, and a line for each thing wrong with it (as in `Reading.warnings`)."""
    table = read_user_table(client)
    if not table and before.users > 0:
        client.transport.fail(RefusesProtocol, f"the terminal counts {before.users} users and sends none")
    low, high = sorted((before.users, client.counters().users))
    client.transport.doing = "reading the user list"
    candidates = fitting(len(table), USER_LAYOUTS, at_least=low, at_most=high)
    if not candidates:
        problem = f"{len(table)} bytes of users are not the {_counted(low, high)} that the terminal counts"
        client.transport.fail(IncompleteTransfer, problem)
    layout = user_layout(table, candidates) if table else USER_LAYOUTS[0]
    if layout is None:
        client.transport.fail(UserListUnreadable, f"{len(table)} bytes of users make no sense in any known layout")
    device = client.transport.device
    users = decode_users(table, layout, encoding=device.encoding)
    return users, (*unreadable_ids(table, layout, users, device), *unreadable_names(users, device))


def fetch_users_if_any(client: TerminalClient, before: Counters) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """The whole user list, None where the terminal refuses it, falls silent over it or sends one that cannot be read;
    and a line for each thing wrong with it (as `Reading.warnings`).

    To be asked for last: after a silence nothing more can be asked.
    """
    try:
        return fetch_user_list(client, before)
    except UserListUnreadable as error:
        return None, (str(error),)
    except (RefusesProtocol, NoAnswer):
        return None, ()


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
    layout = log_layout(table, candidates, latest=latest, known=client.transport.device.log_layout)
    if layout is None:
        possible = " or ".join(one.name for one in candidates)
        client.transport.fail(LayoutUnknown, f"the newest records make no sense in layout {possible}")
    return layout


def _counted(before: int, after: int) -> str:
    return str(after) if before == after else f"{before} to {after}"
