"""Terminals of the demo that push: their receiver, their adoption, their uploads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from zk_pipeline.config.settings import Settings
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.runtime.processes import check_for_end
from zk_pipeline.simulator.company.workforce import Workforce
from zk_pipeline.simulator.push.fleet import PushFleet
from zk_pipeline.simulator.push.profiles import PUSH_2_2
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store

_ERROR_DELAY_SECONDS = 0.2
_WAIT_SECONDS = 300.0
_PAUSE_SECONDS = 0.05


@contextmanager
def receiver(settings: Settings) -> Iterator[str]:
    """Run the receiver on a free port of loopback, in a thread; yields its URL."""
    from zk_pipeline.receiver.background import Intervals  # noqa: PLC0415 (web framework, slow to import)
    from zk_pipeline.server.receiver_server import (  # noqa: PLC0415
        create_receiver,
        make_receiver_server,
        receiver_store,
    )
    from zk_pipeline.server.uvicorn_server import listen_on  # noqa: PLC0415

    listening = listen_on("127.0.0.1", 0)
    # The terminals are on this host: their clocks are right if its clock is.
    receives = create_receiver(settings, receiver_store(settings), trusts_clock=True)
    server = make_receiver_server(receives, Intervals(refresh=0.5, new_contacts=0.5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="receiver")
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextmanager
def pushing_terminals(url: str, workforce: Workforce, fleet: Fleet) -> Iterator[PushFleet]:
    """Operate the company's pushing terminals, with their logs in `fleet`, which records further punches."""
    recorded = {one.name: fleet.terminal(one.name) for one in workforce.terminals if one.pushes}
    terminals = [PushingTerminal(one.definition, url, profile=PUSH_2_2, log=one.punches()) for one in recorded.values()]
    with PushFleet(terminals, error_delay_seconds=_ERROR_DELAY_SECONDS) as pushing:
        stops = [one.listen(partial(pushing.record, name)) for name, one in recorded.items()]
        yield pushing
        for stop in stops:
            fleet.call(stop)


def adopt(pushing: PushFleet, store: Store) -> None:
    """Adopt the terminals once they have said hello. Raises ZkPipelineError if one does not in time."""
    definitions = [pushing.terminal(name).definition for name in pushing.names]
    serials = {one.serial_number for one in definitions}
    _wait(lambda: serials <= _serials(store).keys(), "not every pushing terminal connected to the receiver")
    adopted = _serials(store)
    for one in definitions:
        if adopted[one.serial_number] is None:
            store.push.adopt(
                one.serial_number, one.name, timezone=one.timezone, default_timezone="UTC", site=one.site, by="demo"
            )


def wait_for_uploads(pushing: PushFleet) -> None:
    """Wait until the receiver has acknowledged every punch. Raises ZkPipelineError if it does not in time."""
    _wait(lambda: pushing.pending_count == 0, "the receiver did not acknowledge the punches of the pushing terminals")


def _serials(store: Store) -> dict[str, str | None]:
    """Serial numbers that have connected, with their devices; None for one that is not adopted."""
    return {one.serial_number: one.device for one in store.push.terminals()}


def _wait(condition: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        check_for_end()
        if time.monotonic() > deadline:
            raise ZkPipelineError(f"{problem} within {_WAIT_SECONDS:.0f} s")
        time.sleep(_PAUSE_SECONDS)
