"""Definition attributes of the assets: owners, kinds, tags, code version, column schema, column lineage, links and code
references. Descriptions of columns come from the store's catalog.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.assets.admin_links import AdminLinks
from zk_pipeline.defs.metadata import table_schema
from zk_pipeline.defs.names import Names
from zk_pipeline.operations.alerting.problems import OWNER_OF_ASSET

# Packages and modules that decide the rows of an asset: a change of their code is a new code version.
CODE = {
    "devices": (
        "zk_pipeline.devices",
        "zk_pipeline.store.push.terminals",
        "zk_pipeline.store.push.uploads",
        "zk_pipeline.store.terminals",
    ),
    "raw_punches": (
        "zk_pipeline.attendance.clock_errors",
        "zk_pipeline.attendance.zones",
        "zk_pipeline.devices",
        "zk_pipeline.operations.poll",
        "zk_pipeline.store.push.uploads",
        "zk_pipeline.store.terminals",
        "zk_pipeline.store.work_dates.sequence",
    ),
    "work_dates": ("zk_pipeline.store.days.revisions", "zk_pipeline.store.work_dates"),
    "daily_attendance": (
        "zk_pipeline.attendance",
        "zk_pipeline.operations.process",
        "zk_pipeline.operations.work_dates",
        "zk_pipeline.store.days",
        "zk_pipeline.store.terminals.namesakes",
        "zk_pipeline.store.work_dates",
    ),
    "crm_sync": (
        "zk_pipeline.crm",
        "zk_pipeline.operations.sync",
        "zk_pipeline.store.days.revisions",
        "zk_pipeline.store.deliveries",
    ),
}
# What computes the rows, in addition to the engine of the store.
_COMPUTE = {"devices": "python", "raw_punches": "python", "work_dates": "python", "daily_attendance": "pandas",
            "crm_sync": "python"}  # fmt: skip
_TABLES = {"devices": "devices", "raw_punches": "raw_punches", "work_dates": "work_dates",
           "daily_attendance": "daily_attendance", "crm_sync": "crm_deliveries"}  # fmt: skip
_DOCS = {"devices": "terminals.md", "raw_punches": "terminals.md", "work_dates": "backfills.md",
         "daily_attendance": "attendance.md", "crm_sync": "crm.md"}  # fmt: skip
_TAGS = {
    "devices": {"layer": "registry"},
    "raw_punches": {"layer": "raw", "contains": "personal_data", "changes": "append_only"},
    "work_dates": {"layer": "derived", "changes": "rebuildable"},
    "daily_attendance": {"layer": "derived", "contains": "personal_data", "changes": "rebuildable"},
    "crm_sync": {"layer": "delivered", "contains": "personal_data", "changes": "outbox"},
}

# Fields of the CRM request for an attendance day. The store has the revision, from which a request is built.
CRM_FIELDS = {
    "request.user_id": ("string", "The user id", ["user_id"]),
    "request.date": ("date", "The work date", ["work_date"]),
    "request.clock_in": ("instant with offset", "First punch of the work date", ["clock_in", "timezone"]),
    "request.clock_out": ("instant with offset", "Last punch; null for a single punch", ["clock_out", "timezone"]),
    "request.is_outlier": ("boolean", "Whether an outlier rule applies", ["is_outlier"]),
    "request.outlier_reason": ("string", "Outlier reason as a sentence", ["outlier_reason"]),
    "request.device_name": ("string", "Device of the clock-in", ["device"]),
    "request.device_ip": ("string", "IP address of that device when the revision was written", []),
    "request.revision": ("integer", "Revision of the attendance day", ["revision"]),
}

_PUNCH_TIMES = ["raw_punches.punched_at"]
_LINEAGE: dict[str, dict[str, list[str]]] = {
    "raw_punches": {"device": ["devices.name"], "punched_at": ["devices.timezone"]},
    "work_dates": {"work_date": ["raw_punches.punched_at_local"], "latest_punch_seq": ["raw_punches.seq"]},
    "daily_attendance": {
        "site": ["devices.site"],
        "device": ["raw_punches.device"],
        "user_id": ["raw_punches.user_id"],
        "work_date": ["raw_punches.punched_at_local"],
        "clock_in": _PUNCH_TIMES,
        "clock_out": _PUNCH_TIMES,
        "clock_in_local": ["raw_punches.punched_at_local"],
        "clock_out_local": ["raw_punches.punched_at_local"],
        "timezone": ["devices.timezone"],
        "punch_count": _PUNCH_TIMES,
        "worked_minutes": _PUNCH_TIMES,
        "is_incomplete": _PUNCH_TIMES,
        "is_outlier": ["raw_punches.punched_at_local"],
        "outlier_codes": ["raw_punches.punched_at_local"],
        "outlier_reason": ["raw_punches.punched_at_local"],
    },
    "crm_sync": {
        **{name: [f"daily_attendance.{name}"] for name in ("site", "user_id", "work_date", "revision")},
        "device_ip": ["devices.ip_address"],
        "idempotency_key": [
            f"daily_attendance.{name}" for name in ("site", "user_id", "work_date", "revision", "payload_hash")
        ],
        **{field: [f"daily_attendance.{name}" for name in names] for field, (_, _, names) in CRM_FIELDS.items()},
        "request.device_ip": ["devices.ip_address"],
    },
}


class AssetAttributes(TypedDict):
    """Arguments of `dg.asset`."""

    owners: list[str]
    kinds: set[str]
    tags: Mapping[str, str]
    code_version: str
    metadata: Mapping[str, Any]


def asset_attributes(asset: str, settings: Settings, *made_in: Callable[..., Any]) -> AssetAttributes:
    """Arguments of `dg.asset` for one of the assets. `made_in`: functions for the code references in the UI."""
    engine = "duckdb" if isinstance(settings.store, Path) else "ducklake"
    metadata: dict[str, Any] = {
        **_columns(asset),
        "dagster/table_name": _TABLES[asset],
        "dagster/storage_kind": engine,
        "dagster/code_references": dg.CodeReferencesMetadataValue(
            code_references=[_reference(function) for function in made_in]
        ),
        **_links(asset, settings),
    }
    if asset in _LINEAGE:
        metadata["dagster/column_lineage"] = dg.MetadataValue.column_lineage(
            _lineage(_LINEAGE[asset], Names(settings.key_prefix))
        )
    return {
        "owners": [f"team:{OWNER_OF_ASSET[asset]}"],
        "kinds": {_COMPUTE[asset], engine},
        "tags": _TAGS[asset],
        "code_version": code_version(*CODE[asset]),
        "metadata": metadata,
    }


def code_version(*names: str) -> str:
    """Short hash of the code of the packages, with their sub-packages, and modules, without comments, docstrings and
    formatting. It is the same for the same code on any machine.
    """
    digests = [_digest(source) for name in names for source in sources(name)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:10]


def sources(name: str) -> list[Path]:
    """Files of a package, with its sub-packages, or of a module, in the order of their names."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return sorted(Path(spec.origin).parent.rglob("*.py")) if spec.submodule_search_locations else [Path(spec.origin)]


