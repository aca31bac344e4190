"""Poll terminals: read them concurrently, store each reading as it arrives, record every failure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.devices.errors import TerminalError
from zk_pipeline.devices.models import Device, LogPosition, Reading
from zk_pipeline.devices.polling import PollOutcome, poll_batches
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.errors import ReadingRefused, StoreBusy, is_store_failure
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll, FinishedReading, IngestResult

# Waiting for terminals costs little; this limits the number of readings in memory.
MAX_CONCURRENT_READINGS = 128
MAX_READINGS_PER_TRANSACTION, MAX_RECORDS_PER_TRANSACTION = 32, 5_000  # for readings that end at the same time

NOT_STORED, STORE_FAILED = "not_stored", "store_failed"  # error codes of polls whose terminal was read
LOG_NOT_STORED = "its log was read and cannot be stored; the records stay on the terminal, and each poll tries again"
MAX_ERROR_LENGTH = 2_000  # characters

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DevicePolled:
    """Result of polling one device: `ingested` with `reading` on success, else `error_code` and `error`."""

    device: Device
    started_at: datetime
    finished_at: datetime
    reading: Reading | None = None
    ingested: IngestResult | None = None
    error_code: str | None = None
    error: str | None = None

    @property
    def summary(self) -> str:
        """The result in one line."""
        if self.ingested is None or self.reading is None:
            return f"[{self.error_code}] {self.error}"
        counts = (
            f"{self.device.name}: {self.ingested.new} new of {self.reading.record_count_after} ({self.reading.mode})"
        )
        return "; ".join((counts, *self.ingested.warnings))

    @property
    def progress(self) -> str:
        """The result in one short line: of a failure its code, since the run and `device_polls` have the error."""
        return self.summary if self.error is None else f"{self.device.name} failed ({self.error_code})"


def poll_devices(
    store: Store,
    devices: Sequence[Device],
    read: Callable[[Device, LogPosition | None], Reading],
    *,
    deadline_seconds: float,
    run_id: str | None,
    full: bool = False,
) -> Iterator[DevicePolled]:
    """Poll `devices` and yield each result, in the order of completion.

    A poll is incremental unless `full`; see `read_terminal` for the conditions of a full one. A device that fails, or
    whose reading cannot be stored, does not affect others; its failure is recorded in `device_polls` before it is
    yielded. Raises only errors of the store itself, see `store_outcomes`.
    """
    tails = {} if full else store.punches.log_positions()
    batches = poll_batches(
        devices,
        lambda one: read(one, tails.get(one.name)),
        max_batch=MAX_READINGS_PER_TRANSACTION,
        max_workers=MAX_CONCURRENT_READINGS,
        deadline_seconds=deadline_seconds,
    )
    left = {one.name for one in devices}
    try:
        for outcomes in batches:
            for polled in store_outcomes(store, outcomes, run_id):
                left.discard(polled.device.name)
                _log.info("%d of %d: %s", len(devices) - len(left), len(devices), polled.progress)
                yield polled
    except Exception:
        _log.error("the poll ends early; not read: %s; the next poll reads them", ", ".join(sorted(left)))
        raise


def store_outcomes(
    store: Store, outcomes: Sequence[PollOutcome[Reading]], run_id: str | None
) -> Iterator[DevicePolled]:
    """Store the readings of one batch, in few and short transactions, and yield the result of each poll.

    A reading that cannot be stored is a failed poll of its device (`not_stored`, or the code of ReadingRefused) and
    does not affect others. If the store itself fails, the unstored readings are recorded as failed polls
    (`store_failed`) as far as possible and named in the log; then the error is raised. No record is lost: the
    terminals keep their logs, and the next poll continues after the last stored reading.
    """
    finished = [_finished(one) for one in outcomes if one.reading is not None]
    stored = 0
    try:
        yield from _failed(store, [one for one in outcomes if one.reading is None], run_id)
        for group in _groups(finished):
            for polled in _ingest(store, group, run_id):
                stored += 1
                yield polled
    except Exception as error:
        _record_unstored(store, finished[stored:], error, run_id)
        raise


def storage_error(device: str, problem: str, error: Exception) -> tuple[str, str]:
    """The error_code and message for data of a device that cannot be stored; the traceback goes to the log.

    `problem` is a clause that names the data and where they still are.
    """
    if isinstance(error, ReadingRefused):
        return error.code, _one_line(str(error))
    _log.error("%s: %s", device, problem, exc_info=error)
    why = f"{type(error).__name__}: {error}"
    return NOT_STORED, _one_line(f"{device}: {problem} ({why}). If this repeats, report the traceback in the log.")


def _ingest(store: Store, group: Sequence[FinishedReading], run_id: str | None) -> Iterator[DevicePolled]:
    """Store readings in one transaction; if one of them fails, each in its own."""
    try:
        ingested = store.punches.ingest_all(group, run_id=run_id)
    except Exception as error:
        if is_store_failure(error):
            raise
        if len(group) == 1:
            yield _not_stored(store, group[0], error, run_id)
            return
    else:
        yield from map(_stored, group, ingested)
        return
    for one in group:
        yield from _ingest(store, [one], run_id)


def _not_stored(store: Store, finished: FinishedReading, error: Exception, run_id: str | None) -> DevicePolled:
    failed = _failed_poll(finished, *storage_error(finished.device.name, LOG_NOT_STORED, error))
    store.punches.record_failures([failed], run_id=run_id)
    return _unread(finished.device, failed)


def _record_unstored(store: Store, finished: Sequence[FinishedReading], error: Exception, run_id: str | None) -> None:
    """Record readings that were not stored because the store failed. Never raises: the caller raises `error` next."""
    if not finished:
        return
    names = ", ".join(one.device.name for one in finished)
    _log.error("read but not stored, because the store failed: %s; the next poll reads them again", names)
    if isinstance(error, StoreBusy):
        return  # the store's lock timeout has already passed
    why = f"the store failed ({type(error).__name__}: {error}); the next poll reads it again"
    failed = [
        _failed_poll(one, STORE_FAILED, _one_line(f"{one.device.name}: its log was read and not stored: {why}"))
        for one in finished
    ]
    try:
        store.punches.record_failures(failed, run_id=run_id)
    except Exception as again:
        _log.error("their failed polls could not be stored either", exc_info=again)


def _failed_poll(finished: FinishedReading, code: str, error: str) -> FailedPoll:
    return FailedPoll(finished.device.name, finished.started_at, finished.finished_at, code, error)


def _one_line(text: str) -> str:
    """`text` as one line of valid Unicode and bounded length, for the store and the log."""
    return " ".join(text.split()).encode("utf-8", "replace").decode()[:MAX_ERROR_LENGTH]


def _groups(finished: Sequence[FinishedReading]) -> Iterator[list[FinishedReading]]:
    """Groups of readings for one transaction each, of few records, since other processes wait for the store lock."""
    group: list[FinishedReading] = []
    records = 0
    for one in finished:
        if group and records + len(one.reading.punches) > MAX_RECORDS_PER_TRANSACTION:
            yield group
            group, records = [], 0
        group.append(one)
        records += len(one.reading.punches)
    if group:
        yield group


def _finished(outcome: PollOutcome[Reading]) -> FinishedReading:
    assert outcome.reading is not None
    return FinishedReading(
        device=outcome.device,
        reading=outcome.reading,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
    )


def _stored(finished: FinishedReading, ingested: IngestResult) -> DevicePolled:
    return DevicePolled(
        device=finished.device,
        started_at=finished.started_at,
        finished_at=finished.finished_at,
        reading=finished.reading,
        ingested=ingested,
    )


def _failed(store: Store, outcomes: Sequence[PollOutcome[Reading]], run_id: str | None) -> Iterator[DevicePolled]:
    if not outcomes:
        return
    failed = [
        FailedPoll(one.device.name, one.started_at, one.finished_at, *_classify(one.device, one.error))
        for one in outcomes
    ]
    store.punches.record_failures(failed, run_id=run_id)
    for outcome, one in zip(outcomes, failed, strict=True):
        yield _unread(outcome.device, one)


def _unread(device: Device, failed: FailedPoll) -> DevicePolled:
    return DevicePolled(
        device=device,
        started_at=failed.started_at,
        finished_at=failed.finished_at,
        error_code=failed.error_code,
        error=failed.error,
    )


def _classify(device: Device, error: Exception | None) -> tuple[str, str]:
    if isinstance(error, TerminalError):
        return error.code, _one_line(str(error))
    if isinstance(error, UsageError):
        return "misconfigured", _one_line(str(error))
    if isinstance(error, ZkPipelineError):  # of the store, which records the keypad lock of a reading
        return STORE_FAILED, _one_line(f"{device.name}: not read, because the store failed: {error}")
    # A defect: the traceback goes to the log, the class into the message; other devices are not affected.
    _log.error("unexpected error while polling %s", device.name, exc_info=error)
    message = f"{device.name}: internal error while reading it ({type(error).__name__}: {error})"
    return "internal_error", _one_line(message)
