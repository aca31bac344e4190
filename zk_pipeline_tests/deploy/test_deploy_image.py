"""The image of `deploy/container`: single commands in containers of it, run by a container engine (`.ci/image`)."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from zk_pipeline.store.schema.migrations_runner import copies_before_migration
from zk_pipeline_tests.deploy.containers import NEEDS_ENGINE, USER, in_image
from zk_pipeline_tests.upgrades.make_fixture import unpack, versions

pytestmark = NEEDS_ENGINE


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Empty folder that belongs to the user of the image."""
    folder = tmp_path / "home"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


def test_the_program_runs_without_root_and_writes_only_to_its_home(home: Path) -> None:
    written = "/opt/x /usr/x /etc/x /tmp/x /var/lib/zk-pipeline/x"
    script = f"id -u; touch {written} 2>&1; grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status"
    out = in_image("-c", script, home=home, entrypoint="sh")
    assert out.splitlines()[0] == str(USER)
    assert out.count("Read-only file system") == 3
    assert re.findall(r"(?:CapBnd|NoNewPrivs):\s+(\w+)", out) == ["0" * 16, "1"]
    assert [path.name for path in home.iterdir()] == ["x"]


def test_the_demo_recounts_everything(home: Path) -> None:
    out = in_image("demo", "--employees", "20", "--days", "7", "--no-ui", home=home)
    print(out)  # noqa: T201
    assert len(re.findall(r"^ok  ", out, re.MULTILINE)) == 3


def test_a_home_of_an_earlier_release_is_upgraded_and_its_backup_restored(tmp_path: Path) -> None:
    unpack(versions()[0], tmp_path)
    home = tmp_path / "home"
    for path in (home, *home.rglob("*")):
        os.chown(path, USER, USER)
    punches = len(json.loads((tmp_path / "facts.json").read_text())["punches"])
    assert json.loads(in_image("status", "--json", home=home))["punches"] == punches
    (backup,) = copies_before_migration(home / "data" / "attendance.duckdb")
    in_image("restore", f"/var/lib/zk-pipeline/{backup.relative_to(home)}", "--yes", home=home)
    assert json.loads(in_image("status", "--json", home=home))["punches"] == punches
