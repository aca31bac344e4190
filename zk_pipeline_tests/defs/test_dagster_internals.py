"""Dagster's private names that the package uses, imported by one module only."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage import sql
from dagster._grpc import server_watcher
from dagster._grpc.client import DagsterGrpcClient

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
    "_daemon.cli": {"cli"},
    "_grpc": {"server", "server_watcher"},
    "_serdes": {"ConfigurableClassData"},
    "_utils.interrupts": {"setup_interrupt_handlers"},
}
USED_BY_GATEWAY = {  # function of the gateway → names
    "run_code_server": {"grpc_command", "server", "sql"},
    "run_daemon": {"cli"},
    "watch_code_server_rarely": {"server_watcher"},
}


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


def test_the_storage_of_dagster_reads_its_migration_scripts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)):
        pass  # the creation reads them, too
    monkeypatch.setattr(sql, "ScriptDirectory", ScriptDirectory)  # restored afterwards
    read: list[str] = []
    from_config = ScriptDirectory.from_config

    def counted(config: Config) -> ScriptDirectory:
        read.append(str(config.config_file_name))
        return from_config(config)

    monkeypatch.setattr(ScriptDirectory, "from_config", counted)
    dagster_internals.read_migration_scripts_once()
    for _ in range(3):
        with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
            assert instance.get_runs() == []
            assert instance.all_instigator_state() == []
    assert read
    assert len(read) == len(set(read))


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
