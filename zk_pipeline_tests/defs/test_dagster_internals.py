"""Dagster's private names that the package uses, imported by one module only."""

from __future__ import annotations

import ast
import re
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.storage import sql
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon import controller
from dagster._daemon.daemon import SensorDaemon
from dagster._grpc import server_watcher
from dagster._grpc.client import DagsterGrpcClient
from sqlalchemy.engine import Engine

import zk_pipeline
from zk_pipeline.defs import dagster_internals
from zk_pipeline_tests.waiting import until

PACKAGE = Path(zk_pipeline.__file__).parent
GATEWAY = Path(dagster_internals.__file__)
PRIVATE_NAMES = {
    "_cli.api": {"grpc_command"},
    "_config": {"UserConfigSchema"},
    "_core.code_pointer": {"ModuleCodePointer"},
    "_core.definitions.data_version": {
        "CODE_VERSION_TAG",
        "DEFAULT_DATA_VERSION",
        "_OLD_DATA_VERSION_TAG",
        "extract_data_version_from_entry",
        "get_input_data_version_tag",
        "get_input_event_pointer_tag",
    },
    "_core.definitions.source_asset": {"SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION"},
    "_core.events": {"AssetMaterializationPlannedData"},
    "_core.instance": {"RUNLESS_RUN_ID"},
    "_core.launcher": {"CheckRunHealthResult", "WorkerStatus"},
    "_core.origin": {"DEFAULT_DAGSTER_ENTRY_POINT", "JobPythonOrigin", "RepositoryPythonOrigin"},
    "_core.remote_origin": {"RegisteredCodeLocationOrigin", "RemoteJobOrigin", "RemoteRepositoryOrigin"},
    "_core.scheduler.instigation": {"TickStatus"},
    "_core.storage": {"sql"},
    "_core.storage.asset_check_execution_record": {"AssetCheckExecutionRecord", "AssetCheckExecutionRecordStatus"},
    "_core.storage.event_log.sqlite": {"sqlite_event_log"},
    "_core.storage.runs.sqlite": {"sqlite_run_storage"},
    "_core.storage.schedules.sqlite": {"sqlite_schedule_storage"},
    "_core.storage.event_log.schema": {"AssetCheckExecutionsTable", "SqlEventLogStorageTable"},
    "_core.storage.event_log.sql_event_log": {"SqlEventLogStorage"},
    "_core.storage.sqlalchemy_compat": {"db_select"},
    "_core.storage.tags": {
        "ASSET_PARTITION_RANGE_END_TAG",
        "ASSET_PARTITION_RANGE_START_TAG",
        "BACKFILL_ID_TAG",
        "PARTITION_NAME_TAG",
        "SCHEDULE_NAME_TAG",
        "SENSOR_NAME_TAG",
        "WILL_RETRY_TAG",
    },
    "_daemon": {"controller"},
    "_daemon.cli": {"cli"},
    "_grpc": {"server", "server_watcher"},
    "_serdes": {"ConfigurableClassData"},
    "_utils.interrupts": {"setup_interrupt_handlers"},
}
USED_BY_GATEWAY = {  # function of the gateway → names
    "import_commands": {"cli", "grpc_command", "server"},
    "keep_storage_engines": {"sql", "sqlite_event_log", "sqlite_run_storage", "sqlite_schedule_storage"},
    "run_code_server": {"grpc_command", "server"},
    "run_daemon": {"cli"},
    "wait_for_ticks": {"controller"},
    "watch_code_server_rarely": {"server_watcher"},
}


@dg.job
def job_of_nothing() -> None:
    pass


@dataclass(frozen=True)
class _Ticks:
    begun: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)

    def evaluate(self, _: dg.SensorEvaluationContext) -> dg.SkipReason:
        self.begun.set()
        assert self.may_end.wait(30)
        return dg.SkipReason("nothing to do")


_ticks = _Ticks()
two_sensors = dg.Definitions(
    sensors=[
        dg.SensorDefinition(
            name=name,
            evaluation_fn=_ticks.evaluate,
            job=job_of_nothing,
            minimum_interval_seconds=3600,
            default_status=dg.DefaultSensorStatus.RUNNING,
        )
        for name in ("first", "second")
    ]
)


def test_one_module_imports_private_names_of_dagster() -> None:
    importing = {path for path in PACKAGE.rglob("*.py") if _private_imports(path)}
    assert importing == {GATEWAY}


