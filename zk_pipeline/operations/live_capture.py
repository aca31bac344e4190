"""Live capture: stores punches within a second after terminals report them. The next poll closes any gap.

Level-triggered: every few seconds the listeners are started and stopped to match the device registry.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from zk_pipeline.counted import counted
from zk_pipeline.devices.errors import TerminalError
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.events import Heartbeat, LiveEvent, LivePunch, UnreadableEvent
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.operations.poll import storage_error
from zk_pipeline.store.errors import ReadingRefused, StoreBusy, is_store_failure
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll

MIN_RECONNECT_SECONDS, MAX_RECONNECT_SECONDS = 1.0, 60.0  # pause before reconnecting to a lost terminal
GATHER_SECONDS = 0.3  # punches within this time are stored in one transaction
REGISTRY_INTERVAL_SECONDS = 5.0  # between two reads of the device registry
ENDING_INTERVAL_SECONDS = 0.5  # the same, while a listener ends that will be replaced
# Waiting for the terminal, unlocking it, opening a session and the first command have a deadline each; in between a
# listener may wait for the store, and be silent for its keep-alive interval.
HANG_DEADLINES, HANG_GRACE_SECONDS = 4, 180.0

_log = logging.getLogger(__name__)


class ListenerHangs(ZkPipelineError):
    """A listener has exceeded all its deadlines and blocks its terminal for polls."""


@dataclass(frozen=True)
class StoredPunches:
    """Counts of one device's stored live punches: received, and new among them."""

    device: str
    received: int
    new: int


@dataclass(frozen=True)
class _ConnectionLost:
    """Error with which a listener lost its terminal, and seconds until it reconnects."""

    error: BaseException
    pause: float


_Arrivals = queue.SimpleQueue[tuple[Device, LiveEvent | _ConnectionLost]]


def capture_live(
    store: Store,
    terminals: TerminalGateway,
    devices: Sequence[Device] | None,
    *,
    stop: threading.Event,
    on_stored: Callable[[StoredPunches], None],
    say: Callable[[str], None],
) -> None:
    """Capture live punches until `stop`, with one thread per terminal; store, `on_stored` and `say` run in this thread.

    Captures from `devices`, or from all polled devices that are set to live. Changes in the registry take effect
    within seconds. A device in `devices` that was already disabled is captured, too.

    After any failure, the terminal is reconnected after a pause that grows to a minute; `say` reports both, and an
    unexpected error is recorded in `device_polls`. Punches that cannot be stored do not affect other devices. Raises
    errors of the store itself, and ListenerHangs, after the listeners have ended.
    """
    live = _LiveCapture(store, terminals, _device_filter(devices), on_stored, say)
    try:
        while not stop.is_set():
            live.follow_registry()
            live.check_listeners()
            live.take(GATHER_SECONDS)
    finally:
        live.end()
    live.take(0.0)


def _device_filter(devices: Sequence[Device] | None) -> Callable[[Device], bool]:
    if devices is None:
        return lambda one: one.is_polled and one.live
    was_enabled = {one.name: one.enabled for one in devices}
    return lambda one: one.polled and one.name in was_enabled and (one.enabled or not was_enabled[one.name])


