"""Fleet of emulated terminals, served from one background thread, for synchronous code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TypeVar

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.records import Punch
from zk_pipeline.simulator.terminal.server import TerminalServer
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal

T = TypeVar("T")


class Fleet:
    """Running terminals by name. Thread-safe; `close` (or `with`) stops all of them."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self._servers: dict[str, TerminalServer] = {}
        self._ports: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="emulated-terminals", daemon=True)
        self._thread.start()

    @classmethod
    def serve(
        cls,
        terminals: Sequence[EmulatedTerminal],
        host: str = "127.0.0.1",
        ports: Sequence[int] | None = None,
        faults: Mapping[str, Faults] | None = None,
    ) -> Fleet:
        """Serve each terminal on its port, by default a free one. Raises UsageError for a port in use."""
        fleet = cls(host)
        try:
            for terminal, port in zip(terminals, ports or [0] * len(terminals), strict=True):
                fleet.add(terminal, port, (faults or {}).get(terminal.name))
        except BaseException:
            fleet.close()
            raise
        return fleet

    @property
    def names(self) -> list[str]:
        return list(self._servers)

    def add(self, terminal: EmulatedTerminal, port: int = 0, faults: Faults | None = None) -> int:
        """Start another terminal and return its port."""
        if terminal.name in self._servers:
            raise UsageError(f"two emulated terminals have the name {terminal.name!r}")
        server = TerminalServer(terminal, faults)
        self._ports[terminal.name] = self._start(server, port)
        self._servers[terminal.name] = server
        return self._ports[terminal.name]

    def port_of(self, name: str) -> int:
        """The terminal's port, TCP and UDP; unchanged while it is switched off."""
        return self._ports[name]

    def terminal(self, name: str) -> EmulatedTerminal:
        """The terminal itself; changes must go through `call`."""
        return self._servers[name].terminal

    def punch(
        self,
        name: str,
        user_id: str,
        punched_at_local: datetime | None = None,
        *,
        verify_type: int = 1,
        punch_state: int = 0,
        work_code: int = 0,
    ) -> Punch:
        """Like `EmulatedTerminal.punch`; returns when the punch is readable."""
        terminal = self.terminal(name)
        return self.call(lambda: terminal.punch(user_id, punched_at_local, verify_type, punch_state, work_code))

    def inject(self, name: str, faults: Faults) -> None:
        """Replace a terminal's faults, from its next answer on; `Faults()` removes them."""
        server = self._servers[name]
        self.call(lambda: setattr(server, "faults", faults))

    def switch_off(self, name: str) -> None:
        """Close every connection of a terminal and stop listening; its log stays."""
        self._stop([self._servers[name]])

    def switch_on(self, name: str) -> None:
        """Listen again, on the same port."""
        self._start(self._servers[name], self._ports[name])

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` in the fleet's thread, between two requests; return its result or raise its error."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def close(self) -> None:
        """Stop all terminals and the thread; may be called twice."""
        if self._loop.is_closed():
            return
        self._stop(self._servers.values())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, server: TerminalServer, port: int) -> int:
        try:
            return asyncio.run_coroutine_threadsafe(server.start(self.host, port), self._loop).result()
        except OSError as error:
            address = f"{self.host}:{port}" if port else self.host
            message = f"emulated terminal {server.terminal.name!r} cannot listen on {address}: {error.strerror}"
            raise UsageError(message) from error

    def _stop(self, servers: Iterable[TerminalServer]) -> None:
        async def stop() -> None:
            await asyncio.gather(*(server.stop() for server in servers))

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()
