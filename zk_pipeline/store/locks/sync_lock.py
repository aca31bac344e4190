"""Sync lock: one sync run at a time on this machine. The kernel releases the lock file when the process ends.

Under this lock, every delivery in `sending` belongs to a run that died, or that lost the lock and is ending.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.errors import StoreUnusable

HasSyncLock = Callable[[], bool]  # whether the lock is still valid; that of a file cannot be lost


class SyncAlreadyRunning(ZkPipelineError):
    """Another sync run is sending; its deliveries stay unchanged."""


class SyncLockLost(ZkPipelineError):
    """The lock was lost during a sync, so that another run may be sending."""


@contextmanager
def acquire_sync_lock(database_path: Path) -> Iterator[HasSyncLock]:
    """Acquire the sync lock. Raises SyncAlreadyRunning at once if another run has it."""
    path = database_path.with_name(f"{database_path.name}.crm-sender")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    except OSError as error:
        raise StoreUnusable(f"cannot open the lock file {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise SyncAlreadyRunning("another sync run is sending to the CRM; wait for it to end") from None
    try:
        yield lambda: True
    finally:
        os.close(descriptor)
