"""`zk-pipeline import`: what is printed, and that a dry run stores nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.gates import MONDAY
from zk_pipeline_tests.operations.bridge.bridge_fixtures import sqlite_bridge
from zk_pipeline_tests.store.store_fixtures import device, rows

LOG = f"     1001\t{MONDAY} 08:30:00\t1\t0\t1\t0\r\n     1001\t{MONDAY} 17:30:00\t1\t1\t1\t0\r\n"
COUNT = "SELECT count(*) FROM raw_punches"


@pytest.fixture
def log(home_store: Store, tmp_path: Path) -> str:
    """A log of the registered terminal `Gate`."""
    home_store.devices.add(device("Gate", site="Plant"))
    file = tmp_path / "1_attlog.dat"
    file.write_text(LOG)
    return str(file)


def test_a_dry_run_prints_what_the_import_then_stores(zk: CommandLine, home_store: Store, log: str) -> None:
    planned = zk("import", "punches", log, "--device", "Gate", "--dry-run")
    assert (planned.code, planned.err, rows(home_store, COUNT)) == (0, "", [(0,)])
    assert planned.out.splitlines()[0].split() == ["file", "1_attlog.dat"]
    for text in (
        "Gate (site Plant)",
        "USB log: user, time, device number, state, verification, work code (detected)",
        "2 in 2 records",
        f"{MONDAY} 08:30:00",
        f"{MONDAY} 17:30:00",
        "1: 1001",
        "nothing (dry run)",
    ):
        assert text in planned.out
    done = zk("import", "punches", log, "--device", "Gate", "--json").json
    assert (done["is_stored"], done["new"], done["known"], done["unreadable"]) == (True, 2, 0, {})
    assert rows(home_store, COUNT) == [(2,)]
    again = zk("import", "punches", log, "--device", "Gate")
    assert "stored now" in again.out
    assert zk("import", "punches", log, "--device", "Gate", "--json").json["new"] == 0


def test_punches_before_the_history_are_named_with_the_setting(
    zk: CommandLine, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZK_PIPELINE_HISTORY_START", "2026-04-01")
    out = zk("import", "punches", log, "--device", "Gate", "--dry-run").out
    assert "2: processed only after an earlier ZK_PIPELINE_HISTORY_START (2026-04-01) is set" in out


def test_instants_in_a_repeated_hour_are_counted_with_what_becomes_of_them(
    zk: CommandLine, home_store: Store, tmp_path: Path
) -> None:
    home_store.devices.add(device("Gate", timezone="Europe/Berlin"))
    bridge = sqlite_bridge(tmp_path)
    bridge.device(1, "Gate", "192.0.2.10", timezone="Europe/Berlin")
    bridge.punch("1001", "2025-10-26 01:30")
    table = tmp_path / "utc.csv"
    table.write_text("user_id,punched_at\n1001,2025-10-26T01:30:00Z\n")
    for command in (("punches", str(table), "--device", "Gate"), ("django-bridge", bridge.dsn)):
        out = zk("import", *command, "--dry-run").out
        assert "in a repeated hour 1: stored as its first occurrence" in " ".join(out.split())


def test_unreadable_lines_are_printed_with_their_reason_and_nothing_is_stored(
    zk: CommandLine, home_store: Store, log: str
) -> None:
    Path(log).write_text(f"{LOG}garbage\n")
    refused = zk("import", "punches", log, "--device", "Gate")
    assert refused.code == 2
    assert "unreadable lines" in refused.out
    assert refused.err.splitlines() == [
        "zk-pipeline: 1_attlog.dat: no punch was stored (--skip-unreadable stores the others):",
        "zk-pipeline: line 3: it has no time such as 2026-11-02 08:30:00",
    ]
    assert rows(home_store, COUNT) == [(0,)]
    skipped = zk("import", "punches", log, "--device", "Gate", "--skip-unreadable")
    assert (skipped.code, skipped.err, rows(home_store, COUNT)) == (0, "", [(2,)])
    assert "in quarantine" in skipped.out
    assert "garbage" not in skipped.out
    kept = zk("quarantine", "release")
    assert (kept.code, rows(home_store, COUNT)) == (0, [(2,)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "Gat"), "unknown device 'Gat'; did you mean Gate?"),
        (("--device", "Gate", "--columns", "user"), "--columns: 'user' does not name the column of a field"),
        (("--device", "Gate", "--format", "csv"), "line 1: the column 1 is there twice"),
    ],
)
def test_a_wrong_import_is_one_line(zk: CommandLine, log: str, arguments: tuple[str, ...], message: str) -> None:
    refused = zk("import", "punches", log, *arguments)
    assert refused.is_refusal()
    assert message in refused.err


def test_a_replaced_bridge_sends_the_crm_only_what_it_lacks(
    zk: CommandLine, home_store: Store, crm: CrmReceiver, tmp_path: Path
) -> None:
    bridge = sqlite_bridge(tmp_path)
    bridge.device(1, "Main Office", "192.0.2.10")
    for user_id in ("1001", "1002"):
        bridge.punch(user_id, f"{MONDAY} 06:00")
        bridge.punch(user_id, f"{MONDAY} 14:30")
    bridge.day("1001", f"{MONDAY} 06:00", f"{MONDAY} 14:30", delivered=f"{MONDAY} 16:30")
    planned = zk("import", "django-bridge", bridge.dsn, "--dry-run")
    assert (planned.code, planned.err, home_store.devices.all()) == (0, "", [])
    assert "delivered days" in planned.out
    assert "nothing (dry run)" in planned.out
    done = zk("import", "django-bridge", bridge.dsn, "--json").json
    assert (done["delivered"], done["is_stored"], done["devices"][0]["new"]) == (1, True, 4)
    assert zk("process").code == 0
    status = zk("test-crm", "--stats", "--json").json
    assert (status["total"], status["synced"]) == (2, 1)
    assert zk("sync").code == 0
    assert list(crm.ledger.latest()) == [("1002", MONDAY)]
    assert zk("sync").code == 0
    assert sum(crm.ledger.attempts.values()) == 1
    missing = zk("import", "django-bridge", str(tmp_path / "none.sqlite3"))
    assert missing.is_refusal()
