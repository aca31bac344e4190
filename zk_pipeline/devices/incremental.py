"""Incremental reading of a log: transfer the new records, and verify that the log still continues the known ones.

Whole logs are read in `tables`.
"""

from __future__ import annotations

from typing import Final

from zk_pipeline.devices.errors import IncompleteTransfer, UnsupportedCommand
from zk_pipeline.devices.models import LogPosition, TerminalInfo
from zk_pipeline.devices.protocol.buffered_read import (
    SIZE_BYTES,
    free_data,
    read_part,
    read_records,
    take_log_snapshot,
)
from zk_pipeline.devices.protocol.client import TerminalClient
from zk_pipeline.devices.protocol.record_layouts import LOG_LAYOUTS, Layout
from zk_pipeline.devices.protocol.tables import RawLog

READING_NEW_RECORDS: Final = "reading the new records"
OVERLAP_RECORDS = 16
# A full log drops its oldest records, one by one or, if set in the terminal's menu ("Cyclic Delete ATT Data", maker's
# F18 manual), up to 999 at once: the counter is then no evidence of new records.
FULL_LOG_RECORDS = 1000


def can_resume(position: LogPosition, info: TerminalInfo) -> bool:
    """Whether the terminal may still have the log that ends with `position`; otherwise a full reading is necessary."""
    layout = _layout(position)
    return (
        position.serial_number == info.serial_number != ""
        and layout is not None
        and 0 < len(position.overlap) <= position.total_bytes == position.record_count * layout.size
        and len(position.overlap) % layout.size == 0
        and position.record_count <= info.record_count < info.record_capacity - FULL_LOG_RECORDS
    )


def fetch_new_records(client: TerminalClient, position: LogPosition, info: TerminalInfo) -> RawLog | None:
    """The log from the overlap of `position` on; None without proof that it continues the known records.

    Proof: the overlap is in its place byte for byte, and the announced and declared sizes match the terminal's record
    counter, before and after. An unchanged counter is no proof: the log may have lost its newest records, or been
    cleared, and have grown to the old number again. A log that is sent at once is compared in the same way. Raises
    TerminalError if the failure also affects the session.
    """
    layout = _layout(position)
    assert layout is not None
    start = position.total_bytes - len(position.overlap)
    client.transport.operation = READING_NEW_RECORDS
    try:
        snapshot = take_log_snapshot(client)
        if snapshot.table is None:
            declared = int.from_bytes(read_part(client, 0, SIZE_BYTES), "little")
            table = read_part(client, SIZE_BYTES + start, snapshot.size)
        else:
            records = read_records(client, snapshot)
            declared, table = len(records), records[start:]
    except UnsupportedCommand:
        return None
    after = client.counters()
    free_data(client, snapshot)
    count, rest = divmod(declared, layout.size)
    is_counted = not rest and info.record_count <= count <= after.records
    if not is_counted or snapshot.size != SIZE_BYTES + declared or not table.startswith(position.overlap):
        if client.transport.is_broken:
            client.transport.operation = READING_NEW_RECORDS
            problem = "they do not continue the known records, and the session has ended"
            client.transport.fail(IncompleteTransfer, problem)
        return None
    return RawLog(
        mode="unchanged" if count == position.record_count else "incremental",
        table=table,
        layout=layout,
        after=after,
        start=start // layout.size,
        known=len(position.overlap) // layout.size,
    )


def position_of(log: RawLog, info: TerminalInfo) -> LogPosition | None:
    """The position for the next incremental reading; None if the terminal's counter or serial number is unreliable."""
    if log.layout is None or not info.serial_number:
        return None
    count = log.start + len(log.table) // log.layout.size
    if not info.record_count <= count <= log.after.records:  # for example firmware that always counts 0
        return None
    return LogPosition(
        serial_number=info.serial_number,
        layout=log.layout.name,
        record_count=count,
        total_bytes=count * log.layout.size,
        overlap=log.table[-OVERLAP_RECORDS * log.layout.size :],
        user_count=log.after.users,
    )


def _layout(position: LogPosition) -> Layout | None:
    return next((layout for layout in LOG_LAYOUTS if layout.name == position.layout), None)
