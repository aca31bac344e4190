"""Reading only what is new in a log, and the proof that nothing else has changed. Whole logs are read in `tables`."""

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
# A full log gives up its oldest records, one by one or, where the terminal's menu says so ("Cyclic Delete ATT Data",
# maker's F18 manual), up to 999 at once: the counter then stays or comes back, and proves nothing.
FULL_LOG_RECORDS = 1000


def fits(tail: LogPosition, info: TerminalInfo) -> bool:
    """Whether the terminal may still hold the log that `tail` ends; otherwise only a full reading will do."""
    layout = _layout(tail)
    return (
        tail.serial_number == info.serial_number != ""
        and layout is not None
        and 0 < len(tail.overlap) <= tail.total_bytes == tail.record_count * layout.size
        and len(tail.overlap) % layout.size == 0
        and tail.record_count <= info.record_count < info.record_capacity - FULL_LOG_RECORDS
    )


def fetch_new_records(client: TerminalClient, tail: LogPosition, info: TerminalInfo) -> RawLog | None:
    """The log from the records that `tail` overlaps with on; None where it is not proven that they continue it.

    Proven means: the overlap is in its place byte for byte, and the size that the log announces and declares is that of
    as many records as the terminal's counter says, before and after. A counter that has not moved proves nothing: the
    log may have lost its newest records, or been cleared, and have grown to the old number again. A log that comes at
    once is compared likewise. Raises TerminalError where what goes wrong leaves the session in doubt too.
    """
    layout = _layout(tail)
    assert layout is not None
    start = tail.total_bytes - len(tail.overlap)
    client.transport.doing = READING_NEW_RECORDS
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
    if not is_counted or snapshot.size != SIZE_BYTES + declared or not table.startswith(tail.overlap):
        if client.transport.is_broken:
            client.transport.doing = READING_NEW_RECORDS
            client.transport.fail(IncompleteTransfer, "they do not continue the known ones, and the session has ended")
        return None
    return RawLog(
        mode="unchanged" if count == tail.record_count else "incremental",
        table=table,
        layout=layout,
        after=after,
        start=start // layout.size,
        known=len(tail.overlap) // layout.size,
    )


def position_of(log: RawLog, info: TerminalInfo) -> LogPosition | None:
    """What the next reading can continue from; None where the terminal's counter or name is not to be relied on."""
    if log.layout is None or not info.serial_number:
        return None
    count = log.start + len(log.table) // log.layout.size
    if not info.record_count <= count <= log.after.records:  # as with firmware that always counts 0
        return None
    return LogPosition(
        serial_number=info.serial_number,
        layout=log.layout.name,
        record_count=count,
        total_bytes=count * log.layout.size,
        overlap=log.table[-OVERLAP_RECORDS * log.layout.size :],
        user_count=log.after.users,
    )


def _layout(tail: LogPosition) -> Layout | None:
    return next((layout for layout in LOG_LAYOUTS if layout.name == tail.layout), None)
