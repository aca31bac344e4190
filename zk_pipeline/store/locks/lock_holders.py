"""Who holds the store at this moment, in words: one small file for each holder, removed when it lets go."""

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
    """Signatures in `folder`, for messages to people only: a disk too full to sign on stops nobody."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def signed(self, purpose: str, *, alone: bool) -> Iterator[Callable[[str], None]]:
        """Sign for as long as the context lasts; what it yields replaces the purpose.

        Who holds the store `alone` takes away what holders that were killed left.
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

    def words(self) -> list[str]:
        """Each holder with what it does and for how long, the longest first; beyond three only their number."""
        told: list[tuple[float, str]] = []
        with suppress(OSError):
            for path in self._folder.iterdir():
                with suppress(
                    OSError, ValueError, KeyError
                ):  # half-written or taken away meanwhile: not a holder to name
                    signed = json.loads(path.read_text())
                    if is_alive(signed["process"]):
                        told.append((float(signed["since"]), _words(signed)))
        told.sort()
        named = [words for _, words in told[:_NAMED]]
        return named if len(told) <= _NAMED else [*named, f"{len(told) - _NAMED} more"]


def _words(signed: dict[str, object]) -> str:
    pid = str(signed["process"]).rsplit(":", 2)[1]
    return f"process {pid} ({signed['purpose']}, for {max(0.0, time.time() - float(str(signed['since']))):.0f} s)"
