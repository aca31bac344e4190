"""Dagster's private names that the package uses, imported by one module only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import zk_pipeline
from zk_pipeline.defs import dagster_internals

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
    "_grpc": {"server"},
    "_serdes": {"ConfigurableClassData"},
    "_utils.interrupts": {"setup_interrupt_handlers"},
}
USED_BY_GATEWAY = {"run_code_server": {"grpc_command", "server"}}  # function of the gateway → names


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
    import dagster

    names = {name for names in PRIVATE_NAMES.values() for name in names}
    used = {
        alias.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == dagster_internals.__name__
        for alias in node.names
    }
    assert used == (names - {name for names in USED_BY_GATEWAY.values() for name in names}) | USED_BY_GATEWAY.keys()
    assert {name for name in names if hasattr(dagster, name)} == set()


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
