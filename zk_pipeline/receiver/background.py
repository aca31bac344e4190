"""Periodic work of the receiver: the view of the store, contacts, commands, changes of UTC offsets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.devices.push.hello import utc_offset
from zk_pipeline.receiver.receiver import Receiver
from zk_pipeline.store.errors import is_store_failure
from zk_pipeline.store.push.terminals import PushTerminal

UNCONFIRMED_FOR = timedelta(minutes=10)  # after the last sending, before a command expires
OFFSET_RETRY_SECONDS = 3600.0
MAX_OFFSET_REQUESTS = 100  # at once: each is a transaction, and uploads wait for it
REQUESTED_BY = "receiver"

_log = logging.getLogger("zk_pipeline.receiver")


@dataclass(frozen=True)
class Intervals:
    """Seconds between two repetitions of each task."""

    look: float = 0.5
    refresh: float = 2.0
    refresh_lake: float = 10.0  # a shared store does not show whether it has changed
    certainty: float = 15.0  # a read without a change of the file shows that another program has it open
    sent: float = 2.0
    contacts: float = 30.0
    new_contacts: float = 10.0
    offsets: float = 60.0
    tick: float = 60.0
    expiry: float = 3600.0


@dataclass
class Background:
    """The tasks. `clock_problem`: why the host's clock is not plausible; `problem`: why the receiver is not ready."""

    receiver: Receiver
    intervals: Intervals
    clock_problem: str | None = "not checked yet"
    _store_problem: str | None = "the store was not read yet"
    _seen: object = None  # state of the store's file at the last refresh
    _last: dict[str, float] = field(default_factory=dict)
    _offset_requests: dict[tuple[str, int], float] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _is_stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def problem(self) -> str | None:
        clock = None if self.clock_problem is None else f"the clock of this host is not plausible: {self.clock_problem}"
        return self._store_problem or self.receiver.commits.store_problem or clock

    async def start(self) -> None:
        """Read the store and start the tasks."""
        await self._look()
        self._tasks = [
            asyncio.create_task(self.receiver.commits.run()),
            asyncio.create_task(self._run()),
        ]

    async def stop(self) -> None:
        """End the tasks and record what is only in memory."""
        self._is_stopping.set()
        committing, looking = self._tasks
        await looking  # not cancelled: what it has taken from memory must be recorded
        committing.cancel()
        await asyncio.gather(committing, return_exceptions=True)
        await self._tried("commands", self._record_sent)
        await self._tried("contacts", self._record_contacts)
        await asyncio.to_thread(self.receiver.close)

    async def _run(self) -> None:
        while not self._is_stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_stopping.wait(), self.intervals.look)
            try:
                await self._look()
            except Exception:
                _log.exception("a periodic task of the receiver failed")

    async def _look(self) -> None:
        intervals = self.intervals
        if self.receiver.registry.state is not None:
            self._check_clock()
        if self._may_have_changed() and self._is_time("refresh", self._refresh_seconds):
            await self._tried("refresh", self._refresh)
            self._check_clock()
        if self.clock_problem is not None:
            return
        has_new = self.receiver.registry.contacts.has_new
        if self._is_time("sent", intervals.sent):
            await self._tried("commands", self._record_sent)
        if self._is_time("contacts", intervals.new_contacts if has_new else intervals.contacts):
            await self._tried("contacts", self._record_contacts)
        if self._is_time("offsets", intervals.offsets):
            await self._tried("UTC offsets", self._request_hellos)
        if self._is_time("expiry", intervals.expiry):
            await self._tried("expired commands", self._expire)
        if self._is_time("tick", intervals.tick):
            await self._tried("comparison", self._tick)

    @property
    def _refresh_seconds(self) -> float:
        is_lake = isinstance(self.receiver.store.database.where, LakeAddress)
        return self.intervals.refresh_lake if is_lake else self.intervals.refresh

    def _is_time(self, task: str, seconds: float) -> bool:
        now = time.monotonic()
        if now - self._last.get(task, float("-inf")) < seconds:
            return False
        self._last[task] = now
        return True

    async def _tried(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work`; a busy store is tried again."""
        try:
            await work()
        except Exception as error:
            if not is_store_failure(error):
                raise
            self._store_problem = type(error).__name__
            self.receiver.complain("the store", f"cannot be used ({what})", error)

    def _check_clock(self) -> None:
        clock = self.receiver.host_clock
        problem = clock.problem()
        if problem is not None:
            self.receiver.complain(
                "the clock of this host",
                "is not plausible",
                f"{problem}. All requests are refused, because terminals set their clocks by the answers. Let a time "
                "service (NTP) set it, or check it and start once with `zk-pipeline receive --trust-clock`",
            )
        self.clock_problem = problem

    def _may_have_changed(self) -> bool:
        is_in_doubt = self._store_problem is not None or self.receiver.commits.store_problem is not None
        return is_in_doubt or self._signature() != self._seen or self._is_time("certainty", self.intervals.certainty)

    def _signature(self) -> object:
        """State of the store's file, which every transaction changes; a new object for a shared store."""
        where = self.receiver.store.database.where
        if isinstance(where, LakeAddress):
            return object()
        found = []
        for path in (where, where.with_name(f"{where.name}.wal")):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return found

    async def _refresh(self) -> None:
        signature = self._signature()  # before the read: a later change is noticed
        state = await self.receiver.in_store_thread(self.receiver.store.state)
        self.receiver.host_clock.note_contacts(one.last_seen_at for one in state.terminals.values())
        self.receiver.registry.replace(state)
        open_ids = {one.id for commands in state.commands.values() for one in commands}
        self.receiver.command_log.keep_only(open_ids)
        self._seen, self._store_problem = signature, None
        self.receiver.commits.store_problem = None

    async def _record_contacts(self) -> None:
        contacts = self.receiver.registry.contacts.take()
        if not contacts:
            return
        try:
            await self.receiver.in_store_thread(lambda: self.receiver.store.record_contacts(contacts))
        except Exception:
            self.receiver.registry.contacts.put_back(contacts)
            raise

    async def _record_sent(self) -> None:
        """Record sent and refused commands."""
        if ids := self.receiver.command_log.take_unrecorded():
            try:
                await self.receiver.in_store_thread(lambda: self.receiver.store.record_sent(ids))
            except Exception:
                self.receiver.command_log.put_back(ids)
                raise
        while self.receiver.refused_commands:
            serial, refused = self.receiver.refused_commands[0]
            await self.receiver.in_store_thread(partial(self.receiver.store.confirm, serial, [refused]))
            self.receiver.refused_commands.pop(0)

    async def _request_hellos(self) -> None:
        """Queue a command to each terminal whose clock was set by another UTC offset than its zone has now.

        So at daylight saving changes, and after a change of the device's zone.
        """
        now, monotonic = self.receiver.store.clock(), time.monotonic()
        self._offset_requests = {
            key: at for key, at in self._offset_requests.items() if monotonic - at < OFFSET_RETRY_SECONDS
        }
        due = [one for one in self.receiver.registry.adopted() if self._has_old_offset(one, now)]
        for terminal in due[:MAX_OFFSET_REQUESTS]:
            session = self.receiver.registry.sessions.get(terminal.serial_number)
            family = terminal.family if session is None else session.family
            command = PushCommand(kind="set_clock" if family == "C" else "hello")
            await self.receiver.in_store_thread(
                partial(self.receiver.store.queue, terminal.serial_number, command, by=REQUESTED_BY)
            )
            self._offset_requests[terminal.serial_number, _offset_seconds(terminal, now)] = monotonic

    def _has_old_offset(self, terminal: PushTerminal, now: datetime) -> bool:
        """True if the clock of a terminal was set by another UTC offset, and no command about it was queued lately."""
        session = self.receiver.registry.sessions.get(terminal.serial_number)
        answered = terminal.hello_offset_seconds if session is None else session.offset_seconds
        offset = _offset_seconds(terminal, now)
        return answered not in (None, offset) and (terminal.serial_number, offset) not in self._offset_requests

    async def _expire(self) -> None:
        expired = await self.receiver.in_store_thread(lambda: self.receiver.store.expire_commands(UNCONFIRMED_FOR))
        self.receiver.registry.note_ended(expired)
        for one in expired:
            _log.warning("command %s to terminal %s was never confirmed", one.command.kind, one.serial_number)

    async def _tick(self) -> None:
        await self.receiver.in_store_thread(self.receiver.on_tick)


def _offset_seconds(terminal: PushTerminal, now: datetime) -> int:
    """UTC offset in seconds of a terminal's zone at an instant."""
    return int(utc_offset(terminal.timezone or "UTC", now).total_seconds())