@dataclass(eq=False)
class _Listener:
    """Thread that listens to one terminal until `stop`, and reconnects after errors. `is_due_at`: deadline of its next
    sign of life.
    """

    device: Device
    terminals: TerminalGateway
    arrived: _Arrivals
    stop: threading.Event = field(default_factory=threading.Event)
    is_due_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._sign()
        self.thread = threading.Thread(target=self._run, name=f"live {self.device.name}", daemon=True)
        self.thread.start()

    def hangs(self) -> bool:
        return self.thread.is_alive() and time.monotonic() > self.is_due_at

    def stack(self) -> str:
        """Traceback of the thread's current position."""
        frame = sys._current_frames().get(self.thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""

    def _sign(self, pause: float = 0.0) -> None:
        self.is_due_at = time.monotonic() + pause + HANG_DEADLINES * self.terminals.deadline + HANG_GRACE_SECONDS

    def _run(self) -> None:
        pause = MIN_RECONNECT_SECONDS
        while not self.stop.is_set():
            try:
                for event in self.terminals.live_punches(self.device, self.stop):
                    self._sign()
                    self.arrived.put((self.device, event))
                    if isinstance(event, Heartbeat):
                        pause = MIN_RECONNECT_SECONDS
                if not self.stop.is_set():
                    raise RuntimeError("the events of the terminal ended without an error")
            except BaseException as error:  # an unreported end of the thread would end the capture silently
                self.arrived.put((self.device, _ConnectionLost(error, pause)))
            self._sign(pause)
            self.stop.wait(pause)
            pause = min(2 * pause, MAX_RECONNECT_SECONDS)


@dataclass
class _LiveCapture:
    """Listeners by device, and the events that they have received."""

    store: Store
    terminals: TerminalGateway
    is_wanted: Callable[[Device], bool]
    on_stored: Callable[[StoredPunches], None]
    say: Callable[[str], None]
    _arrived: _Arrivals = field(default_factory=queue.SimpleQueue)
    _listeners: dict[str, _Listener] = field(default_factory=dict)
    _polls: dict[str, int] = field(default_factory=dict)  # poll id of live punches, by device
    _recorded: dict[str, str] = field(default_factory=dict)  # recorded failures since the last heartbeat
    _asks_at: float = 0.0
    _has_begun: bool = False

    def follow_registry(self) -> None:
        """Read the registry if it is time to, and start and stop listeners."""
        if time.monotonic() < self._asks_at:
            return
        try:
            wanted = {one.name: one for one in self.store.devices.all() if self.is_wanted(one)}
        except StoreBusy as error:
            self.say(f"the device registry could not be read: {error}")
            self._asks_at = time.monotonic() + REGISTRY_INTERVAL_SECONDS
            return
        for name, listener in list(self._listeners.items()):
            if not listener.thread.is_alive():
                del self._listeners[name]
            elif not listener.stop.is_set() and not _is_same(listener.device, wanted.get(name)):
                change = "registration changed: reconnecting" if name in wanted else "live capture stopped"
                self.say(f"{name}: {change}")
                listener.stop.set()
        for name, device in wanted.items():
            if name not in self._listeners:
                self._start(device)
        for name in self._polls.keys() - wanted.keys():
            del self._polls[name]
        self._has_begun = True
        is_ending = any(one.stop.is_set() for one in self._listeners.values())
        self._asks_at = time.monotonic() + (ENDING_INTERVAL_SECONDS if is_ending else REGISTRY_INTERVAL_SECONDS)

    def check_listeners(self) -> None:
        """Raises ListenerHangs."""
        for name, listener in self._listeners.items():
            if not listener.hangs():
                continue
            _log.error("the listener of %s hangs here:\n%s", name, listener.stack())
            message = (
                f"{name}: the listener hangs past every deadline and blocks polls of the terminal. Live capture ends, "
                "which releases the terminal: start `zk-pipeline live` again, and report the traceback in the log."
            )
            self._record(name, "internal_error", message)
            raise ListenerHangs(message)

    def take(self, patience: float) -> None:
        """Store the punches that have arrived, and report other events. Waits `patience` seconds for the first."""
        punches: dict[Device, list[LivePunch]] = {}
        for device, event in _gather(self._arrived, patience):
            if isinstance(event, LivePunch):
                punches.setdefault(device, []).append(event)
            else:
                self._report(device, event)
        for device, batch in punches.items():
            self._ingest(device, batch)

    def end(self) -> None:
        """Stop all listeners; wait for each up to the terminal timeout."""
        for listener in self._listeners.values():
            listener.stop.set()
        for listener in self._listeners.values():
            listener.thread.join(self.terminals.timeout + 1)

    def _start(self, device: Device) -> None:
        if device.name not in self._polls:
            self._polls[device.name] = self.store.punches.begin_live(device.name)
        if self._has_begun:
            self.say(f"{device.name}: live capture started")
        self._listeners[device.name] = _Listener(device, self.terminals, self._arrived)

    def _report(self, device: Device, event: UnreadableEvent | Heartbeat | _ConnectionLost) -> None:
        if isinstance(event, Heartbeat):
            self._recorded.pop(device.name, None)
        elif isinstance(event, UnreadableEvent):
            self.say(f"{device.name}: unreadable event ({event.reason}); the next poll reads the record")
        elif isinstance(event.error, TerminalError):
            self.say(f"{event.error} Reconnecting in {event.pause:.0f} s.")
        elif isinstance(event.error, ZkPipelineError):  # such as a comm key that is not set
            self.say(f"{device.name}: {event.error}. Reconnecting in {event.pause:.0f} s.")
        else:
            _log.error("unexpected error in the live capture of %s", device.name, exc_info=event.error)
            why = f"{type(event.error).__name__}: {event.error}"
            message = f"{device.name}: internal error in its live capture ({why})."
            self.say(f"{message} Reconnecting in {event.pause:.0f} s.")
            self._record(device.name, "internal_error", message)

    def _ingest(self, device: Device, punches: Sequence[LivePunch]) -> None:
        """Store punches of a device; report each one that cannot be stored."""
        try:
            new = self.store.punches.ingest_live(device, punches, poll_id=self._poll_of(device))
        except Exception as error:
            if is_store_failure(error):
                count = counted(len(punches), "live punch", "live punches")
                self.say(f"{device.name}: {count} not stored; the next poll reads the log")
                raise
            if len(punches) > 1 and not isinstance(error, ReadingRefused):
                for one in punches:
                    self._ingest(device, [one])
                return
            problem = "a live punch cannot be stored; it stays in the terminal's log, and the next poll reads it"
            code, message = storage_error(device.name, problem, error)
            self.say(message)
            self._record(device.name, code, message)
        else:
            self.on_stored(StoredPunches(device.name, len(punches), new))

    def _poll_of(self, device: Device) -> int:
        """Poll id of a device's live punches, also of punches that arrive after the device was removed."""
        if device.name not in self._polls:
            self._polls[device.name] = self.store.punches.begin_live(device.name)
        return self._polls[device.name]

    def _record(self, name: str, code: str, message: str) -> None:
        """Record a failure; a repeated one only once until the next heartbeat."""
        if self._recorded.get(name) != message:
            now = self.store.clock()
            self.store.punches.record_failures([FailedPoll(name, now, now, code, message, mode="live")], run_id=None)
            self._recorded[name] = message


def _is_same(one: Device, other: Device | None) -> bool:
    """Whether a registration is unchanged, apart from fields that connections to the terminal update."""
    return other is not None and _registered(one) == _registered(other)


def _registered(device: Device) -> Device:
    return replace(
        device, last_transport=None, log_layout=None, last_sync=None, last_contact=None, keypad_locked_at=None
    )


def _gather(arrived: _Arrivals, patience: float) -> list[tuple[Device, LiveEvent | _ConnectionLost]]:
    """Received events: waits up to `patience` seconds for the first, then 0.05 s for each next one."""
    events: list[tuple[Device, LiveEvent | _ConnectionLost]] = []
    while len(events) < 500:
        try:
            events.append(arrived.get(timeout=patience) if patience else arrived.get_nowait())
        except queue.Empty:
            break
        patience = min(patience, 0.05)
    return events
