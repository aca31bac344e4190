"""Dagster's SQLite files, read without Dagster: the same answers as Dagster's, or none."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._daemon.types import DaemonHeartbeat

from zk_pipeline.defs.dagster_files import read_daemon_status
from zk_pipeline.defs.instance.daemon_health import daemon_status
from zk_pipeline.defs.instance.daemon_status import DaemonStatus
from zk_pipeline.defs.names import Names
from zk_pipeline.store.store import utc_now
from zk_pipeline_tests.defs.instigators import add_sensor

NAMES = Names()
NEVER_RUN = DaemonStatus({}, [], [], 0)


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:  # noqa: ARG001 (exported)
    with dg.DagsterInstance.get() as opened:
        yield opened


def read(home: Path, now: datetime) -> DaemonStatus | None:
    return read_daemon_status(home, NAMES, now)


def live(instance: dg.DagsterInstance, now: datetime, **late: timedelta) -> None:
    """A heartbeat of each daemon, ten seconds old; those of the daemons in `late` are older."""
    for kind in instance.get_required_daemon_types():
        at = now - late.get(kind, timedelta(seconds=10))
        instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), kind, "daemon", []))


def test_the_answers_are_those_of_dagster(instance: dg.DagsterInstance, home: Path) -> None:
    now = utc_now() + timedelta(minutes=5)  # after dagster.yaml was written

    def compared() -> DaemonStatus:
        expected = daemon_status(instance, NAMES, now)
        found = read(home, now)
        assert found is not None
        assert {kind: round(age, 3) for kind, age in found.heartbeats.items()} == {
            kind: round(age, 3) for kind, age in expected.heartbeats.items()
        }
        assert (found.running, found.stopped) == (expected.running, expected.stopped)
        assert found.runs_in_progress == expected.runs_in_progress
        assert found.daemon_message() == expected.daemon_message()
        return found

    assert compared() == NEVER_RUN
    live(instance, now)
    alert, registry = (add_sensor(instance, "zk_pipeline", name) for name in ("alert_sensor", "device_registry_sensor"))
    add_sensor(instance, "theirs", "sales_sensor")
    assert compared().running == ["alert_sensor", "device_registry_sensor"]
    assert compared().is_daemon_alive
    instance.update_instigator_state(alert.with_status(InstigatorStatus.STOPPED))
    instance.update_instigator_state(registry.with_status(InstigatorStatus.DECLARED_IN_CODE))
    assert (compared().running, compared().stopped) == (["device_registry_sensor"], ["alert_sensor"])
    for status, tags in ((dg.DagsterRunStatus.STARTED, NAMES), (dg.DagsterRunStatus.CANCELING, Names(("hr",)))):
        instance.add_run(dg.DagsterRun(job_name="poll_devices", status=status, tags=tags.run_tags))
    instance.add_run(dg.DagsterRun(job_name="nightly", status=dg.DagsterRunStatus.STARTED))
    instance.add_run(dg.DagsterRun(job_name="poll_devices", status=dg.DagsterRunStatus.SUCCESS, tags=NAMES.run_tags))
    assert compared().runs_in_progress == 1
    now += timedelta(hours=1)
    assert not compared().is_daemon_alive


def test_only_dagster_knows_whose_a_run_without_tag_is(instance: dg.DagsterInstance, home: Path) -> None:
    assert read(home, utc_now()) == NEVER_RUN
    for job in ("poll_devices", "__ASSET_JOB"):
        run = instance.add_run(dg.DagsterRun(job_name=job, status=dg.DagsterRunStatus.STARTED))
        assert read(home, utc_now()) is None
        instance.delete_run(run.run_id)
        assert read(home, utc_now()) == NEVER_RUN


def test_only_dagster_knows_which_of_different_heartbeats_count(instance: dg.DagsterInstance, home: Path) -> None:
    now = utc_now() + timedelta(minutes=5)
    live(instance, now, SENSOR=timedelta(minutes=3))
    assert read(home, now) is None
    live(instance, now)
    assert read(home, now) is not None
    os.utime(home / "dagster.yaml", (now.timestamp(), now.timestamp()))  # changed after them
    assert read(home, now) is None


@pytest.mark.parametrize(
    "settings",
    [
        "storage:\n  postgres: {}\n",
        "run_coordinator: {}\n",
        '"storage": {}\n',
        "{storage: {}}\n",
        "local_artifact_storage: {}",
    ],
)
def test_other_storage_is_read_by_dagster(tmp_path: Path, settings: str) -> None:
    (tmp_path / "dagster.yaml").write_text("# comment\n\ntelemetry:\n  enabled: false\n")
    assert read(tmp_path, utc_now()) == NEVER_RUN
    (tmp_path / "dagster.yaml").write_text(settings)
    assert read(tmp_path, utc_now()) is None


@pytest.mark.parametrize("file", ["history/runs.db", "schedules/schedules.db"])
def test_another_schema_and_a_broken_file_are_read_by_dagster(
    instance: dg.DagsterInstance, home: Path, file: str
) -> None:
    assert instance.is_persistent
    with sqlite3.connect(home / file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'later'")
    connection.close()
    assert read(home, utc_now()) is None
    (home / file).unlink()
    assert read(home, utc_now()) is None
    (home / file).write_bytes(b"no database" * 1000)
    assert read(home, utc_now()) is None
