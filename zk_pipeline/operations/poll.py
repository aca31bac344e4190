"""Poll terminals: read all of them at once, store each reading as it comes, put every failure on record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.devices.errors import TerminalError
from zk_pipeline.devices.models import Device, LogTail, Reading
from zk_pipeline.devices.polling import PollOutcome, poll_together
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.readings import FailedPoll, FinishedReading, Ingested
from zk_pipeline.store.store import Store

# Waiting for terminals costs little; what is bounded here is the readings that are in memory at once.
AT_ONCE = 128
TOGETHER, RECORDS_TOGETHER = 32, 5_000  # readings in one transaction, where they come at once and bring little

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DevicePolled:
    """How the poll of one device ended: `ingested` with `reading` on success, else `error_code` and `error`."""

    device: Device
    started_at: datetime
    finished_at: datetime
    reading: Reading | None = None
    ingested: Ingested | None = None
    error_code: str | None = None
    error: str | None = None

    @property
    def words(self) -> str:
        """How it ended, in a line."""
        if self.ingested is None or self.reading is None:
            return f"[{self.error_code}] {self.error}"
        told = f"{self.device.name}: {self.ingested.new} new of {self.reading.reported_after} ({self.reading.mode})"
        return "; ".join((told, *self.reading.warnings))


def poll_devices(
    store: Store,
    devices: Sequence[Device],
    read: Callable[[Device, LogTail | None], Reading],
    *,
    deadline_seconds: float,
    run_id: str | None,
    full: bool = False,
) -> Iterator[DevicePolled]:
    """Poll `devices` and yield how each ended, in the order in which they did.

    What was read before is not read again, unless `full`; see `read_terminal` for what makes it doubt that.
    A device that fails costs the others nothing; its failure is on record in `device_polls` before it is yielded.
    Raises only when the store cannot be written.
    """
    tails = {} if full else store.punches.tails()
    come = poll_together(
        devices,
        lambda one: read(one, tails.get(one.name)),
        most=TOGETHER,
        max_workers=AT_ONCE,
        deadline_seconds=deadline_seconds,
    )
    number = 0
    for outcomes in come:
        for polled in keep(store, outcomes, run_id):
            number += 1
            _log.info("%d of %d: %s", number, len(devices), polled.words)
            yield polled


def keep(store: Store, outcomes: Sequence[PollOutcome[Reading]], run_id: str | None) -> Iterator[DevicePolled]:
    """Store what has come at the same time, in as few transactions as are short; how each of them ended."""
    yield from _failed(store, [one for one in outcomes if one.reading is None], run_id)
    for group in _groups([_finished(one) for one in outcomes if one.reading is not None]):
        try:
            ingested = store.punches.ingest_all(group, run_id=run_id)
        except ZkPipelineError:
            raise
        except Exception:
            if len(group) == 1:
                raise
            # One of them is to blame: the others are kept.
            yield from (_stored(one, store.punches.ingest_all([one], run_id=run_id)[0]) for one in group)
        else:
            yield from map(_stored, group, ingested)


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


def _stored(finished: FinishedReading, ingested: Ingested) -> DevicePolled:
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
    for outcome, told in zip(outcomes, failed, strict=True):
        yield DevicePolled(
            device=outcome.device,
            started_at=outcome.started_at,
            finished_at=outcome.finished_at,
            error_code=told.error_code,
            error=told.error,
        )


def _classify(device: Device, error: Exception | None) -> tuple[str, str]:
    if isinstance(error, TerminalError):
        return error.code, str(error)
    if isinstance(error, UsageError):
        return "misconfigured", str(error)
    # A defect of ours: its traceback belongs in the log, and its class in the words, but it stays this device's
    # failure.
    _log.error("unexpected error while polling %s", device.name, exc_info=error)
    return "internal_error", f"{device.name}: internal error while reading it ({type(error).__name__}: {error})"
