"""Fleet of emulated pushing terminals, operated by one background thread: thousands in one process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import TypeVar

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.simulator.terminal.records import Punch

T = TypeVar("T")


@dataclass
class _Operated:
    terminal: PushingTerminal
    task: asyncio.Task[None] | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class PushFleet:
    """Operated terminals by name. Thread-safe; `close` (or `with`) stops all of them.

    Each terminal says hello, uploads each punch at once and asks for commands at the receiver's `Delay`; after a
    failure it waits for `ErrorDelay`. `delay_seconds` and `error_delay_seconds` replace the receiver's values.
    `start_within_seconds` spreads the first hellos evenly. Raises UsageError for two terminals of one name.
    """

    def __init__(
        self,
        terminals: Sequence[PushingTerminal],
        *,
        delay_seconds: float | None = None,
        error_delay_seconds: float | None = None,
        start_within_seconds: float = 0,
    ) -> None:
        self._delay_seconds = delay_seconds
        self._error_delay_seconds = error_delay_seconds
        self._operated = {terminal.name: _Operated(terminal) for terminal in terminals}
        if len(self._operated) < len(terminals):
            raise UsageError("two emulated pushing terminals have the same name")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pushing-terminals", daemon=True)
        self._thread.start()
        self.call(lambda: self._start_all(start_within_seconds))

    @property
    def names(self) -> list[str]:
        return list(self._operated)

    @property
    def pending_count(self) -> int:
        """Number of punches of all terminals that no receiver has acknowledged."""
        return self.call(lambda: sum(one.terminal.log.pending_count for one in self._operated.values()))

    @property
    def connected_count(self) -> int:
        """Number of terminals whose hello was accepted."""
        return self.call(lambda: sum(one.terminal.is_connected for one in self._operated.values()))

    def terminal(self, name: str) -> PushingTerminal:
        """The terminal itself; changes must go through `call`."""
        return self._operated[name].terminal

    def punch(self, name: str, user_id: str, punched_at_local: datetime | None = None, **values: int) -> Punch:
        """Like `PushingTerminal.punch`; the upload begins at once."""
        operated = self._operated[name]

        def record() -> Punch:
            operated.woken.set()
            return operated.terminal.punch(user_id, punched_at_local, **values)

        return self.call(record)

    def record(self, name: str, punch: Punch) -> None:
        """Append a punch that was recorded elsewhere; the upload begins at once."""
        operated = self._operated[name]

        def record() -> None:
            operated.woken.set()
            operated.terminal.record(punch)

        self.call(record)

    def inject(self, name: str, faults: PushFaults) -> None:
        """Replace a terminal's faults, from its next request on; `PushFaults()` removes them."""
        self.call(lambda: setattr(self.terminal(name), "faults", faults))

    def switch_off(self, name: str) -> None:
        """Stop a terminal, also within a request; its log stays."""
        asyncio.run_coroutine_threadsafe(self._stop(self._operated[name]), self._loop).result()

    def switch_on(self, name: str) -> None:
        """Start a terminal that was switched off; it says hello first."""
        operated = self._operated[name]
        operated.terminal.is_connected = False
        self.call(lambda: self._start(operated, 0))

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` in the fleet's thread, between two requests; return its result or raise its error."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def close(self) -> None:
        """Stop all terminals and the thread; may be called twice. Raises the error that ended a terminal, if any."""
        if self._loop.is_closed():
            return
        try:
            asyncio.run_coroutine_threadsafe(self._stop_all(), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> PushFleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_all(self, within_seconds: float) -> None:
        for number, operated in enumerate(self._operated.values()):
            self._start(operated, within_seconds * number / len(self._operated))

    def _start(self, operated: _Operated, after_seconds: float) -> None:
        operated.task = self._loop.create_task(self._operate(operated, after_seconds))

    async def _operate(self, operated: _Operated, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        ask_at = self._loop.time()
        while True:
            operated.woken.clear()
            if not await self._has_uploaded(operated.terminal):
                await asyncio.sleep(self._error_delay(operated.terminal))
                continue
            if self._loop.time() >= ask_at:
                await operated.terminal.run_async(operated.terminal.ask_step())
                ask_at = self._loop.time() + self._delay(operated.terminal)
            if operated.terminal.is_connected:  # a command or a lost answer may have ended the connection
                await _wait(operated.woken, ask_at - self._loop.time())

    async def _has_uploaded(self, terminal: PushingTerminal) -> bool:
        if not terminal.is_connected and not await terminal.run_async(terminal.connect_step()):
            return False
        await terminal.run_async(terminal.upload_step())
        return terminal.is_connected and not terminal.must_upload

    def _delay(self, terminal: PushingTerminal) -> float:
        return terminal.delay_seconds if self._delay_seconds is None else self._delay_seconds

    def _error_delay(self, terminal: PushingTerminal) -> float:
        return terminal.error_delay_seconds if self._error_delay_seconds is None else self._error_delay_seconds

    async def _stop(self, operated: _Operated) -> None:
        task, operated.task = operated.task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()  # raises the error that ended the terminal

    async def _stop_all(self) -> None:
        for operated in self._operated.values():
            if operated.task is not None:
                operated.task.cancel()
        for operated in self._operated.values():
            await self._stop(operated)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most `seconds`."""
    if seconds <= 0:
        return
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
