"""Fixture for all tests of terminals: each test ends its threads and closes its sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# No Hypothesis deadline: the time of an example depends on the load of the machine.
hypothesis.settings.register_profile("devices", deadline=None)
hypothesis.settings.load_profile("devices")

FILE_DESCRIPTORS = Path("/proc/self/fd")


def _open_sockets() -> set[str]:
    links = set()
    for descriptor in FILE_DESCRIPTORS.iterdir() if FILE_DESCRIPTORS.exists() else ():
        try:
            links.add(str(descriptor.readlink()))
        except FileNotFoundError:  # the descriptor of this listing is closed by now
            continue
    return {link for link in links if link.startswith("socket:")}


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    threads, sockets = set(threading.enumerate()), _open_sockets()
    yield
    patience = time.monotonic() + 5
    while time.monotonic() < patience:
        if not (_open_sockets() - sockets) and not (set(threading.enumerate()) - threads):
            return
        time.sleep(0.01)
    assert not (_open_sockets() - sockets), "sockets were left open"
    assert not (set(threading.enumerate()) - threads), "threads were left running"