def test_one_module_uses_the_webserver_of_dagster() -> None:
    """Started by another, it would have no `WebserverGuard`."""
    other = re.compile(r"(?<!zk_pipeline\.server\.)\bdagster_webserver\b")
    using = {path for path in PACKAGE.rglob("*.py") if other.search(path.read_text(encoding="utf-8"))}
    assert using == {PACKAGE / "server" / "dagster_webserver.py"}


def test_the_private_names_of_dagster_are_these() -> None:
    assert _private_imports(GATEWAY) == PRIVATE_NAMES


def test_each_private_name_is_used_and_has_no_public_equivalent() -> None:
    names = {name for names in PRIVATE_NAMES.values() for name in names}
    used = {
        alias.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == dagster_internals.__name__
        for alias in node.names
    }
    assert used == (names - {name for names in USED_BY_GATEWAY.values() for name in names}) | USED_BY_GATEWAY.keys()
    assert {name for name in names if hasattr(dg, name)} == set()


def test_the_storage_of_dagster_builds_engines_and_reads_migration_scripts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)):
        pass  # the creation reads scripts itself
    storages = (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage)
    built, read = Counter[str](), Counter[str]()

    def counted_engine(address: str, **options: Any) -> Engine:
        built[address] += 1
        return sqlalchemy.create_engine(address, **options)

    class Scripts:
        @staticmethod
        def from_config(config: Config) -> ScriptDirectory:
            read[str(config.config_file_name)] += 1
            return ScriptDirectory.from_config(config)

    monkeypatch.setattr(sql, "ScriptDirectory", Scripts)
    monkeypatch.setattr(sql, "create_engine", counted_engine)
    for module in storages:
        monkeypatch.setattr(module, "create_engine", None)  # restored afterwards
    for _ in range(2):
        dagster_internals.keep_storage_engines()
    for _ in range(3):
        with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
            run = instance.create_run_for_job(job_of_nothing)
            instance.report_engine_event("noted", run)
            assert instance.get_runs(limit=1) == [run]
            assert [one.message for one in instance.all_logs(run.run_id)] == ["noted"]
            assert instance.all_instigator_state() == []
    assert len(read) == 3
    assert len(built) == 2 + 3  # runs and schedules; a file of events for each run
    assert set(built.values()) | set(read.values()) == {1}


def test_a_code_server_is_asked_for_its_identity_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_watcher, "WATCH_INTERVAL", server_watcher.WATCH_INTERVAL)  # restored afterwards
    dagster_internals.watch_code_server_rarely()
    assert server_watcher.WATCH_INTERVAL == 10
    monkeypatch.setattr(server_watcher, "WATCH_INTERVAL", 0.001)
    asked: list[object] = []

    class Client(DagsterGrpcClient):
        def get_server_id(self, *_: object, **__: object) -> str:
            asked.append(None)
            return "same"

    client = Client(socket="unused")
    ignored: dict[str, Any] = dict.fromkeys(
        ("refresh_code_location", "on_disconnect", "on_reconnected", "on_updated", "on_error"), lambda *_: None
    )
    end, thread = server_watcher.create_grpc_watch_thread(
        "zk_pipeline", client, get_location_entry=lambda _: None, **ignored
    )
    thread.start()
    until(lambda: len(asked) > 2)  # the thread follows the constant
    end.set()
    thread.join()


def test_the_daemon_ends_after_ticks_that_it_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker: the second tick begins while the daemon ends."""
    monkeypatch.setattr(
        controller, "DagsterDaemonController", controller.DagsterDaemonController
    )  # restored afterwards
    dagster_internals.wait_for_ticks()
    shutdown = ThreadPoolExecutor.shutdown

    def noted_shutdown(executor: ThreadPoolExecutor, **options: Any) -> None:
        _ticks.may_end.set()
        shutdown(executor, **options)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", noted_shutdown)
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=__name__, attribute="two_sensors")
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        controller.daemon_controller_from_instance(
            instance,
            InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(target)),
            gen_daemons=lambda _: [SensorDaemon({"use_threads": True, "num_workers": 1})],
        ),
    ):
        assert _ticks.begun.wait(30)
        until(lambda: len(instance.all_instigator_state()) == 2)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        ticks = [
            (tick.status.value, tick.error)
            for state in instance.all_instigator_state()
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
        ]
    assert ticks == [("SKIPPED", None)] * 2


def _private_imports(path: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            modules = {node.module or "": {alias.name for alias in node.names}}
        elif isinstance(node, ast.Import):
            modules = {alias.name: {"*"} for alias in node.names}
        else:
            continue
        for module, names in modules.items():
            if module.startswith("dagster._"):
                found.setdefault(module.removeprefix("dagster."), set()).update(names)
    return found
