"""Homes of earlier releases, made by `make_fixture`: one command upgrades them, and what they held stays."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.http.token_cache import TokenCache
from zk_pipeline.runs.instance import upgrade_instance
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.engine.ducklake import LakeEngine
from zk_pipeline.store.schema import migrations_runner
from zk_pipeline.store.schema.migrations_runner import copies_before_migration, newest_version
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.demo.dagster_ui import serving_ui
from zk_pipeline_tests.engines import lakes, with_password
from zk_pipeline_tests.store.store_fixtures import rows, store_at
from zk_pipeline_tests.upgrades.make_fixture import (
    CRM_TOKEN,
    DAYS,
    DELIVERIES,
    PUNCHES,
    automation,
    unpack,
    versions,
)
from zk_pipeline_tests.waiting import child

# The oldest; the others under `matrix`.
HOMES = [pytest.param(one, marks=() if one == versions()[0] else pytest.mark.matrix) for one in versions()]
SHARED = [pytest.param(one, marks=pytest.mark.matrix) for one in versions() if one < newest_version()]
OLDER_PROCESS = """
    import sys
    from pathlib import Path
    from zk_pipeline.runtime.home_users import registered
    with registered(Path(sys.argv[1]), int(sys.argv[2])):
        print("ready", flush=True)
        sys.stdin.readline()
"""


@dataclass(frozen=True)
class Earlier:
    """A home of an earlier release; `facts`: what it held."""

    place: Path
    version: int
    facts: dict[str, Any]

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def path(self) -> Path:
        return self.home / "data" / "attendance.duckdb"

    @property
    def store(self) -> Store:
        return store_at(self.path)

    def is_as_before(self, store: Store, name: str, sql: str) -> bool:
        assert _plain(rows(store, sql)) == self.facts[name]
        return True


@pytest.fixture
def earlier(
    request: pytest.FixtureRequest, tmp_path: Path, bare_home: Path, monkeypatch: pytest.MonkeyPatch
) -> Earlier:
    version: int = request.param
    unpack(version, tmp_path)
    assert (tmp_path / "home").samefile(bare_home)
    monkeypatch.setenv("DAGSTER_HOME", str(bare_home))
    return Earlier(tmp_path, version, json.loads((tmp_path / "facts.json").read_text()))


@pytest.fixture
def zk(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@pytest.mark.parametrize("earlier", HOMES, indirect=True)
def test_one_command_upgrades_a_home_of_an_earlier_release_and_nothing_is_delivered_twice(
    earlier: Earlier, zk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = zk("device", "list", "--json").json
    assert {one["name"] for one in listed} == {device for device, *_ in earlier.facts["punches"]}
    is_copied = [copy.stem for copy in copies_before_migration(earlier.path)]
    assert is_copied == [f"attendance.at-version-{earlier.version:04d}"] * (earlier.version < newest_version())
    token = TokenCache(earlier.store.api_tokens, time.monotonic).verify(earlier.facts["token"])
    assert token is not None
    assert token.name == "reader"
    assert [one["reason"] for one in zk("quarantine", "list", "--json").json] == ["impossible date"]
    assert_kept_and_delivered_once(earlier, earlier.store, zk, monkeypatch)


@pytest.mark.usefixtures("postgres")
@pytest.mark.parametrize("earlier", SHARED, indirect=True)
def test_one_command_upgrades_an_earlier_shared_store_once_no_older_process_uses_the_home(
    earlier: Earlier, zk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = shared_store(earlier)
    monkeypatch.setenv("ZK_PIPELINE_DATABASE", with_password(lake))
    with child(OLDER_PROCESS, earlier.home, str(earlier.version)) as older:
        assert older.hear() == "ready"
        for command in (["device", "list"], ["sync"], ["up"]):
            refused = zk(*command)
            assert refused.is_refusal()
            assert refused.err.count("\n") == 1
            assert f"end process {older.pid}, then try again" in refused.err
        assert Database(lake).needs_upgrade()
    listed = zk("device", "list", "--json").json
    assert {one["name"] for one in listed} == {device for device, *_ in earlier.facts["punches"]}
    assert not Database(lake).needs_upgrade()
    assert_kept_and_delivered_once(earlier, Store.at(lake), zk, monkeypatch)


def shared_store(earlier: Earlier) -> LakeAddress:
    """A shared store at the version of the home, with the rows of its file."""
    lake = lakes().fresh(earlier.place / "shared")
    known = tuple(one for one in migrations_runner.migrations() if one[0] <= earlier.version)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations_runner, "migrations", lambda: known)
        patch.setattr(migrations_runner, "_write_comments", lambda *_: None)  # they name tables of today
        with Database(lake).write("fill it") as connection:
            connection.execute(f"ATTACH '{earlier.path}' AS file (READ_ONLY)")
            tables = connection.execute(
                "SELECT table_name FROM duckdb_tables() "
                "WHERE database_name = 'file' AND table_name <> 'schema_migrations' AND estimated_size > 0"
            ).fetchall()
            for (table,) in tables:
                connection.execute(f"DELETE FROM {table}")  # rows of migrations
                connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM file.{table}")
    LakeEngine(lake).forget()
    return lake


def assert_kept_and_delivered_once(
    earlier: Earlier, store: Store, zk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows of the home are there, and a sync sends each revision once that was not delivered before."""

    assert earlier.is_as_before(store, "punches", PUNCHES)
    assert earlier.is_as_before(store, "days", DAYS)
    assert earlier.is_as_before(store, "deliveries", DELIVERIES)
    dates = sorted({day[2] for day in earlier.facts["days"]})
    assert zk("process", "--start-date", dates[0], "--end-date", dates[-1]).code == 0
    assert earlier.is_as_before(store, "days", DAYS)
    deliveries = {key: state for *_, key, state in earlier.facts["deliveries"]}
    with CrmReceiver(token=CRM_TOKEN, ledger_path=earlier.place / "crm.jsonl") as crm:
        monkeypatch.setenv("CRM_API_URL", crm.url)
        monkeypatch.setenv("CRM_API_TOKEN", CRM_TOKEN)
        assert zk("sync").code == 0
        assert crm.ledger.attempts == {key: 1 for key, state in deliveries.items() if state == "pending"}
        assert zk("sync", "--retry-failed").code == 0
        assert crm.ledger.attempts == {key: 1 for key, state in deliveries.items() if state != "delivered"}
        assert crm.ledger.anomalies == []
        for _, user, day, revision, *_ in earlier.facts["deliveries"]:
            assert crm.ledger.revisions(user, date.fromisoformat(day)) == [revision]
    assert store.deliveries.states() == {"delivered": len(deliveries)}


