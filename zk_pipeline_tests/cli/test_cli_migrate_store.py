"""`migrate-store`: table, JSON and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.engines import lakes, with_password
from zk_pipeline_tests.store.store_fixtures import device, ingest, rows, store_at

FILE = "data/attendance.duckdb"


@pytest.fixture
def zk(home_store: Store, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    home_store.devices.add(device())
    ingest(home_store, "Gate", ("1001", "2026-03-02 08:00"), ("1001", "2026-03-02 17:00"))
    return CommandLine(capsys)


def test_a_store_is_copied_within_the_home_with_counts(zk: CommandLine, home: Path) -> None:
    moved = zk("migrate-store", FILE, "data/moved.duckdb")
    assert moved.code == 0
    assert [line.split()[:4] for line in moved.out.splitlines() if line.startswith("raw_punches")] == [
        ["raw_punches", "2", "1", "1"]
    ]
    there = home / "data/moved.duckdb"
    assert moved.out.splitlines()[-1].startswith(f"6 rows of {home / FILE} are in {there}, verified")
    assert rows(store_at(home / "data/moved.duckdb"), "SELECT count(*) FROM raw_punches") == [(2,)]


def test_a_part_is_copied_by_site_and_users_of_both_sides_are_named(
    zk: CommandLine, home_store: Store, home: Path
) -> None:
    home_store.devices.add(device("Yard"))
    assert zk("migrate-store", FILE, "data/yard.duckdb", "--site", "Yard").code == 0
    yard = store_at(home / "data/yard.duckdb")
    assert rows(yard, "SELECT name FROM devices") == [("Yard",)]
    ingest(home_store, "Yard", ("1001", "2026-03-03 08:00"))
    refused = zk("migrate-store", FILE, "data/gate.duckdb", "--site", "Gate")
    assert (refused.code, ": 1001; name all sites" in refused.err, refused.err.count("\n")) == (2, True, 1)
    assert zk("migrate-store", FILE, "data/gate.duckdb", "--site", "Gate", "--site", "Yard").code == 0


@pytest.mark.usefixtures("postgres")
def test_a_shared_store_is_filled_and_used_and_its_password_is_never_printed(
    zk: CommandLine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = lakes().fresh(tmp_path / "shared")
    address = with_password(lake)
    moved = zk("migrate-store", FILE, address, "--json")
    assert moved.code == 0
    printed = json.loads(moved.out)
    assert printed["copied"] == 5
    assert {one["table"]: one["rows"] for one in printed["tables"] if one["rows"]} == {
        "store_settings": 1, "devices": 1, "device_polls": 1, "raw_punches": 2, "work_dates": 1
    }  # fmt: skip
    monkeypatch.setenv("ZK_PIPELINE_DATABASE", address)
    shown = [
        zk("device", "list"),
        zk("status"),
        zk("doctor"),
        zk("backup"),
        zk("restore", "x.duckdb", "--yes", "--force"),
    ]
    assert [shown[number].code for number in (0, 1, 3)] == [0, 0, 0]
    assert "Gate" in shown[0].out
    assert "2 punches, verified" in shown[3].out
    assert (shown[4].code, "shared store" in shown[4].err) == (2, True)
    for one in (moved, *shown):
        assert str(lake.password) not in one.out + one.err
    assert not (home / "data" / "shared-store").exists()
    assert [one.name.startswith("shared-store-") for one in (home / "backups").iterdir()] == [True]


def test_wrong_usage_and_failure_have_their_exit_codes(zk: CommandLine, home: Path) -> None:
    assert zk("migrate-store", FILE).code == 2
    assert zk("migrate-store", FILE, FILE).code == 2
    assert zk("migrate-store", "data/none.duckdb", "data/x.duckdb").code == 2
    refused = zk("migrate-store", FILE, "ducklake:postgres:password=hidden;data=x")
    assert (refused.code, "hidden" in refused.err) == (2, False)
    away = zk("migrate-store", FILE, "ducklake:postgres:host=127.0.0.1 port=1 dbname=x password=hidden;data=x")
    assert (away.code, "hidden" in away.err, away.err.count("\n")) == (1, False, 1)
    (home / "data" / "blocked").mkdir()
    assert zk("migrate-store", FILE, "data/blocked").code == 2
