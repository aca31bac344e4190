"""What every test about terminals is held to: it leaves no thread and no socket behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# How long one example takes depends on who else uses the machine, and proves nothing.
hypothesis.settings.register_profile("devices", deadline=None)
hypothesis.settings.load_profile("devices")

FILE_DESCRIPTORS = Path("/proc/self/fd")


def _open_sockets() -> set[str]:
    links = set()
    for descriptor in FILE_DESCRIPTORS.iterdir() if FILE_DESCRIPTORS.exists() else ():
        try:
            links.add(str(descriptor.readlink()))
        except FileNotFoundError:  # the one that lists the folder is gone by now
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