@pytest.mark.parametrize("earlier", HOMES, indirect=True)
def test_up_of_this_version_keeps_the_state_of_schedules_and_sensors(earlier: Earlier, tmp_path: Path) -> None:
    with serving_ui(earlier.home, ["up"], tmp_path / "up.log") as ui:
        now = automation(ui)
        ui.process.terminate()
        assert ui.process.wait(60) == 0
    before = earlier.facts["automation"]
    assert {name: now[name] for name in before} == before
    assert earlier.is_as_before(earlier.store, "punches", PUNCHES)


def test_an_instance_of_an_older_dagster_is_migrated(empty_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(empty_home, tmp_path / "home"))
    database = home / "schedules" / "schedules.db"
    with dg.DagsterInstance.from_config(str(home)) as instance:
        storage = instance.schedule_storage
        assert storage is not None
        revisions = storage.alembic_version()
        assert revisions is not None
        head = revisions[1]
        engine = sqlalchemy.create_engine(f"sqlite:///{database}")
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("DROP TABLE asset_daemon_asset_evaluations"))
            connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '701913684cb4'"))
        assert storage.alembic_version() == ("701913684cb4", head)
        upgrade_instance(instance)
        assert storage.alembic_version() == (head, head)
        with engine.begin() as connection:
            assert sqlalchemy.inspect(connection).has_table("asset_daemon_asset_evaluations")
        engine.dispose()


def _plain(found: list[tuple[Any, ...]]) -> Any:
    return json.loads(json.dumps(found))
