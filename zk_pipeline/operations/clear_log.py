"""Clearing a terminal's log, once everything in it is proven to be in the store."""

from __future__ import annotations

from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device, Reading
from zk_pipeline.operations.poll import UNSTORABLE_LOG, unstorable
from zk_pipeline.store.errors import ReadingRefused, is_store_failure
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll


def clear_log(store: Store, terminals: TerminalGateway, device: Device) -> Reading:
    """Read the whole log, store it, look for each record in the store, and only then clear it; returns what it held.

    Records that cannot be a punch count as stored when their bytes are in quarantine. Raises NotCleared, or the
    TerminalError of what went wrong; the log is then as it was unless the text says that clearing was attempted. A log
    that cannot be stored is not cleared either: its failed poll is on record, and ReadingRefused says why.
    """
    started_at = store.clock()

    def is_all_stored(reading: Reading) -> bool:
        try:
            store.punches.ingest(device, reading, started_at=started_at, finished_at=store.clock(), run_id=None)
        except Exception as error:
            if is_store_failure(error):
                raise
            code, message = unstorable(device.name, UNSTORABLE_LOG, error)
            failed = FailedPoll(device.name, started_at, store.clock(), code, message)
            store.punches.record_failures([failed], run_id=None)
            raise ReadingRefused(device.name, code, f"{message} The log is not cleared.") from error
        # For the user list that tells who held its slots.
        is_waiting = reading.users is None and bool(reading.punches["uid"].notna().any())
        return not is_waiting and store.punches.missing(device, reading) == 0

    return terminals.clear_log(device, is_all_stored)
