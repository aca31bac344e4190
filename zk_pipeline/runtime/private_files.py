"""Permissions of new files: private to the user, whatever the umask of the shell or the service.

The store, its backups, Dagster's storage and logs contain personal data, and libraries create most of these files. So
each process of zk_pipeline sets its umask once, at its start; child processes inherit it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_PRIVATE = 0o077
_given: list[int] = []  # umask of the process before, for files that a user asks for


def keep_files_private() -> None:
    """Create files with mode 0600 and folders with 0700 from now on, in this process and its children."""
    given = os.umask(_PRIVATE)
    if not _given:
        _given.append(given)


def mode_of_output() -> int:
    """Mode of a file that a user asked for, such as `-o FILE`: by the umask with which the command was started."""
    return 0o666 & ~(_given[0] if _given else _PRIVATE)


def mode_by_folder(folder: Path) -> int:
    """Mode of a file that other users may read if they may read its folder."""
    return stat.S_IMODE(folder.stat().st_mode) & 0o644 | stat.S_IRUSR | stat.S_IWUSR
