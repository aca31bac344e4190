"""Dagster definitions: the names of the contract (section 4); building them has no side effects."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from contextvars import Context
from datetime import UTC, date, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.partitions import DateRange, contiguous, device_range_tags
from zk_pipeline.operations.work_dates import last_work_date
from zk_pipeline.store.schema.catalog import TABLES

CHECKOUT = Path(__file__).parents[2]
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def settings(bare_home: Path) -> Settings:
    return load_settings({"ZK_PIPELINE_HOME": str(bare_home)})


@pytest.fixture
def repository(settings: Settings) -> dg.RepositoryDefinition:
    return build_definitions(settings).get_repository_def()


def test_the_assets_are_those_of_the_contract(repository: dg.RepositoryDefinition) -> None:
    def said(spec: dg.AssetSpec) -> tuple[str, list[str], str | None]:
        partitions = spec.partitions_def
        kind = None if partitions is None else type(partitions).__name__
        return str(spec.group_name), sorted(dep.asset_key.to_user_string() for dep in spec.deps), kind

    specs = {
        spec.key.to_user_string(): spec for asset in repository.assets_defs_by_key.values() for spec in asset.specs
    }
    assert {name: said(spec) for name, spec in specs.items()} == {
        "devices": ("terminals", [], None),
        "raw_punches": ("terminals", ["devices"], "DynamicPartitionsDefinition"),
        "daily_attendance": ("attendance", ["raw_punches", "work_dates"], "DailyPartitionsDefinition"),
        "crm_sync": ("crm", ["daily_attendance"], "DailyPartitionsDefinition"),
        # In addition to those of the contract: external, so that no selection materializes it.
        "work_dates": ("attendance", ["raw_punches"], "DailyPartitionsDefinition"),
    }
    assert not repository.assets_defs_by_key[dg.AssetKey("work_dates")].is_executable
    assert specs["raw_punches"].partitions_def == dg.DynamicPartitionsDefinition(name="devices")
    for name in ("raw_punches", "daily_attendance", "crm_sync"):
        asset = repository.assets_defs_by_key[dg.AssetKey(name)]
        assert asset.backfill_policy == dg.BackfillPolicy.single_run()
        assert asset.op.pool is not None


def test_every_asset_tells_people_what_it_is_and_what_its_columns_mean(repository: dg.RepositoryDefinition) -> None:
    tables = {
        "devices": "devices",
        "raw_punches": "raw_punches",
        "work_dates": "work_dates",
        "daily_attendance": "daily_attendance",
        "crm_sync": "crm_deliveries",
    }
    for asset, table in tables.items():
        (spec,) = repository.assets_defs_by_key[dg.AssetKey(asset)].specs
        assert spec.description
        assert spec.kinds
        schema = spec.metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchemaMetadataValue)
        columns = {column.name: column for column in schema.schema.columns}
        assert [name for name in columns if not name.startswith("request.")] == list(TABLES[table][1])
        assert all(column.description and column.type for column in columns.values())
    (raw,) = repository.assets_defs_by_key[dg.AssetKey("raw_punches")].specs
    punched_at = {column.name: column.type for column in raw.metadata["dagster/column_schema"].schema.columns}
    assert punched_at["punched_at"] == "TIMESTAMP WITH TIME ZONE"


def test_the_jobs_are_those_of_the_contract(repository: dg.RepositoryDefinition) -> None:
    jobs = {job.name: job for job in repository.get_all_jobs() if not job.name.startswith("__")}
    assert {
        name: {key.to_user_string() for key in job.asset_layer.executable_asset_keys} for name, job in jobs.items()
    } == {
        "poll_devices": {"devices", "raw_punches"},
        "process_attendance": {"daily_attendance"},
        "sync_to_crm": {"crm_sync"},
        "retry_failed_syncs": {"crm_sync"},
        "daily_cleanup": set(),
    }
    assert all(job.description for job in jobs.values())
    assert {job.executor_def.name for job in jobs.values()} == {"in_process"}


def test_the_schedules_are_those_of_the_contract_and_run_by_default(repository: dg.RepositoryDefinition) -> None:
    found = {one.name: (one.job_name, one.cron_schedule, one.execution_timezone) for one in repository.schedule_defs}
    assert found == {
        "poll_devices_schedule": ("poll_devices", "*/15 * * * *", "UTC"),
        "process_attendance_schedule": ("process_attendance", "5 * * * *", "UTC"),
        "sync_to_crm_schedule": ("sync_to_crm", "*/30 * * * *", "UTC"),
        "retry_failed_syncs_schedule": ("retry_failed_syncs", "0 */6 * * *", "UTC"),
        "daily_cleanup_schedule": ("daily_cleanup", "0 2 * * *", "UTC"),
    }
    assert {one.default_status for one in repository.schedule_defs} == {dg.DefaultScheduleStatus.RUNNING}


def test_the_sensors_are_those_of_the_contract_and_run_by_default(repository: dg.RepositoryDefinition) -> None:
    assert {one.name: one.default_status for one in repository.sensor_defs} == dict.fromkeys(
        (
            "device_registry_sensor",
            "new_punches_sensor",
            "pushed_punches_sensor",
            "quality_check_sensor",
            "run_failure_alert_sensor",
            "alert_sensor",
        ),
        dg.DefaultSensorStatus.RUNNING,
    )


def test_the_resources_are_those_of_the_contract(settings: Settings) -> None:
    assert set(build_definitions(settings).resources or {}) == {"store", "terminals", "crm", "alerts"}


def test_intervals_zone_and_history_are_those_of_the_settings(bare_home: Path) -> None:
    environ = {
        "ZK_PIPELINE_HOME": str(bare_home),
        "ZK_PIPELINE_TIMEZONE": "Asia/Kolkata",
        "ZK_PIPELINE_HISTORY_START": "2024-03-04",
        "POLLING_INTERVAL_MINUTES": "5",
        "CRM_SYNC_INTERVAL_MINUTES": "1",
    }
    repository = build_definitions(load_settings(environ)).get_repository_def()
    schedules = {one.name: one for one in repository.schedule_defs}
    assert schedules["poll_devices_schedule"].cron_schedule == "*/5 * * * *"
    assert schedules["sync_to_crm_schedule"].cron_schedule == "* * * * *"
    assert {one.execution_timezone for one in schedules.values()} == {"Asia/Kolkata"}
    days = repository.assets_defs_by_key[dg.AssetKey("daily_attendance")].partitions_def
    assert days is not None
    evening = datetime(2024, 3, 5, 20, tzinfo=UTC)  # the sixth in Kolkata
    assert days.get_partition_keys(current_time=evening) == [f"2024-03-0{day}" for day in (4, 5, 6, 7)]


def test_the_newest_work_date_has_begun_somewhere_and_has_a_partition(bare_home: Path) -> None:
    settings = load_settings({"ZK_PIPELINE_HOME": str(bare_home)})
    assert last_work_date(settings, datetime(2026, 11, 22, 9, 59, tzinfo=UTC)) == date(2026, 11, 22)
    assert last_work_date(settings, datetime(2026, 11, 22, 10, 0, tzinfo=UTC)) == date(2026, 11, 23)
    east = load_settings({"ZK_PIPELINE_HOME": str(bare_home), "ZK_PIPELINE_TIMEZONE": "Pacific/Kiritimati"})
    assert last_work_date(east, datetime(2026, 11, 22, 10, 0, tzinfo=UTC)) == date(2026, 11, 23)


def test_dates_become_the_fewest_ranges_that_cover_exactly_them() -> None:
    days = [date(2024, 2, 28) + timedelta(days=number) for number in (5, 0, 1, 2, 5, 9)]
    assert contiguous(days) == [
        DateRange(date(2024, 2, 28), date(2024, 3, 1)),
        DateRange(date(2024, 3, 4), date(2024, 3, 4)),
        DateRange(date(2024, 3, 8), date(2024, 3, 8)),
    ]
    assert contiguous([]) == []


def test_devices_become_the_fewest_ranges_of_partitions_that_cover_exactly_them() -> None:
    ranges = [tuple(tags.values()) for tags in device_range_tags(["a", "b", "c", "d"], {"d", "a", "c"})]
    assert ranges == [("a", "a"), ("c", "d")]
    assert device_range_tags(["a"], set()) == []


def _build_watched(pipe: Connection) -> None:
    """Build the definitions; send each open file, socket and process of that."""
    settings = load_settings()
    noted: list[str] = []
    home, watched = (
        str(settings.home),
        ("socket.connect", "socket.bind", "sqlite3.connect", "subprocess.Popen", "os.mkdir"),
    )

    def note(event: str, given: tuple[object, ...]) -> None:
        if event in watched or (event == "open" and home in str(given[0])):
            noted.append(f"{event} {given}")

    sys.addaudithook(note)
    build_definitions(settings).get_repository_def()
    pipe.send(noted)


def test_building_opens_no_file_and_no_connection(bare_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, since an audit hook cannot be removed, and in an empty context: an instance that is open
    since an earlier test is part of the present one, and Dagster reads its state.
    """
    monkeypatch.setenv("ZK_PIPELINE_DATABASE", "/proc/no/such.duckdb")
    monkeypatch.setenv("CRM_API_URL", "http://127.0.0.1:1/")
    here, there = FORK.Pipe(duplex=False)
    child = FORK.Process(target=Context().run, args=(_build_watched, there), daemon=True)
    child.start()
    there.close()
    assert here.recv() == []
    child.join()
    assert {item.name for item in bare_home.iterdir()} == {"dagster.yaml", ".env.example"}


