"""File systems without reliable locks are refused: by their type, and by a test of the lock."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

import pytest

from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.locks.network_mounts import network_file_system
from zk_pipeline_tests.store.store_fixtures import store_at
from zk_pipeline_tests.waiting import child

pytestmark = pytest.mark.file_engine


MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / /srv rw,relatime shared:2 master:3 - nfs4 server:/srv rw,vers=4.2
41 40 8:2 / /srv/local rw - xfs /dev/sdb1 rw
42 22 0:42 / /home/with\040space rw - cifs //server/home rw
43 22 8:3 / /twice rw - nfs server:/twice rw
44 22 8:3 / /twice rw - ext4 /dev/sdc1 rw
45 22 0:45 / /virtual rw - 9p host rw
"""

# The kernel itself refuses flock, or says yes and does nothing, in a process under this filter: as on file systems
# without locks.
NO_LOCKS = """
    import ctypes, platform, sys
    from pathlib import Path
    from zk_pipeline.errors import UsageError
    from zk_pipeline.store.store import Store

    class Instruction(ctypes.Structure):
        _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction))]

    flock = {"x86_64": 73, "aarch64": 32}[platform.machine()]
    load, equal, give_back = 0x20, 0x15, 0x06
    allow, fail = 0x7FFF0000, 0x00050000 | int(sys.argv[2])
    filter = (Instruction * 4)((load, 0, 0, 0), (equal, 0, 1, flock), (give_back, 0, 0, fail), (give_back, 0, 0, allow))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Program(4, filter))):
        print("no seccomp", flush=True)
    else:
        try:
            Store.at(Path(sys.argv[1])).devices.all()
            print("opened", flush=True)
        except UsageError as error:
            print(error, flush=True)
"""
ENOLCK, NOTHING_DONE = 37, 0


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/data/store.duckdb", None),
        ("/srv/zk/store.duckdb", "nfs4"),
        ("/srv/local/store.duckdb", None),
        ("/srvother/store.duckdb", None),
        ("/home/with space/store.duckdb", "cifs"),
        ("/twice/store.duckdb", None),
        ("/virtual/store.duckdb", None),
    ],
)
def test_the_innermost_and_last_mount_over_a_path_tells_its_file_system(
    path: str, found: str | None, tmp_path: Path
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.strip())
    assert network_file_system(Path(path), mounts) == found


def test_a_link_is_followed_to_where_the_store_really_is(tmp_path: Path) -> None:
    mounts, link = tmp_path / "mountinfo", tmp_path / "link"
    mounts.write_text(f"1 1 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {tmp_path}/share rw - nfs server:/ rw\n")
    (tmp_path / "share").mkdir()
    link.symlink_to(tmp_path / "share")
    assert network_file_system(link / "store.duckdb", mounts) == "nfs"


def test_a_store_on_this_machines_disk_is_taken_and_on_a_network_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.duckdb"
    assert store_at(path).devices.all() == []
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 1 0:9 / / rw - nfs4 server:/ rw\n")
    monkeypatch.setattr("zk_pipeline.store.locks.network_mounts.MOUNTS", mounts)
    with pytest.raises(StoreUnusable, match=r"^ZK_PIPELINE_DATABASE: .+ network file system \(nfs4\).+ local disk$"):
        store_at(path).devices.all()


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64") or not hasattr(ctypes.CDLL(None), "prctl"), reason="needs seccomp"
)
@pytest.mark.parametrize(
    ("errno", "words"),
    [
        (ENOLCK, "this file system does not support locks (No locks available)"),
        (NOTHING_DONE, "have no effect"),
    ],
)
def test_where_the_kernel_locks_nothing_the_store_is_refused_and_not_made(
    errno: int, words: str, tmp_path: Path
) -> None:
    with child(NO_LOCKS, tmp_path / "store.duckdb", str(errno)) as process:
        said = process.hear()
    if said == "no seccomp":
        pytest.skip("seccomp is not allowed here")
    assert words in said
    assert not (tmp_path / "store.duckdb").exists()
