"""Emulated terminal that pushes, step by step over blocking sockets.

A terminal belongs to one thread; `PushFleet` operates many of them in an event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import pandas as pd

from zk_pipeline.simulator.push import attendance, commands, security
from zk_pipeline.simulator.push.commands import Command
from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.profiles import PUSH_2_2, PushProfile
from zk_pipeline.simulator.push.state import BATCH_LINES, TerminalState
from zk_pipeline.simulator.push.wire import Answer, ReceiverAddress, Step, run, run_async
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.terminal import utc_now

T = TypeVar("T")

TIMEOUT_SECONDS = 10.0


class PushingTerminal(TerminalState):
    """One terminal with the address of its receiver; each method below performs its requests and returns.

    None of them raises for a receiver that fails: `last_answer` then has its status, 0 for no answer. Raises UsageError
    for an address that is not `http://HOST:PORT`.
    """

    def __init__(
        self,
        definition: TerminalDefinition,
        receiver_url: str,
        *,
        profile: PushProfile = PUSH_2_2,
        log: pd.DataFrame | None = None,
        clock: Callable[[], datetime] = utc_now,
        follows_date: bool = True,
        batch_lines: int = BATCH_LINES,
        faults: PushFaults | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        super().__init__(
            definition,
            profile=profile,
            log=log,
            clock=clock,
            follows_date=follows_date,
            batch_lines=batch_lines,
            faults=faults,
        )
        self.receiver = ReceiverAddress.of(receiver_url)
        self.timeout_seconds = timeout_seconds

    def hello(self) -> Answer:
        """Ask for the option block (A, B) or for the registration (C)."""
        return self.run((security if self._is_security else attendance).hello(self))

    def connect(self) -> bool:
        """Everything between power on and the first upload; True if the receiver accepted it."""
        return self.run(self.connect_step())

    def upload(self) -> int:
        """Upload everything pending; returns the number of acknowledged punches or events."""
        return self.run(self.upload_step())

    def ask(self) -> list[Command]:
        """Ask for commands, execute them and report their results."""
        return self.run(self.ask_step())

    def cycle(self) -> bool:
        """Connect unless connected, upload, ask for commands; True if everything was acknowledged."""
        if not self.is_connected and not self.connect():
            return False
        self.upload()
        if self.must_upload:
            return False
        self.ask()
        return self.last_answer.is_success

    def ping(self) -> Answer:
        return self.run(self.send(self.request("GET", "ping")))

    def read_time(self) -> Answer:
        """Ask for the time and set the clock by it, families B and C."""
        return self.run((security if self._is_security else attendance).read_time(self))

    def send_photo(self, user_id: str, picture: bytes) -> Answer:
        """Upload the photo of a punch (JPEG)."""
        return self.run(attendance.send_photo(self, user_id, picture))

    def send_table(self, table: str, body: bytes) -> Answer:
        """Upload any body under any table name."""
        return self.run(attendance.send_table(self, table, body))

    def run(self, step: Step[T]) -> T:
        """Perform a step of the protocol with this terminal's receiver."""
        return run(step, self.receiver, self.timeout_seconds)

    async def run_async(self, step: Step[T]) -> T:
        """The same in an event loop."""
        return await run_async(step, self.receiver, self.timeout_seconds)

    def connect_step(self) -> Step[bool]:
        """The step of `connect`, for `run` or `run_async`."""
        return (security if self._is_security else attendance).connect(self)

    def upload_step(self) -> Step[int]:
        """The step of `upload`."""
        return (security if self._is_security else attendance).upload(self)

    def ask_step(self) -> Step[list[Command]]:
        """The step of `ask`."""
        return commands.ask(self)

    @property
    def _is_security(self) -> bool:
        return self.profile.family == "C"
