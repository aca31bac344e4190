"""Registrations of the processes that use a home: found by others until the process ends, however it ends."""

from __future__ import annotations

from pathlib import Path

from zk_pipeline.runtime.home_users import is_registered, older_users, registered
from zk_pipeline_tests.waiting import child

USER = """
import sys
from pathlib import Path
from zk_pipeline.runtime.home_users import registered
with registered(Path(sys.argv[1]), int(sys.argv[2])):
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_processes_of_older_versions_are_found_until_they_end(tmp_path: Path) -> None:
    assert older_users(tmp_path, 33) == []
    with (
        child(USER, tmp_path, "31") as killed,
        child(USER, tmp_path, "32") as ended,
        child(USER, tmp_path, "33") as same,
    ):
        assert [one.hear() for one in (killed, ended, same)] == ["ready"] * 3
        assert older_users(tmp_path, 33) == [f"process {killed.pid}", f"process {ended.pid}"]
        assert older_users(tmp_path, 31) == []
        assert is_registered(tmp_path, 33, same.pid)
        assert not is_registered(tmp_path, 33, ended.pid)
        killed.kill()
        assert older_users(tmp_path, 33) == [f"process {ended.pid}"]
        ended.go_on()
        assert ended.end() == 0
        assert older_users(tmp_path, 33) == []


def test_processes_are_found_in_whatever_order_they_began(tmp_path: Path) -> None:
    with child(USER, tmp_path, "32") as first:
        assert first.hear() == "ready"
        with child(USER, tmp_path, "30") as second, child(USER, tmp_path, "31") as third:
            assert [one.hear() for one in (second, third)] == ["ready"] * 2
            assert older_users(tmp_path, 33) == [f"process {one.pid}" for one in (second, third, first)]


def test_a_home_that_is_missing_has_no_users_and_stops_no_command(tmp_path: Path) -> None:
    with registered(tmp_path / "missing", 33):
        assert older_users(tmp_path / "missing", 34) == []
    assert list(tmp_path.iterdir()) == []
