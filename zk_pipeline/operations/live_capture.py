"""Live punches: listen to terminals and store what they report within a second. The next poll closes any gap.

Level-triggered: every few seconds the registry is asked, and the listeners are made those that it wants.
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

from zk_pipeline.devices.errors import TerminalError
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.events import Heartbeat, LiveEvent, LivePunch, UnreadableEvent
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.operations.poll import unstorable
from zk_pipeline.store.errors import ReadingRefused, StoreBusy, is_store_failure
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before listening again to a terminal that was lost
GATHER_SECONDS = 0.3  # what comes in meanwhile is stored in one transaction
REGISTRY_SECONDS = 5.0  # between two questions to the registry
ENDING_SECONDS = 0.5  # the same, while a listener ends that is to be replaced
# Waiting for the terminal, unlocking it, opening a session and the first question to it end by a deadline each; in
# between a listener may wait for the store, and be silent for its keep-alive.
HANG_DEADLINES, HANG_GRACE_SECONDS = 4, 180.0

_log = logging.getLogger(__name__)


class ListenerHangs(ZkPipelineError):
    """A listener is past all its deadlines, so that neither it nor a poll can use its terminal."""


@dataclass(frozen=True)
class Stored:
    """Live punches of one device that were stored: how many came, and how many of them were new."""

    device: str
    received: int
    new: int


@dataclass(frozen=True)
class _Lost:
    """Why a listener lost its terminal, and after how many seconds it listens again."""

    error: BaseException
    pause: float


_Arrivals = queue.SimpleQueue[tuple[Device, LiveEvent | _Lost]]


def listen(
    store: Store,
    terminals: TerminalGateway,
    devices: Sequence[Device] | None,
    *,
    stop: threading.Event,
    on_stored: Callable[[Stored], None],
    say: Callable[[str], None],
) -> None:
    """Listen until `stop`, one thread for each terminal; store, and call `on_stored` and `say`, in this thread.

    Listened to are `devices`, or those that are enabled and set to live, as the registry has them: who is added,
    removed, enabled, disabled or changed there is noticed within seconds. Of `devices` one that was disabled already is
    listened to, too.

    A terminal that is lost is listened to again after a pause that grows to a minute, whatever the reason; `say` tells
    of both, and an unexpected error is on record in `device_polls`. Punches that cannot be stored cost the others
    nothing. Raises, after the listeners have ended, what the store raises when it fails itself, and ListenerHangs.
    """
    live = _Live(store, terminals, _choice(devices), on_stored, say)
    try:
        while not stop.is_set():
            live.follow_registry()
            live.check_listeners()
            live.take(GATHER_SECONDS)
    finally:
        live.end()
    live.take(0.0)


def _choice(devices: Sequence[Device] | None) -> Callable[[Device], bool]:
    if devices is None:
        return lambda one: one.enabled and one.live
    was_enabled = {one.name: one.enabled for one in devices}
    return lambda one: one.name in was_enabled and (one.enabled or not was_enabled[one.name])


@dataclass(eq=False)
class _Listener:
    """A thread that listens to one terminal until `stop`, whatever happens. `is_due_at`: its next sign of life."""

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
        """Where the thread is now, as lines of a traceback."""
        frame = sys._current_frames().get(self.thread.ident or 0)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""

    def _sign(self, pause: float = 0.0) -> None:
        self.is_due_at = time.monotonic() + pause + HANG_DEADLINES * self.terminals.deadline + HANG_GRACE_SECONDS

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self.stop.is_set():
            try:
                for event in self.terminals.live_punches(self.device, self.stop):
                    self._sign()
                    self.arrived.put((self.device, event))
                    if isinstance(event, Heartbeat):
                        pause = FIRST_PAUSE
                if not self.stop.is_set():
                    raise RuntimeError("the events of the terminal ended without an error")
            except BaseException as error:  # a thread that ends unheard is a terminal that nobody listens to
                self.arrived.put((self.device, _Lost(error, pause)))
            self._sign(pause)
            self.stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


@dataclass
class _Live:
    """The listeners of one `listen`, by device, and what has arrived from them."""

    store: Store
    terminals: TerminalGateway
    is_wanted: Callable[[Device], bool]
    on_stored: Callable[[Stored], None]
    say: Callable[[str], None]
    _arrived: _Arrivals = field(default_factory=queue.SimpleQueue)
    _listeners: dict[str, _Listener] = field(default_factory=dict)
    _polls: dict[str, int] = field(default_factory=dict)  # the poll that live punches come under
    _recorded: dict[str, str] = field(default_factory=dict)  # failures on record since the last heartbeat
    _asks_at: float = 0.0
    _has_begun: bool = False

    def follow_registry(self) -> None:
        """Ask the registry when it is time to, and start and stop listeners."""
        if time.monotonic() < self._asks_at:
            return
        try:
            wanted = {one.name: one for one in self.store.devices.all() if self.is_wanted(one)}
        except StoreBusy as error:
            self.say(f"the registry of devices could not be asked: {error}")
            self._asks_at = time.monotonic() + REGISTRY_SECONDS
            return
        for name, listener in list(self._listeners.items()):
            if not listener.thread.is_alive():
                del self._listeners[name]
            elif not listener.stop.is_set() and not _is_same(listener.device, wanted.get(name)):
                words = (
                    "its registration changed: connecting again" if name in wanted else "not listening to it any more"
                )
                self.say(f"{name}: {words}")
                listener.stop.set()
        for name, device in wanted.items():
            if name not in self._listeners:
                self._start(device)
        for name in self._polls.keys() - wanted.keys():
            del self._polls[name]
        self._has_begun = True
        is_ending = any(one.stop.is_set() for one in self._listeners.values())
        self._asks_at = time.monotonic() + (ENDING_SECONDS if is_ending else REGISTRY_SECONDS)

    def check_listeners(self) -> None:
        """Raises ListenerHangs."""
        for name, listener in self._listeners.items():
            if not listener.hangs():
                continue
            _log.error("the listener of %s hangs here:\n%s", name, listener.stack())
            message = (
                f"{name}: its listener hangs, past every deadline, and keeps the terminal from polls. Listening ends, "
                "which frees it: start `zk-pipeline live` again, and report it with the traceback in the log."
            )
            self._record(name, "internal_error", message)
            raise ListenerHangs(message)

    def take(self, patience: float) -> None:
        """Store the punches that have arrived, and tell of all else that has. Waits that long for the first."""
        punches: dict[Device, list[LivePunch]] = {}
        for device, event in _gather(self._arrived, patience):
            if isinstance(event, LivePunch):
                punches.setdefault(device, []).append(event)
            else:
                self._tell(device, event)
        for device, batch in punches.items():
            self._ingest(device, batch)

    def end(self) -> None:
        """End all listeners, as far as they let themselves be ended."""
        for listener in self._listeners.values():
            listener.stop.set()
        for listener in self._listeners.values():
            listener.thread.join(self.terminals.timeout + 1)

    def _start(self, device: Device) -> None:
        if device.name not in self._polls:
            self._polls[device.name] = self.store.punches.begin_live(device.name)
        if self._has_begun:
            self.say(f"{device.name}: listening to it")
        self._listeners[device.name] = _Listener(device, self.terminals, self._arrived)

    def _tell(self, device: Device, event: UnreadableEvent | Heartbeat | _Lost) -> None:
        if isinstance(event, Heartbeat):
            self._recorded.pop(device.name, None)
        elif isinstance(event, UnreadableEvent):
            self.say(f"{device.name}: an event that is no punch ({event.reason}); the next poll will tell")
        elif isinstance(event.error, TerminalError):
            self.say(f"{event.error} Listening again in {event.pause:.0f} s.")
        elif isinstance(event.error, ZkPipelineError):  # such as a comm key that is not set
            self.say(f"{device.name}: {event.error}. Listening again in {event.pause:.0f} s.")
        else:
            _log.error("unexpected error while listening to %s", device.name, exc_info=event.error)
            why = f"{type(event.error).__name__}: {event.error}"
            message = f"{device.name}: internal error while listening to it ({why})."
            self.say(f"{message} Listening again in {event.pause:.0f} s.")
            self._record(device.name, "internal_error", message)

    def _ingest(self, device: Device, punches: Sequence[LivePunch]) -> None:
        """Store punches of a device; those that cannot be stored are told of, one by one."""
        try:
            new = self.store.punches.ingest_live(device, punches, poll_id=self._poll_of(device))
        except Exception as error:
            if is_store_failure(error):
                self.say(f"{device.name}: {len(punches)} live punches are not stored; the next poll reads them")
                raise
            if len(punches) > 1 and not isinstance(error, ReadingRefused):
                for one in punches:
                    self._ingest(device, [one])
                return
            problem = "a live punch cannot be stored; the terminal keeps it, and the next poll reads it"
            code, message = unstorable(device.name, problem, error)
            self.say(message)
            self._record(device.name, code, message)
        else:
            self.on_stored(Stored(device.name, len(punches), new))

    def _poll_of(self, device: Device) -> int:
        """A punch may arrive after the device was taken out of the registry."""
        if device.name not in self._polls:
            self._polls[device.name] = self.store.punches.begin_live(device.name)
        return self._polls[device.name]

    def _record(self, name: str, code: str, message: str) -> None:
        """Put a failure on record; one that repeats before the next heartbeat only once."""
        if self._recorded.get(name) != message:
            now = self.store.clock()
            self.store.punches.record_failures([FailedPoll(name, now, now, code, message, mode="live")], run_id=None)
            self._recorded[name] = message


def _is_same(one: Device, other: Device | None) -> bool:
    """Whether a registration is as it was, but for what contacts with the terminal leave there."""
    return other is not None and _registered(one) == _registered(other)


def _registered(device: Device) -> Device:
    return replace(device, last_transport=None, log_layout=None, last_sync=None, keypad_locked_at=None)


def _gather(arrived: _Arrivals, patience: float) -> list[tuple[Device, LiveEvent | _Lost]]:
    """What came in: waits for the first, then a moment for those that follow it closely."""
    events: list[tuple[Device, LiveEvent | _Lost]] = []
    while len(events) < 500:
        try:
            events.append(arrived.get(timeout=patience) if patience else arrived.get_nowait())
        except queue.Empty:
            break
        patience = min(patience, 0.05)
    return events
