"""Network file systems, which cannot hold a store: other machines may not see their locks."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

# Without `9p` and `virtiofs`: virtual machines and sandboxes see their own disk as these, and locks are tested anyway.
NETWORK = frozenset(
    {"afs", "ceph", "cifs", "davfs", "fuse.curlftpfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.rclone",
     "fuse.s3fs", "fuse.sshfs", "glusterfs", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"}
)  # fmt: skip


def network_file_system(path: Path, mounts: Path | None = None) -> str | None:
    """The type of the network file system that `path` is on; None on another one, or without /proc/self/mountinfo."""
    try:
        lines = (mounts or MOUNTS).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = path.resolve()
    below = ""
    kind = ""
    for line in lines:
        # 36 35 98:0 /root /mount/point rw,noatime [optional fields] - type source options
        mount, _, rest = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), mount.split()[4])
        if real.is_relative_to(point) and len(point) >= len(below):  # of two mounts on one point, the later one counts
            below, kind = point, rest.split()[0]
    return kind if kind in NETWORK else None
