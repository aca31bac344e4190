"""Files that people asked for by name: written aside and renamed, so that none is ever half there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zk_pipeline.errors import UsageError, ZkPipelineError

STDOUT = "-"


@contextmanager
def atomic_output(target: str, *, keep: Path) -> Iterator[BinaryIO]:
    """A stream whose content is `target` once all is well; whatever file was there before is replaced as a whole.

    Until then, and after any failure, `target` is as it was. `-` is standard output. Raises UsageError for a target
    that cannot be a file or is `keep`, which must not be replaced; ZkPipelineError where writing fails.
    """
    if target == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = _checked(target)
    if path == keep.resolve():
        raise UsageError(f"{target} is the store itself: choose another file")
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except OSError as error:
        raise ZkPipelineError(f"{target} could not be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


def _checked(target: str) -> Path:
    try:
        path = Path(target).resolve()  # what a link leads to is replaced, not the link
        if path.is_dir():
            raise UsageError(f"{target} is a folder: name a file in it")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}: make it first")
        if path.exists() and not path.is_file():
            raise UsageError(f"{target} is not a regular file; `-` writes to standard output")
    except (OSError, RuntimeError) as error:  # a name too long, a loop of links
        raise UsageError(f"{target} cannot be a file: {getattr(error, 'strerror', None) or error}") from error
    return path
