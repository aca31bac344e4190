"""`doctor`: settings, disks, files and Dagster's home. Integrity rules of the store have their own tests."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections import namedtuple
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.operations import doctor
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.store.maintenance.test_store_backups import KILLED
from zk_pipeline_tests.store.store_fixtures import execute

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def well(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CRM_API_URL", "https://crm.example/api")
    monkeypatch.setenv("CRM_API_TOKEN", "s3cret")
    monkeypatch.setenv("CRM_LOOKUP", "?user={user_id}&date={date}")
    monkeypatch.setenv("ALERT_URLS", "json://localhost")
    return home


def names(zk: CommandLine) -> dict[str, str]:
    result = zk("doctor", "--json")
    return {one["name"]: one["severity"] for one in json.loads(result.out)["findings"]}


@pytest.mark.usefixtures("well")
def test_a_good_home_has_no_findings(zk: CommandLine) -> None:
    result = zk("doctor")
    assert (result.code, result.out, result.err) == (0, "no findings\n", "")


def test_files_that_other_users_may_read_are_found_and_the_advice_makes_them_private(
    zk: CommandLine, well: Path
) -> None:
    for name in (
        ".env",
        "data/attendance.duckdb",
        "data/attendance.duckdb.holders",
        "history/runs.db",
        "backups/attendance.duckdb",
    ):
        path = well / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.touch()
        path.chmod(path.stat().st_mode | 0o044)
        (finding,) = json.loads(zk("doctor", "--json").out)["findings"]
        assert (finding["name"], finding["severity"]) == ("readable-files", "warning")
        assert str(path) in finding["what"]
        subprocess.run(shlex.split(finding["advice"].split("`")[1]), check=True)
    assert names(zk) == {}


@pytest.mark.parametrize("name", [".", "data", "backups"])
def test_folders_in_which_others_may_replace_files_are_found_and_the_advice_closes_them(
    zk: CommandLine, well: Path, name: str
) -> None:
    folder = well / name
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o722)
    findings = {one["name"]: one for one in json.loads(zk("doctor", "--json").out)["findings"]}
    assert str(folder) in findings["writable-folders"]["what"]
    subprocess.run(shlex.split(findings["writable-folders"]["advice"].split("`")[1]), check=True)
    assert "writable-folders" not in names(zk)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_found_and_the_advice_gives_them_back(zk: CommandLine, well: Path) -> None:
    log = well / "data" / "attendance.duckdb.lock-statistics"
    log.touch()
    os.chown(log, 65534, 65534)
    (finding,) = json.loads(zk("doctor", "--json").out)["findings"]
    assert (finding["name"], finding["severity"]) == ("foreign-files", "error")
    advised = shlex.split(finding["advice"].split("`")[1])
    assert advised[0] == "sudo"
    subprocess.run(advised[1:], check=True)
    assert names(zk) == {}


@pytest.mark.usefixtures("home")
def test_missing_settings_are_noted(zk: CommandLine) -> None:
    assert names(zk) == {"no-crm": "note", "no-alerts": "note"}
    assert zk("doctor").code == 0


def test_an_error_makes_the_exit_code_one_and_has_advice(zk: CommandLine, well: Path, home_store: Store) -> None:
    assert well.exists()
    execute(home_store, "INSERT INTO device_polls (id, device, started_at, finished_at, status) "
                        "SELECT 1, 'Gate', now(), now(), 'success' FROM range(2)")  # fmt: skip
    result = zk("doctor")
    assert result.code == 1
    assert "device_polls: values of id are there more than once: 1 (such as 1)" in result.out
    assert "zk-pipeline backup" in result.out


def test_a_wrong_setting_is_the_only_finding(zk: CommandLine, well: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert well.exists()
    monkeypatch.setenv("WORK_START_TIME", "nine")
    assert names(zk) == {"settings": "error"}


WRONG_CRM = {
    "CRM_API_URL": ("crm.example", "CRM_API_URL must be a full address"),
    "CRM_API_TOKEN": ("", "neither CRM_API_TOKEN nor CRM_API_TOKEN_FILE is set"),
    "CRM_API_TOKEN_FILE": ("nowhere", "CRM_API_TOKEN and CRM_API_TOKEN_FILE are both set"),
    "CRM_CA_BUNDLE": ("nowhere.pem", "CRM_CA_BUNDLE (nowhere.pem) is not a readable PEM file"),
    "CRM_LOOKUP": ("/lookup/", "CRM_LOOKUP must be a path or address with {user_id} and {date}"),
    "CRM_MAPPING_FILE": ("nowhere.yaml", "nowhere.yaml: cannot be read"),
}


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        *(("doctor", variable) for variable in WRONG_CRM),
        *((command, "CRM_MAPPING_FILE") for command in ("sync", "test-crm", "up")),
        *(
            pytest.param(command, variable, marks=pytest.mark.matrix)
            for command in ("sync", "test-crm", "up")
            for variable in WRONG_CRM
            if variable != "CRM_MAPPING_FILE"
        ),
    ],
)
@pytest.mark.usefixtures("well")
def test_a_wrong_setting_of_the_crm_ends_every_command_that_needs_it_with_two(
    zk: CommandLine, monkeypatch: pytest.MonkeyPatch, command: str, variable: str
) -> None:
    value, message = WRONG_CRM[variable]
    monkeypatch.setenv(variable, value)
    result = zk(command)
    assert result.code == 2
    assert message in result.out + result.err


def test_a_mapping_that_is_wrong_is_found_by_its_line_and_names_the_command(
    zk: CommandLine, well: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (well / "crm_mapping.yaml").write_text("rename:\n  user_idd: x\n")
    assert names(zk) == {"crm-settings": "error"}
    assert "crm_mapping.yaml, line 2: rename: unknown field 'user_idd'" in zk("doctor").out
    (well / "crm_mapping.yaml").write_text("drop:\n- date\n")
    assert "crm_mapping.yaml, line 2: drop: 'date' identifies the day of a record" in zk("doctor").out
    monkeypatch.delenv("CRM_API_URL")
    assert names(zk) == {"no-crm": "note", "crm-settings": "error"}


def test_a_wrong_payroll_profile_is_found_by_its_line(zk: CommandLine, well: Path) -> None:
    (well / "payroll_profiles.yaml").write_text("profiles:\n- {name: sap, format: pdf}\n")
    assert names(zk) == {"payroll-profiles": "error"}
    assert "payroll_profiles.yaml, line 2, profile sap: format: " in zk("doctor").out


def test_a_crm_without_a_lookup_is_noted(zk: CommandLine, well: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert well.exists()
    monkeypatch.delenv("CRM_LOOKUP")
    assert names(zk) == {"no-lookup": "note"}
    assert zk("doctor").code == 0


@pytest.mark.closed_stores
@pytest.mark.usefixtures("well")
@pytest.mark.parametrize(("minutes", "other", "found"), [(61, "", ["crm-paused"]), (59, "", []), (61, "x", [])])
def test_a_long_pause_that_the_crm_asked_for_is_found(
    minutes: int, other: str, found: list[str], zk: CommandLine, home_store: Store
) -> None:
    until = home_store.clock() + timedelta(minutes=minutes)
    home_store.deliveries.save_pause(until, os.environ["CRM_API_URL"] + other)
    assert list(names(zk)) == found


def test_a_damaged_store_is_an_error(zk: CommandLine, well: Path) -> None:
    (well / "data" / "attendance.duckdb").write_bytes(b"garbage" * 1000)
    assert names(zk) == {"store": "error"}
    assert zk("doctor").code == 1


@pytest.mark.parametrize(("free", "severity"), [(1e8, "error"), (1e9, "note")])
def test_a_disk_that_fills_is_found(
    free: float, severity: str, zk: CommandLine, well: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert well.exists()
    monkeypatch.setattr("zk_pipeline.operations.doctor.shutil.disk_usage", lambda _: Usage(1e12, 1e12 - free, free))
    assert names(zk) == {"disk-space": severity}


def test_a_network_disk_is_found(zk: CommandLine, well: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert well.exists()
    monkeypatch.setattr(doctor, "network_file_system", lambda _: "nfs4")
    assert names(zk) == {"network-disk": "error"}


def test_a_dagster_yaml_that_cannot_be_read_is_found(zk: CommandLine, well: Path) -> None:
    (well / "dagster.yaml").write_text("concurrency: [")
    assert list(names(zk)) == ["dagster-yaml"]


@pytest.mark.usefixtures("well")
def test_the_instance_of_another_deployment_is_examined_once_it_is_in_use(
    zk: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(other))
    assert names(zk) == {}
    assert list(other.iterdir()) == [], "nothing was created"
    with dg.DagsterInstance.get():
        pass
    lacks = {"dagster-pool-granularity": "note", "dagster-run-monitoring": "warning", "dagster-run-retries": "note"}
    assert names(zk) == lacks
    assert zk("doctor").code == 0
    elsewhere = f"storage: {{sqlite: {{base_dir: {tmp_path / 'elsewhere'}}}}}"
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "dagster.yaml").write_text(elsewhere)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "fresh"))
    assert names(zk) == lacks


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("class: NoSuchCoordinator", "NoSuchCoordinator"),
        ("class: SiteQueueRunCoordinator\n  config: {tags_of_polls: {}}", "tags_of_polls"),
    ],
)
def test_an_instance_that_cannot_be_opened_is_one_line_of_every_command(
    content: str, reason: str, zk: CommandLine, well: Path
) -> None:
    with (well / "dagster.yaml").open("a") as file:
        file.write(f"\nrun_coordinator:\n  module: zk_pipeline.defs.instance.run_coordinator\n  {content}\n")
    assert names(zk) == {"dagster-instance": "error"}
    for command in (["status"], ["process", "--date", "2026-03-02"]):
        result = zk(*command)
        assert (result.code, result.out, len(result.err.splitlines())) == (1, "", 1), result.err
        assert reason in result.err


def test_much_history_is_found(zk: CommandLine, well: Path) -> None:
    with (well / "history" / "sparse").open("wb") as stream:
        stream.truncate(3 << 30)
    assert names(zk) == {"dagster-history": "warning"}


def test_leftovers_of_killed_commands_are_found(zk: CommandLine, well: Path) -> None:
    (well / "data" / ".attendance.duckdb.999999999.part").touch()
    subprocess.run([sys.executable, "-c", KILLED, str(well / "data" / "attendance.duckdb")], check=False)
    assert {"left-files": "warning", "log": "note"}.items() <= names(zk).items()


def test_a_folder_that_cannot_be_written_is_found(zk: CommandLine, well: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert well.exists()
    monkeypatch.setattr("zk_pipeline.operations.doctor.os.access", lambda *_: False)
    assert names(zk) == {"read-only": "error"}
