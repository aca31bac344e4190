"""Byte-for-byte copies of a DuckDB file by a child process.

Closing any descriptor of the database releases DuckDB's own lock in that process, so a child process opens the file,
under the same lock that DuckDB takes for reading. 510 MB take 0.4 s this way, and 13 s with `COPY FROM DATABASE`.
The caller excludes writers (by the store lock).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.errors import StoreBusy

_HELD, _FAILED = 3, 4
# Standard library only, without site packages: starts in 15 ms. Arguments: whether to lock, then pairs of paths.
_CHILD = f"""
import fcntl, os, shutil, sys
FICLONE = 0x40049409
lock, pairs = sys.argv[1] == "lock", sys.argv[2:]
private = lambda path, flags: os.open(path, flags, 0o600)
try:
    for source, target in zip(pairs[::2], pairs[1::2]):
        with open(source, "rb") as read, open(target, "wb", opener=private) as written:
            if lock:
                try:
                    fcntl.lockf(read, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except (BlockingIOError, PermissionError):
                    sys.exit({_HELD})
            try:
                fcntl.ioctl(written, FICLONE, read.fileno())
            except OSError:
                shutil.copyfileobj(read, written, 1 << 23)
except OSError as error:
    print(error.strerror or error, file=sys.stderr)
    sys.exit({_FAILED})
"""


def copy_file(source: Path, target: Path, *, lock: bool = True) -> None:
    """Copy a database and its WAL to `target`, an unused name, with mode 0600.

    The caller holds the store lock. With `lock`, fails if another process has the file open for writing; without it,
    this process itself may have the file open, checkpointed and idle. Raises StoreBusy, ZkPipelineError.
    """
    pairs = [(source, target)]
    if wal_path(source).exists():
        pairs.append((wal_path(source), wal_path(target)))
    command = [sys.executable, "-I", "-S", "-c", _CHILD, "lock" if lock else "held"]
    done = subprocess.run(  # noqa: S603 (a constant command)
        [*command, *(str(path) for pair in pairs for path in pair)], capture_output=True, text=True, check=False
    )
    if done.returncode == _HELD:
        raise StoreBusy(f"{source} is open for writing in a process that is not zk_pipeline; close it")
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"the copying process ended with {done.returncode}"])[-1]
        raise ZkPipelineError(f"{source} could not be copied to {target}: {why}")


@contextmanager
def temporary_name(target: Path) -> Iterator[Path]:
    """A temporary name next to `target`; a file left under it, or its WAL, is removed at the end."""
    path = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield path
    finally:
        for leftover in (path, wal_path(path)):
            leftover.unlink(missing_ok=True)


def fsync_file(path: Path) -> None:
    """Flush the file and its folder to disk before a rename, so that a power loss cannot leave an incomplete file."""
    for one in (path, path.parent):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def wal_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")
