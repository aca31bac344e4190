"""Live punches: listen to terminals and store what they report within a second. The next poll closes any gap."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zk_pipeline.devices.errors import TerminalError
from zk_pipeline.devices.events import Heartbeat, LivePunch, UnreadableEvent
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.store import Store

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before listening again to a terminal that was lost
GATHER_SECONDS = 0.3  # what comes in meanwhile is stored in one transaction


@dataclass(frozen=True)
class Stored:
    """Live punches of one device that were stored: how many came, and how many of them were new."""

    device: str
    received: int
    new: int


_Batch = tuple[Device, LivePunch]


def listen(
    store: Store,
    terminals: TerminalGateway,
    devices: Sequence[Device],
    *,
    stop: threading.Event,
    on_stored: Callable[[Stored], None],
    say: Callable[[str], None],
) -> None:
    """Listen to all `devices` until `stop`, one thread each; store in this thread.

    A terminal that is lost is listened to again after a pause that grows to a minute; `say` tells of both. Raises what
    the store raises, after the listeners have ended.
    """
    arrived: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
    threads = [
        threading.Thread(
            target=_follow, args=(terminals, one, arrived, stop, say), name=f"live {one.name}", daemon=True
        )
        for one in devices
    ]
    for thread in threads:
        thread.start()
    try:
        sessions = {one.name: store.punches.begin_live(one.name) for one in devices}
        while not stop.is_set() or not arrived.empty():
            for device, punches in _gather(arrived).items():
                new = store.punches.ingest_live(device, punches, poll_id=sessions[device.name])
                on_stored(Stored(device.name, len(punches), new))
    finally:
        stop.set()
        for thread in threads:
            thread.join(terminals.timeout + 1)


def _follow(
    terminals: TerminalGateway,
    device: Device,
    arrived: queue.SimpleQueue[_Batch],
    stop: threading.Event,
    say: Callable[[str], None],
) -> None:
    pause = FIRST_PAUSE
    while not stop.is_set():
        try:
            for event in terminals.live_punches(device, stop):
                if isinstance(event, LivePunch):
                    arrived.put((device, event))
                elif isinstance(event, UnreadableEvent):
                    say(f"{device.name}: an event that is no punch ({event.reason}); the next poll will tell")
                elif isinstance(event, Heartbeat):
                    pause = FIRST_PAUSE
        except TerminalError as error:
            say(f"{error} Listening again in {pause:.0f} s.")
        except ZkPipelineError as error:  # a comm key that is not set: nothing to wait for
            say(f"{device.name}: {error}; not listening to it")
            return
        stop.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _gather(arrived: queue.SimpleQueue[_Batch]) -> dict[Device, list[LivePunch]]:
    """What came in, by device: waits for the first, then a moment for those that follow at its heels."""
    batches: dict[Device, list[LivePunch]] = {}
    patience = GATHER_SECONDS
    while True:
        try:
            device, punch = arrived.get(timeout=patience)
        except queue.Empty:
            return batches
        batches.setdefault(device, []).append(punch)
        patience = 0.05
        if sum(map(len, batches.values())) >= 500:
            return batches
