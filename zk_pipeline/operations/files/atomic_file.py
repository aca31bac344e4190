"""Atomic output files: written to a temporary name, then renamed, so that no incomplete file is visible."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.runtime.private_files import mode_of_output

STDOUT = "-"


@contextmanager
def atomic_output(target: str, *, keep: Path) -> Iterator[BinaryIO]:
    """A binary stream that replaces `target` atomically at the end; after a failure, `target` is unchanged.

    The mode of the file follows the umask with which the command was started.

    `-` is standard output. Raises UsageError for a target that cannot be a file or is `keep`, which must not be
    replaced; ZkPipelineError if writing fails.
    """
    if target == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = _checked(target)
    if path == keep.resolve():
        raise UsageError(f"{target} is the store itself: choose another file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as stream:
            os.fchmod(stream.fileno(), mode_of_output())
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ZkPipelineError(f"{target} could not be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _checked(target: str) -> Path:
    try:
        path = Path(target).resolve()  # replaces the target of a link, not the link
        if path.is_dir():
            raise UsageError(f"{target} is a folder: name a file in it")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}: create it first")
        if path.exists() and not path.is_file():
            raise UsageError(f"{target} is not a regular file; `-` writes to standard output")
    except (OSError, RuntimeError) as error:  # a name too long, a loop of links
        raise UsageError(f"{target} cannot be a file: {getattr(error, 'strerror', None) or error}") from error
    return path
