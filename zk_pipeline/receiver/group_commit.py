"""Group commit: uploads that arrive while a transaction runs are stored together by the next one.

An upload is acknowledged after the transaction that contains it, never before. One thread stores, so that the event
loop answers in the meantime and this process waits for the store lock once. Between two transactions the store stays
open while uploads follow closely, and is closed as soon as another process waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from zk_pipeline.devices.push.records import ParsedUpload, RejectedLine
from zk_pipeline.store.errors import is_store_failure
from zk_pipeline.store.push.uploads import PushUpload, StoredUpload

MAX_GROUP_LINES = 20_000
# A transaction of twenty uploads costs little more than that of one. So the next one begins when the terminals of the
# last one, which are now answered, have sent again; or after a pause without uploads.
MAX_GATHER_SECONDS = 1.0
PAUSE_SECONDS = 0.2
CHECK_SECONDS = 0.005  # between two looks at who waits for the store
ANSWER_SECONDS = 25.0  # terminals wait 30 to 60 s for an answer
PUNCH_TABLES = ("ATTLOG", "RTLOG", "TABLEDATA:transaction")

T = TypeVar("T")
StoreUploads = Callable[[Sequence[PushUpload]], list[StoredUpload | None]]
_log = logging.getLogger("zk_pipeline.receiver")


class NotStored(Exception):
    """The upload is not in the store and must not be acknowledged."""


Outcome = StoredUpload | NotStored | None


class InThread(Protocol):
    """Runs a function in another thread and returns its result."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


@dataclass(frozen=True)
class Received:
    """A parsed upload with its body."""

    upload: PushUpload
    body: bytes


@dataclass
class _Waiting:
    received: Received
    stored: asyncio.Future[StoredUpload | None]


@dataclass
class GroupCommit:
    """Queue of uploads. `store`: stores uploads in one transaction. `in_thread`: runs it in the thread of the store.

    `must_close`: True if `store` has left the store open and another process waits for it; `close` closes it.
    """

    store: StoreUploads
    in_thread: InThread
    must_close: Callable[[], bool] = lambda: False
    close: Callable[[], None] = lambda: None
    store_problem: str | None = None  # of the last group, until one is stored
    max_gather_seconds: float = MAX_GATHER_SECONDS
    answer_seconds: float = ANSWER_SECONDS
    _queue: deque[_Waiting] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(self, received: Received) -> StoredUpload | None:
        """Wait until the upload is stored; returns its counts, None if its terminal may not upload any more.

        Raises NotStored.
        """
        stored: asyncio.Future[StoredUpload | None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(received, stored))
        self._arrived.set()
        try:
            return await asyncio.wait_for(stored, self.answer_seconds)
        except TimeoutError:
            raise NotStored(f"the store did not finish within {self.answer_seconds:.0f} s") from None

    async def run(self) -> None:
        """Store groups until cancelled. An upload that comes alone is stored at once."""
        while True:
            await self._arrived.wait()
            if group := self._take():
                await self._store_group(group)
                await self._gather(len(group))
            if not self._queue:
                await self.in_thread(self.close)

    async def _gather(self, expected: int) -> None:
        """Wait for the next uploads of terminals that were just answered, and give the store to who waits for it."""
        now = time.monotonic()
        end, pause_end, arrived = now + self.max_gather_seconds, now + PAUSE_SECONDS, len(self._queue)
        while len(self._queue) < expected and time.monotonic() < min(end, pause_end):
            await asyncio.sleep(CHECK_SECONDS)
            if len(self._queue) > arrived:
                arrived, pause_end = len(self._queue), time.monotonic() + PAUSE_SECONDS
            if self.must_close():
                await self.in_thread(self.close)

    def _take(self) -> list[_Waiting]:
        """The oldest uploads that are still waited for, up to MAX_GROUP_LINES."""
        group: list[_Waiting] = []
        lines = 0
        while self._queue and (not group or lines + self._queue[0].received.upload.parsed.lines <= MAX_GROUP_LINES):
            one = self._queue.popleft()
            if not one.stored.done():
                group.append(one)
                lines += one.received.upload.parsed.lines
        if not self._queue:
            self._arrived.clear()
        return group

    async def _store_group(self, group: Sequence[_Waiting]) -> None:
        received = [one.received for one in group]
        try:
            results = await self.in_thread(lambda: store_each(self.store, received))
        except Exception as error:
            results = [NotStored(str(error))] * len(group)
            self.store_problem = type(error).__name__
            if not is_store_failure(error):
                _log.exception("uploads could not be stored")
        else:
            self.store_problem = None
        for one, result in zip(group, results, strict=True):
            if one.stored.done():  # its time is over
                continue
            if isinstance(result, NotStored):
                one.stored.set_exception(result)
            else:
                one.stored.set_result(result)


def store_each(store: StoreUploads, received: Sequence[Received]) -> list[Outcome]:
    """Store uploads together; alone if one of them makes the transaction fail, and as quarantined lines if it fails
    alone. So no record blocks the queue of its terminal or the uploads of others. Raises errors of the store.
    """
    try:
        return list(store([one.upload for one in received]))
    except Exception as error:
        if is_store_failure(error):
            raise
        _log.warning("a group of %d uploads failed; each is stored alone: %s", len(received), error)
    return [_store_alone(store, one) for one in received]


def _store_alone(store: StoreUploads, received: Received) -> Outcome:
    try:
        return store([received.upload])[0]
    except Exception as error:
        if is_store_failure(error):
            return NotStored(str(error))
        _log.exception(
            "an upload of %s (%s) cannot be stored; its lines go to quarantine",
            received.upload.device,
            received.upload.table_name,
        )
        reason = f"not storable: {type(error).__name__}"
    try:
        return store([_quarantined(received, reason)])[0]
    except Exception as error:
        if not is_store_failure(error):
            _log.exception("lines of %s could not be quarantined", received.upload.device)
        return NotStored(str(error))


def _quarantined(received: Received, reason: str) -> PushUpload:
    """The upload with all its lines rejected.

    Lines of other tables than punches may contain passwords and templates: what was parsed of them is kept instead.
    """
    upload, parsed = received.upload, received.upload.parsed
    if upload.table_name in PUNCH_TABLES:
        raw = [line.strip(b"\r\0") for line in received.body.split(b"\n") if line.strip(b" \t\r\0")]
    else:
        records = [*parsed.punches, *parsed.users, *parsed.events]
        raw = ["\t".join("" if value is None else str(value) for value in one).encode() for one in records]
    rejected = [*(RejectedLine(line, reason) for line in raw)]
    if upload.table_name not in PUNCH_TABLES:
        rejected += parsed.rejected
    quarantined = ParsedUpload([], rejected, [], [], parsed.lines, parsed.acknowledged)
    return replace(upload, parsed=quarantined, drift_seconds=None)
