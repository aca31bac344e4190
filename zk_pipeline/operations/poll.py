"""Poll terminals: read all of them at once, store each reading as it comes, put every failure on record."""

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

# Waiting for terminals costs little; what is bounded here is the readings that are in memory at once.
AT_ONCE = 128
TOGETHER, RECORDS_TOGETHER = 32, 5_000  # readings in one transaction, where they come at once and bring little

NOT_STORED, STORE_FAILED = "not_stored", "store_failed"  # error codes of polls whose terminal was read
UNSTORABLE_LOG = "its log was read and cannot be stored; the terminal keeps it, and each poll tries again"
LONGEST_ERROR = 2_000  # characters

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DevicePolled:
    """How the poll of one device ended: `ingested` with `reading` on success, else `error_code` and `error`."""

    device: Device
    started_at: datetime
    finished_at: datetime
    reading: Reading | None = None
    ingested: IngestResult | None = None
    error_code: str | None = None
    error: str | None = None

    @property
    def words(self) -> str:
        """How it ended, in a line."""
        if self.ingested is None or self.reading is None:
            return f"[{self.error_code}] {self.error}"
        told = f"{self.device.name}: {self.ingested.new} new of {self.reading.record_count_after} ({self.reading.mode})"
        return "; ".join((told, *self.ingested.warnings))


def poll_devices(
    store: Store,
    devices: Sequence[Device],
    read: Callable[[Device, LogPosition | None], Reading],
    *,
    deadline_seconds: float,
    run_id: str | None,
    full: bool = False,
) -> Iterator[DevicePolled]:
    """Poll `devices` and yield how each ended, in the order in which they did.

    What was read before is not read again, unless `full`; see `read_terminal` for what makes it doubt that.
    A device that fails, or whose reading cannot be stored, costs the others nothing; its failure is on record in
    `device_polls` before it is yielded. Raises only what the store raises when it fails itself, see `keep`.
    """
    tails = {} if full else store.punches.tails()
    come = poll_batches(
        devices,
        lambda one: read(one, tails.get(one.name)),
        max_batch=TOGETHER,
        max_workers=AT_ONCE,
        deadline_seconds=deadline_seconds,
    )
    left = {one.name for one in devices}
    try:
        for outcomes in come:
            for polled in keep(store, outcomes, run_id):
                left.discard(polled.device.name)
                _log.info("%d of %d: %s", len(devices) - len(left), len(devices), polled.words)
                yield polled
    except Exception:
        _log.error("the poll ends early, without %s: the next one reads them", ", ".join(sorted(left)))
        raise


def keep(store: Store, outcomes: Sequence[PollOutcome[Reading]], run_id: str | None) -> Iterator[DevicePolled]:
    """Store the readings of one batch, in as few transactions as are short, and yield how each poll ended.

    A reading that cannot be stored is the failed poll of its device (`not_stored`, or the code of ReadingRefused) and
    costs the others nothing. Where the store itself fails, the readings that are not stored yet become failed polls
    (`store_failed`), as far as the store still takes these, and are named in the log; then the failure is raised.
    Nothing is lost: the terminals keep their logs, and the next poll reads them from where the last stored reading
    ended.
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


def unstorable(device: str, problem: str, error: Exception) -> tuple[str, str]:
    """The error_code and the message for data of a device that cannot be stored; the traceback goes to the log.

    `problem` is a clause about the device that says what could not be stored, and where it still is.
    """
    if isinstance(error, ReadingRefused):
        return error.code, _one_line(str(error))
    _log.error("%s: %s", device, problem, exc_info=error)
    why = f"{type(error).__name__}: {error}"
    return NOT_STORED, _one_line(
        f"{device}: {problem} ({why}). If this stays, report it with the traceback in the log."
    )


def _ingest(store: Store, group: Sequence[FinishedReading], run_id: str | None) -> Iterator[DevicePolled]:
    """Store readings in one transaction; where that fails because of one of them, each in its own."""
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
    failed = _failed_poll(finished, *unstorable(finished.device.name, UNSTORABLE_LOG, error))
    store.punches.record_failures([failed], run_id=run_id)
    return _unread(finished.device, failed)


def _record_unstored(store: Store, finished: Sequence[FinishedReading], error: Exception, run_id: str | None) -> None:
    """Put readings on record that the store did not take because it failed. Raises nothing: `error` is raised next."""
    if not finished:
        return
    names = ", ".join(one.device.name for one in finished)
    _log.error("read and not stored, since the store failed: %s; the next poll reads them again", names)
    if isinstance(error, StoreBusy):
        return  # the store was waited for already, as long as may be
    why = f"the store failed ({type(error).__name__}: {error}); the next poll reads it again"
    failed = [
        _failed_poll(one, STORE_FAILED, _one_line(f"{one.device.name}: its log was read and not stored: {why}"))
        for one in finished
    ]
    try:
        store.punches.record_failures(failed, run_id=run_id)
    except Exception as again:
        _log.error("the store does not take their failed polls either", exc_info=again)


def _failed_poll(finished: FinishedReading, code: str, error: str) -> FailedPoll:
    return FailedPoll(finished.device.name, finished.started_at, finished.finished_at, code, error)


def _one_line(text: str) -> str:
    """A text that any store and any log takes: one line, valid Unicode, of bounded length."""
    return " ".join(text.split()).encode("utf-8", "replace").decode()[:LONGEST_ERROR]


def _groups(finished: Sequence[FinishedReading]) -> Iterator[list[FinishedReading]]:
    """Readings that are stored together: others wait for the store meanwhile, so they bring few records."""
    group: list[FinishedReading] = []
    records = 0
    for one in finished:
        if group and records + len(one.reading.punches) > RECORDS_TOGETHER:
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
    if isinstance(error, ZkPipelineError):  # the store, which remembers that a terminal is locked for its reading
        return STORE_FAILED, _one_line(f"{device.name}: not read, since the store failed: {error}")
    # A defect of ours: its traceback belongs in the log, and its class in the words, but it stays this device's
    # failure.
    _log.error("unexpected error while polling %s", device.name, exc_info=error)
    words = f"{device.name}: internal error while reading it ({type(error).__name__}: {error})"
    return "internal_error", _one_line(words)
