"""Exceptions of the store, and of readings that it rejects."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from zk_pipeline.errors import UsageError, ZkPipelineError


class StoreBusy(ZkPipelineError):
    """Timeout while waiting for the store lock of another process. Retry."""


class StoreUnusable(UsageError):
    """The path cannot hold a store: no permission, not a folder, no locks, not a DuckDB file, a newer version."""


class StoreUnreachable(StoreBusy):
    """The PostgreSQL server of a shared store does not answer. Retry, as after StoreBusy."""


class NotOnThisEngine(UsageError):
    """The operation exists only for a store in a file, or only for a shared store."""


class UnknownDevice(UsageError):
    """No device has that name."""


class DeviceExists(UsageError):
    """A device with that name is already registered."""


class UnknownTerminal(UsageError):
    """No terminal with that serial number has connected to the receiver."""


class TerminalAdopted(UsageError):
    """The terminal, or the device that it would be, is already adopted or registered otherwise."""


class UnknownPayrollPeriod(UsageError):
    """No payroll period has that name."""


class PayrollPeriodConflict(UsageError):
    """The state of a payroll period, or of its attendance days, does not allow the change."""


class PayrollPeriodNotFinal(PayrollPeriodConflict):
    """A payroll period is not closed because its figures may change; it can be closed all the same."""


class PunchesRefused(UsageError):
    """`problems`: what is wrong with each refused request, by its index."""

    def __init__(self, problems: Mapping[int, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems


class PunchesRequested(PunchesRefused):
    """All refused requests are already stored."""


class UnknownPunchRequest(UsageError):
    """No manual punch has that number."""


class PunchRequestDecided(UsageError):
    """The manual punch is already approved, rejected or withdrawn."""


class PunchNotApproved(UsageError):
    """Only an approved manual punch can be withdrawn."""


class OwnPunchRequest(UsageError):
    """A request must be decided by another identity than the one that made it."""


class UnknownLeave(UsageError):
    """No active leave has that number."""


class LeaveExists(UsageError):
    """The same leave is stored already."""


class ReadingRefused(ZkPipelineError):
    """A reading that must not be stored. `code` is the error_code of its failed poll."""

    def __init__(self, device: str, code: str, message: str) -> None:
        self.device = device
        self.code = code
        super().__init__(message)


class PunchesLost(ZkPipelineError):
    """Attendance days must not change, because punches that they were processed from are missing in the store."""


class NestedHold(RuntimeError):
    """A nested lock, which is a programming error: the thread already holds the store lock and would deadlock."""


_OF_THE_STORE = (
    OSError,
    # DuckDB's classes "not necessarily under the control of the programmer" (PEP 249), and those of a schema that
    # differs from the migrations: the statements are constant.
    duckdb.OperationalError,
    duckdb.FatalException,
    duckdb.BinderException,
    duckdb.CatalogException,
)


def is_store_failure(error: BaseException) -> bool:
    """Whether the store itself failed (busy, unreachable, disk full, corrupt), so that no other write can succeed.

    Other exceptions come from the data of the write.
    """
    if isinstance(error, ZkPipelineError):
        return not isinstance(error, (ReadingRefused, PunchesLost))
    return isinstance(error, _OF_THE_STORE)
