"""Clear a terminal's log after verifying that every record is stored."""

from __future__ import annotations

from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device, Reading
from zk_pipeline.operations.poll import LOG_NOT_STORED, storage_error
from zk_pipeline.store.errors import ReadingRefused, is_store_failure
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll


def clear_log(store: Store, terminals: TerminalGateway, device: Device) -> Reading:
    """Read and store the whole log, verify that the store has each record, then clear the log; returns the reading.

    Records that cannot be a punch count as stored if their bytes are in quarantine. Raises NotCleared, or the
    TerminalError of the failure; the log is unchanged then, unless the message says that clearing was attempted. A log
    that cannot be stored is not cleared: the failed poll is recorded, and ReadingRefused has the reason.
    """
    started_at = store.clock()

    def is_all_stored(reading: Reading) -> bool:
        try:
            store.punches.ingest(device, reading, started_at=started_at, finished_at=store.clock(), run_id=None)
        except Exception as error:
            if is_store_failure(error):
                raise
            code, message = storage_error(device.name, LOG_NOT_STORED, error)
            failed = FailedPoll(device.name, started_at, store.clock(), code, message)
            store.punches.record_failures([failed], run_id=None)
            raise ReadingRefused(device.name, code, f"{message} The log is not cleared.") from error
        # Records with a slot wait for the user list, which maps slots to users.
        is_waiting = reading.users is None and bool(reading.punches["uid"].notna().any())
        return not is_waiting and store.punches.missing(device, reading) == 0

    return terminals.clear_log(device, is_all_stored)