# All commands in one process: an import of Dagster's tools costs more than each of them.
COMMANDS = """
import sys
from dagster._cli import cli as dagster
from dagster_dg_cli.cli import cli as dg
for command in sys.argv[1:]:
    print("$", command, flush=True)
    tool, *arguments = command.split()
    try:
        {"dagster": dagster, "dg": dg}[tool](arguments, standalone_mode=False)
    except SystemExit as end:
        assert not end.code, end.code
    sys.stdout.flush()
"""


def test_the_tools_of_dagster_validate_check_and_list_the_definitions_from_a_checkout(bare_home: Path) -> None:
    """With a home elsewhere."""
    bare_home.mkdir()
    environ = os.environ | {"DAGSTER_HOME": str(bare_home), "DG_CLI_CONFIG": str(bare_home / "dg.toml")}
    validate, check, lists = "dagster definitions validate --log-level info", "dg check defs", "dg list defs --json"
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, validate, check, lists],
        cwd=CHECKOUT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    is_warned = "BetaWarning" in done.stderr or "PreviewWarning" in done.stderr
    assert not is_warned, "a new beta warning: decide, and list it in beta_warnings"
    printed = dict(part.split("\n", 1) for part in done.stdout.split("$ ")[1:])
    assert "All code locations passed validation" in printed[validate]
    assert "All definitions loaded successfully" in printed[check]
    listed = json.loads("{" + printed[lists].partition("{")[2])  # log lines may precede it
    assert {asset["asset_key"] for asset in listed["assets"]} == {
        "devices",
        "raw_punches",
        "work_dates",
        "daily_attendance",
        "crm_sync",
    }
    assert len(listed["schedules"]) == 5
    assert len(listed["sensors"]) == 6
