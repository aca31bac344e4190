"""A disk that is full or read-only: one clear line, no damage, and on it goes when there is room again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.maintenance.compaction import FileCompaction
from zk_pipeline.store.quality.doctor import Doctor
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, copied, device, execute, ingest, on, process, rows

pytestmark = pytest.mark.file_engine


SIZE_MB = 12


def mounted(*options: str) -> bool:
    return subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or not mounted("-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)):
        pytest.skip("a small file system cannot be mounted here (that takes root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def store(empty_store_file: Path, disk: Path) -> Store:
    store = copied(empty_store_file, disk)
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
    process(store, MONDAY)
    return store


def fill(disk: Path, *, leave: int = 0) -> Path:
    file = disk / "other people's files"
    with file.open("wb") as stream:
        stream.write(b"x" * (shutil.disk_usage(disk).free - leave))
    return file


def large(store: Store) -> None:
    """A write that does not fit."""
    execute(
        store,
        "INSERT INTO quarantined_records (device, raw, reason, first_poll_id, created_at) "
        "SELECT 'Gate', repeat(uuid()::VARCHAR, 9)::BLOB, i, 1, now() FROM range(100000) t(i)",
    )


def is_whole(store: Store) -> bool:
    assert rows(store, "SELECT count(*) FROM raw_punches") == [(2,)]
    return [one.name for one in Doctor(store.database).examine(store.clock()) if one.severity == "error"] == []


def test_a_full_disk_fails_a_write_in_one_line_and_costs_nothing_that_was_stored(store: Store, disk: Path) -> None:
    others = fill(disk, leave=300_000)
    with pytest.raises(ZkPipelineError, match=r"No space left|full|space") as failure:
        large(store)
    assert "\n" not in str(failure.value)
    assert is_whole(store)
    others.unlink()
    assert ingest(store, "Gate", *on(MONDAY, "18:00")).new == 1
    assert rows(store, "SELECT count(*) FROM quarantined_records") == [(0,)]


def test_a_backup_that_does_not_fit_says_so_and_leaves_no_file(store: Store, disk: Path) -> None:
    fill(disk, leave=100_000)
    with pytest.raises(ZkPipelineError, match=r"the backup needs .* MB and .* has 0 MB left"):
        store.backups.make(disk / "copy.duckdb")
    assert not (disk / "copy.duckdb").exists()
    assert is_whole(store)


def test_a_disk_that_fills_while_a_backup_is_copied_leaves_no_file(
    store: Store, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(store.backups), "_check_space", lambda *_: None)
    fill(disk, leave=100_000)
    with pytest.raises(ZkPipelineError, match=r"could not be copied to .*: No space left on device"):
        store.backups.make(disk / "copy.duckdb")
    assert [path.name for path in disk.iterdir() if "copy" in path.name or ".part" in path.name] == []
    assert is_whole(store)


def test_a_restore_that_does_not_fit_leaves_the_store_in_place(store: Store, disk: Path, tmp_path: Path) -> None:
    backup = store.backups.make(tmp_path / "copy.duckdb").file
    fill(disk, leave=100_000)
    with pytest.raises(ZkPipelineError, match="No space left on device"):
        store.restore.run(backup)
    assert is_whole(store)


def test_a_full_disk_does_not_stop_readers(store: Store, disk: Path) -> None:
    fill(disk)
    assert store.punches.total() == 2
    assert FileCompaction(store.database).compact() == "compact"


def test_a_read_only_disk_fails_a_write_in_one_line_and_reading_works_again_afterwards(
    store: Store, disk: Path
) -> None:
    if not mounted("-o", "remount,ro", str(disk)):
        pytest.skip("this file system cannot be made read-only")
    try:
        with pytest.raises(ZkPipelineError) as failure:
            ingest(store, "Gate", *on(MONDAY, "18:00"))
    finally:
        assert mounted("-o", "remount,rw", str(disk))
    assert "\n" not in str(failure.value)
    assert is_whole(store)
    assert ingest(store, "Gate", *on(MONDAY, "18:00")).new == 1


def test_what_does_not_fit_into_memory_spills_beside_the_store(store: Store, disk: Path) -> None:
    ((folder,),) = rows(store, "SELECT current_setting('temp_directory')")
    assert Path(folder).parent == disk
