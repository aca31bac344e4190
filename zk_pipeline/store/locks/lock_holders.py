"""Current lock holders, for messages: one small file per holder, removed at its release."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zk_pipeline.runtime.processes import is_alive, process_identity

_NAMED = 3  # readers named in one message


class LockHolders:
    """Files of lock holders in `folder`, used only for messages: a full disk does not block a lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def register(self, purpose: str, *, alone: bool) -> Iterator[Callable[[str], None]]:
        """Register this process for the duration of the context; yields a function that replaces the purpose.

        An `alone` (exclusive) holder removes the files of killed holders.
        """
        mine = self._folder / f"{os.getpid()}-{threading.get_native_id()}"
        since = time.time()

        def sign(purpose: str) -> None:
            with suppress(OSError):
                self._folder.mkdir(exist_ok=True)
                mine.write_text(json.dumps({"process": process_identity(), "purpose": purpose, "since": since}))

        sign(purpose)
        if alone:
            with suppress(OSError):
                for left in self._folder.iterdir():
                    if left != mine:
                        left.unlink(missing_ok=True)
        try:
            yield sign
        finally:
            with suppress(OSError):
                mine.unlink()

    def describe(self) -> list[str]:
        """Each holder with its purpose and lock time, the longest first; only a number beyond three."""
        holders: list[tuple[float, str]] = []
        with suppress(OSError):
            for path in self._folder.iterdir():
                with suppress(OSError, ValueError, KeyError):  # half-written or just removed: not a holder
                    entry = json.loads(path.read_text())
                    if is_alive(entry["process"]):
                        holders.append((float(entry["since"]), _description(entry)))
        holders.sort()
        named = [text for _, text in holders[:_NAMED]]
        return named if len(holders) <= _NAMED else [*named, f"{len(holders) - _NAMED} more"]


def _description(entry: dict[str, object]) -> str:
    pid = str(entry["process"]).rsplit(":", 2)[1]
    return f"process {pid} ({entry['purpose']}, for {max(0.0, time.time() - float(str(entry['since']))):.0f} s)"
