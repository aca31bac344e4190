"""Send journal: the records that were in a request when a sync process died.

All claimed deliveries of a run are `sending` in the store, but only a few are in a request at a time. Before a request,
its idempotency keys are appended to a small file next to the store's other side files, without fsync: the file survives
the end of the process, but not of the machine. If the journal has no entry of a run (file lost, machine restarted, run
on another host), all deliveries claimed by that run have an unknown outcome.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock

from zk_pipeline.store.errors import StoreUnusable

_MOST_LINES = 25_000  # about a megabyte; then the file is reduced to open keys
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Boot id from the kernel; a random one if the kernel has none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid4())


class Journal:
    """File format: a line `run BOOT_ID RUN_ID` for each run, followed by one idempotency key per line.

    Used under the sync lock only; `note` is thread-safe. Raises StoreUnusable if the file cannot be written.
    """

    def __init__(self, path: Path, run_id: str, boot: Callable[[], str] = boot_id) -> None:
        self._path = path
        self._since_boot = f"run {boot()} "
        self._header = f"{self._since_boot}{run_id}\n"
        self._lock = Lock()
        self.left_behind = self._read()  # of every other run that the file vouches for: the keys in requests of its
        is_known = run_id in self.left_behind
        self._open = self.left_behind.pop(run_id, set())
        self._lines = len(self._open)
        if not is_known:
            self._append(self._header)

    def note(self, keys: Iterable[str]) -> None:
        """Append the keys of the next request."""
        with self._lock:
            added = [key for key in keys if key not in self._open]
            if added:
                self._append("".join(f"{key}\n" for key in added))
                self._open.update(added)
                self._lines += len(added)

    def forget(self, keys: Iterable[str]) -> None:
        """Remove keys whose outcomes are stored, and the entries of earlier runs, which are settled by then."""
        with self._lock:
            self._open.difference_update(keys)
            if self.left_behind or (self._lines and not self._open) or self._lines > _MOST_LINES:
                self._keep_open()
                self._lines, self.left_behind = len(self._open), {}

    def _read(self) -> dict[str, set[str]]:
        """Keys by run, for runs since the machine started."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable(error) from error
        runs: dict[str, set[str]] = {}
        keys: set[str] = set()
        for line in lines:
            if line.startswith("run "):
                keys = runs.setdefault(line, set())
            else:
                keys.add(line)
        known = len(self._since_boot)
        return {run[known:]: keys for run, keys in runs.items() if run.startswith(self._since_boot)}

    def _append(self, text: str) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o664)
            try:
                os.write(descriptor, text.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._unusable(error) from error

    def _keep_open(self) -> None:
        aside = self._path.with_name(f"{self._path.name}.new")
        try:
            aside.write_text(self._header + "".join(f"{key}\n" for key in self._open), encoding="utf-8")
            aside.replace(self._path)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> StoreUnusable:
        return StoreUnusable(f"cannot write the send journal {self._path}: {error.strerror}")
