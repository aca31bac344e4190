"""Processes that use a home, each with the store version of its program, for upgrades.

Each command locks one byte of a file in the home until it ends. The position of the byte contains the version and the
process number. The kernel releases the lock however the process ends, and names its owner, also across containers with
one volume.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

FILE = ".zk-pipeline.processes"
_PIDS = 1 << 32  # bytes per version: more than there are process numbers
_FLOCK = "hhqqi0q"  # struct flock of Linux: type, whence, start, length, process number


@contextmanager
def registered(home: Path, version: int) -> Iterator[None]:
    """Register this process, whose program has the store version `version`, until the end of the block.

    Does nothing in a home that is not writable. Not to be nested: the end of one registration ends all of this process.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(home / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
            stack.callback(os.close, descriptor)
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, _position(version, os.getpid()))
        yield


def older_users(home: Path, version: int) -> list[str]:
    """Description of each process that uses the home with a store version below `version`; none outside Linux.

    Call it before `registered`: it would end the registration of this process.
    """
    return [describe_process(pid) for pid in _registered(home, 0, _position(version, 0))]


def is_registered(home: Path, version: int, pid: int) -> bool:
    """True if the process is registered with the version. See `older_users`."""
    position = _position(version, pid)
    return any(_registered(home, position, position + 1))


def _position(version: int, pid: int) -> int:
    return version * _PIDS + pid


def _registered(home: Path, start: int, end: int) -> Iterator[int]:
    """Process numbers of the locks between two positions, in their order; 0 for a process of another container.

    F_GETLK returns any one of the locks, not the first: both sides of it are asked again.
    """
    if sys.platform != "linux":
        return
    try:
        descriptor = os.open(home / FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        yield from _locks(descriptor, start, end)
    finally:
        os.close(descriptor)


def _locks(descriptor: int, start: int, end: int) -> Iterator[int]:
    if start >= end:
        return
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, end - start, 0)
    kind, _, at, length, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    if kind != fcntl.F_UNLCK:
        yield from _locks(descriptor, start, at)
        yield pid
        yield from _locks(descriptor, at + length, end)


def describe_process(pid: int) -> str:
    """`process 12 (zk-pipeline up)`."""
    if not pid:
        return "a process outside this container"
    words: list[str] = []
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    for number, word in enumerate(words):
        if re.fullmatch(r"zk[-_]pipeline", Path(word).name):
            command = " ".join([word for word in words[number + 1 :] if not word.startswith("-")][:1])
            return f"process {pid} (zk-pipeline {command})"
    return f"process {pid}"