@cache
def _digest(source: Path) -> str:
    parts: list[str] = []
    _add_code(ast.parse(source.read_bytes()), parts)
    return hashlib.sha256("".join(f"{part}\n" for part in parts).encode()).hexdigest()


def _add_code(node: ast.AST, parts: list[str]) -> None:
    """Append node types, fields and values of a syntax tree. `ast.dump` differs between Python versions."""
    parts.append(type(node).__name__)
    for name, field in ast.iter_fields(node):
        for value in field if isinstance(field, list) else [field]:
            if isinstance(value, ast.AST):
                if not _is_docstring(value):
                    parts.append(name)
                    _add_code(value, parts)
            elif value is not None:
                parts.append(f"{name} {value!r}")


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _columns(asset: str) -> Mapping[str, Any]:
    schema = table_schema(_TABLES[asset])
    if asset != "crm_sync":
        return schema
    (table,) = schema.values()
    fields = [dg.TableColumn(name, kind, f"In the request: {text}") for name, (kind, text, _) in CRM_FIELDS.items()]
    columns = dg.TableSchema(columns=[*table.schema.columns, *fields])
    return {"dagster/column_schema": dg.MetadataValue.table_schema(columns)}


def _lineage(sources: Mapping[str, list[str]], names: Names) -> dg.TableColumnLineage:
    deps = {
        column: [dg.TableColumnDep(names.asset(asset), name) for asset, name in (one.split(".") for one in columns)]
        for column, columns in sources.items()
    }
    return dg.TableColumnLineage(deps)


def _reference(function: Callable[..., Any]) -> dg.LocalFileCodeReference:
    source = inspect.getsourcefile(function)
    assert source is not None
    line = inspect.unwrap(function).__code__.co_firstlineno
    return dg.LocalFileCodeReference(file_path=source, line_number=line, label=function.__name__)


def _links(asset: str, settings: Settings) -> dict[str, dg.MetadataValue]:
    docs = {"docs": dg.MetadataValue.url(f"{settings.docs_url}/{_DOCS[asset]}")} if settings.docs_url else {}
    return {**AdminLinks(settings.admin_url).asset(asset), **docs}
