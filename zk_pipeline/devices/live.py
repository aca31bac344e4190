"""Listening to one terminal: its live events as they come, for as long as somebody wants them.

What an event means is in `events`. Reconnecting after a failure, and reading what was missed, is for the caller.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import pandas as pd

from zk_pipeline.devices.clock import SYSTEM_CLOCK, Clock, Deadline
from zk_pipeline.devices.errors import TerminalError
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.client import TerminalClient
from zk_pipeline.devices.protocol.connection import Connector
from zk_pipeline.devices.protocol.events import (
    EF_ATTLOG,
    OTHER_EVENTS,
    Heartbeat,
    LiveEvent,
    LivePunch,
    UnreadableEvent,
    parse_event,
    split_events,
)
from zk_pipeline.devices.protocol.frames import Command
from zk_pipeline.devices.protocol.tables import ONLY_THE_LIST, fetch_users
from zk_pipeline.devices.terminal_info import check_serial, describe

KEEP_ALIVE_SECONDS = 30.0
LOOK_UP_SECONDS = 0.25  # how often it is asked whether to go on
DEADLINE_SECONDS = 60.0


def live_punches(
    device: Device,
    *,
    comm_key: int,
    timeout: float,
    stop: threading.Event,
    clock: Clock = SYSTEM_CLOCK,
    deadline: float = DEADLINE_SECONDS,
    keep_alive: float = KEEP_ALIVE_SECONDS,
    is_wanted: Callable[[], bool] = lambda: False,
) -> Iterator[LiveEvent]:
    """Punches as they happen, each acknowledged to the terminal, until `stop` is set or `is_wanted` (by another).

    A Heartbeat comes first, once the terminal has agreed to report, and then at least every `keep_alive` seconds. What
    happens while nobody listens is not reported later: it is in the log. The same punch may come twice. A terminal that
    is gone is noticed by its silence: NoAnswer, after `keep_alive` and `timeout` at most; any one question, the opening
    included, takes `deadline` seconds at most. Raises TerminalError, and SerialChanged as `read_terminal` does.
    """
    connector = Connector.within(device, comm_key, timeout=timeout, deadline=deadline, clock=clock)
    with connector.session() as client:
        check_serial(client, describe(client))
        listener = _Listener(client, deadline, clock)
        with _registered(client):
            asked_at = clock.monotonic()
            yield listener.heartbeat()
            while not stop.is_set() and not is_wanted():
                yield from listener.events(LOOK_UP_SECONDS)
                if clock.monotonic() - asked_at >= keep_alive:
                    asked_at = clock.monotonic()
                    yield listener.heartbeat()


@contextmanager
def _registered(client: TerminalClient) -> Iterator[None]:
    client.transport.doing = "registering for live events"
    client.transport.is_listening = True
    client.ask_for(Command.REG_EVENT, EF_ATTLOG.to_bytes(4, "little"))
    try:
        yield
    finally:
        client.transport.is_listening = False
        if not client.transport.is_broken:
            with suppress(TerminalError):  # a courtesy: the end of the session, which is next, ends the reports too
                client.ask(Command.REG_EVENT, bytes(4))


@dataclass
class _Listener:
    client: TerminalClient
    deadline_seconds: float
    clock: Clock

    def heartbeat(self) -> Heartbeat:
        self._begin()
        return Heartbeat(at=self.clock.now(), record_count=self.client.counters().records)

    def events(self, seconds: float) -> Iterator[LiveEvent]:
        """What the next frame brings, if one comes within so many seconds."""
        self._begin()
        self.client.transport.doing = "listening to live events"
        frame = self.client.transport.next_event(seconds)
        # The event's code is in the place of the session id; terminals report some that nobody has asked for.
        if frame is None or frame.session_id in OTHER_EVENTS:
            return
        events = [self._event(raw) for raw in split_events(frame.data)]
        if any(isinstance(event, LivePunch) and event.uid is not None for event in events):
            # Slots pass from person to person: only a list read after the event can tell who holds one now.
            users = self._read_users()
            events = [replace(event, users=users) if isinstance(event, LivePunch) else event for event in events]
        yield from events

    def _begin(self) -> None:
        self.client.transport.deadline = Deadline.after(self.deadline_seconds, self.clock)

    def _event(self, raw: bytes) -> LiveEvent:
        received_at = self.clock.now()
        record = parse_event(raw, self.client.transport.device.encoding)
        if record is None:
            return UnreadableEvent(raw=raw, reason=f"events of {len(raw)} bytes are not known", received_at=received_at)
        if record.punched_at_local is None:
            return UnreadableEvent(raw=raw, reason="impossible date", received_at=received_at)
        if record.user_id is None and record.uid is None:
            return UnreadableEvent(raw=raw, reason="no user id", received_at=received_at)
        return LivePunch(
            user_id=record.user_id,
            uid=record.uid,
            punched_at_local=record.punched_at_local,
            verify_type=record.verify_type,
            punch_state=record.punch_state,
            received_at=received_at,
        )

    def _read_users(self) -> pd.DataFrame | None:
        try:
            return fetch_users(self.client, self.client.counters())
        except ONLY_THE_LIST:
            return None
