"""Failures of the store, and readings that it refuses."""

from __future__ import annotations

import duckdb

from zk_pipeline.errors import UsageError, ZkPipelineError


class StoreBusy(ZkPipelineError):
    """Another process held the store for longer than the wait. Never an empty answer: ask again."""


class StoreUnusable(UsageError):
    """The path cannot hold a store: no permission, not a folder, no locks, not a DuckDB file, a newer version."""


class StoreUnreachable(StoreBusy):
    """The PostgreSQL server of a shared store does not answer. Ask again, as after StoreBusy."""


class NotOnThisEngine(UsageError):
    """What was asked for exists only where the store is a file, or only where it is shared."""


class UnknownDevice(UsageError):
    """No device of that name."""


class DeviceExists(UsageError):
    """A device of that name is registered already."""


class ReadingRefused(ZkPipelineError):
    """A reading that must not be stored. `code` is the error_code of its failed poll."""

    def __init__(self, device: str, code: str, message: str) -> None:
        self.device = device
        self.code = code
        super().__init__(message)


class PunchesLost(ZkPipelineError):
    """Days that must not be changed: punches that they were made from are not in the store."""


class NestedHold(RuntimeError):
    """A defect of ours: a thread that holds the store asked for it again, and would wait for itself."""


_OF_THE_STORE = (
    OSError,
    # Of DuckDB's classes, those "not necessarily under the control of the programmer" (PEP 249), and those that say
    # that the tables are not as the migrations made them: the statements are fixed.
    duckdb.OperationalError,
    duckdb.FatalException,
    duckdb.BinderException,
    duckdb.CatalogException,
)


def is_store_failure(error: BaseException) -> bool:
    """Whether the store itself failed (busy, unreachable, disk full, corrupt), so that nothing else can be stored.

    Other exceptions come from the data that was to be stored.
    """
    if isinstance(error, ZkPipelineError):
        return not isinstance(error, (ReadingRefused, PunchesLost))
    return isinstance(error, _OF_THE_STORE)
