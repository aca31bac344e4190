"""Temporary folders in memory, because Dagster's SQLite files and the store flush each commit to the disk.

No test cuts the power, so no test depends on the flush: what a killed process has written stays readable either way.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
NEEDED = 4e9  # free bytes


def use_memory_folder() -> None:
    """Make `/dev/shm` the folder for temporary files of this process and its children.

    Not where TMPDIR is set, where `/dev/shm` has too little room, or where no program may be started from it.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    if os.statvfs(MEMORY).f_flag & os.ST_NOEXEC or shutil.disk_usage(MEMORY).free < NEEDED:
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
