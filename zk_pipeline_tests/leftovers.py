"""Threads and sockets of this process that a test has started and not ended.

Compared as sets, not as counts: a thread that an earlier test has left may end during the context.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE_DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def nothing_left_behind(*, seconds: float = 20) -> Iterator[None]:
    """Fail where threads or sockets of the context are still there so many seconds after its end.

    Sockets are compared where there is a /proc.
    """
    threads, sockets = set(threading.enumerate()), _open_sockets()
    yield
    deadline = time.monotonic() + seconds
    while (
        left := (set(threading.enumerate()) - threads) | (_open_sockets() - sockets)
    ) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


def _open_sockets() -> set[str]:
    links = set()
    for descriptor in FILE_DESCRIPTORS.iterdir() if FILE_DESCRIPTORS.exists() else ():
        try:
            links.add(str(descriptor.readlink()))
        except FileNotFoundError:  # the descriptor of this listing is closed by now
            continue
    return {link for link in links if link.startswith("socket:")}
