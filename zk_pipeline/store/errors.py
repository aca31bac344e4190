"""What can go wrong between us and the database file."""

from __future__ import annotations

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


class NestedHold(RuntimeError):
    """A defect of ours: a thread that holds the store asked for it again, and would wait for itself."""


class ReadingRefused(ZkPipelineError):
    """A reading of one device that must not be stored. `code` is the error code of its poll."""

    def __init__(self, device: str, code: str, problem: str) -> None:
        self.device = device
        self.code = code
        super().__init__(f"{device}: {problem}")
