"""A host in New York, settings in Tokyo, and a terminal in Nairobi: each text of a time shows whose clock it is."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.devices.push.records import DeviceEvent
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, push
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, ingest, on, process

HOST, SETTINGS, TERMINAL = "America/New_York", "Asia/Tokyo", "Africa/Nairobi"
CLOCK_IN, CLOCK_OUT = "08:41", "17:27"  # on the wall clock of the terminal


@contextmanager
def host_in_new_york() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", HOST)
        time.tzset()
        try:
            yield
        finally:
            patch.undo()
            time.tzset()


def work_in_nairobi(store: Store) -> None:
    """A processed day of 1001, with a quarantined record, a clock correction, a token, an event of the terminal, which
    also pushes, a command for it, and another terminal that waits for its adoption.
    """
    store.devices.add(device("Gate", site="Plant", timezone=TERMINAL))
    punches = on(MONDAY, CLOCK_IN, CLOCK_OUT)
    ingest(store, "Gate", *punches, users=[("1001", 1, "Wanjiru", 0, 0)], rejected=[b"\0" * 40])
    process(store, MONDAY)
    first, last = (datetime.fromisoformat(f"{MONDAY} {one}") for one in (CLOCK_IN, CLOCK_OUT))
    store.clock_corrections.add("Gate", from_local=first, to_local=last, add_seconds=1, reason="", only_in_doubt=True)
    store.api_tokens.create("payroll", "read")
    serial = serial_number_of("Gate")
    adopt(store, serial=serial, timezone=None)
    push(store, serial=serial, events=[DeviceEvent(4, "1", first, "", True)])
    store.push.queue(serial, PushCommand(kind="info"), by="cli:ada")
    contact(store, "WAITS1")


def host_times(text: str) -> list[str]:
    """Names of the host's zone; the punches on the host's clock or in UTC; the last minutes on the host's clock."""
    read = [
        datetime.fromisoformat(f"{MONDAY} {one}").replace(tzinfo=ZoneInfo(TERMINAL)) for one in (CLOCK_IN, CLOCK_OUT)
    ]
    shifted = [f"{one.astimezone(ZoneInfo(zone)):%H:%M}" for one in read for zone in (HOST, "UTC")]
    now = datetime.now(UTC).astimezone(ZoneInfo(HOST))
    recent = [f"{now - timedelta(minutes=minutes):%Y-%m-%d.%H:%M}" for minutes in range(10)]
    clocks = [rf"\b{one}\b" for one in (*shifted, *recent)]
    return re.findall("|".join([r"\bE[SD]T\b", HOST, r"\d-0[45]:00\b", *clocks]), text)
