"""Live events of one terminal: registration, heartbeats and decoded punches.

Events are parsed in `events`. The caller reconnects after a failure, and reads the punches that were missed.
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
from zk_pipeline.devices.protocol.tables import USER_LIST_ERRORS, fetch_users
from zk_pipeline.devices.terminal_info import check_serial, read_terminal_info

KEEP_ALIVE_SECONDS = 30.0
CHECK_INTERVAL_SECONDS = 0.25  # between two checks of `stop` and `is_wanted`
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
    """Live events, each acknowledged to the terminal, until `stop` is set or `is_wanted` (another caller waits).

    The first event is a Heartbeat, after the terminal has confirmed the registration; then one at least every
    `keep_alive` seconds. Punches without a listener are not reported later: they are in the log. The same punch may be
    reported twice. A lost terminal raises NoAnswer after `keep_alive` plus `timeout` at most; each request, CONNECT
    included, takes `deadline` seconds at most. Raises TerminalError, and SerialChanged as `read_terminal` does.
    """
    connector = Connector.within(device, comm_key, timeout=timeout, deadline=deadline, clock=clock)
    with connector.session() as client:
        check_serial(client, read_terminal_info(client))
        listener = _Listener(client, deadline, clock)
        with _registered(client):
            heartbeat_at = clock.monotonic()
            yield listener.heartbeat()
            while not stop.is_set() and not is_wanted():
                yield from listener.events(CHECK_INTERVAL_SECONDS)
                if clock.monotonic() - heartbeat_at >= keep_alive:
                    heartbeat_at = clock.monotonic()
                    yield listener.heartbeat()


@contextmanager
def _registered(client: TerminalClient) -> Iterator[None]:
    client.transport.operation = "registering for live events"
    client.transport.is_listening = True
    client.require(Command.REG_EVENT, EF_ATTLOG.to_bytes(4, "little"))
    try:
        yield
    finally:
        client.transport.is_listening = False
        if not client.transport.is_broken:
            with suppress(TerminalError):  # optional: the end of the session, which follows, ends the reports too
                client.request(Command.REG_EVENT, bytes(4))


@dataclass
class _Listener:
    client: TerminalClient
    deadline_seconds: float
    clock: Clock

    def heartbeat(self) -> Heartbeat:
        self._begin()
        return Heartbeat(at=self.clock.now(), record_count=self.client.counters().records)

    def events(self, seconds: float) -> Iterator[LiveEvent]:
        """The events of the next frame, if one arrives within `seconds`."""
        self._begin()
        self.client.transport.operation = "listening to live events"
        frame = self.client.transport.next_event(seconds)
        # The event code is in the field of the session id; terminals also report events that were not registered.
        if frame is None or frame.session_id in OTHER_EVENTS:
            return
        events = [self._event(raw) for raw in split_events(frame.data)]
        if any(isinstance(event, LivePunch) and event.uid is not None for event in events):
            # Slots are reassigned: only a user list that is read after the event shows the slot's user.
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
        except USER_LIST_ERRORS:
            return None
