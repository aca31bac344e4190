"""Definition attributes of the assets, compared with a snapshot of what the UI shows."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import dagster as dg
import pytest

import zk_pipeline
from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.assets.asset_attributes import CODE, code_version, sources
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.store.schema.catalog import TABLES

PACKAGE = Path(zk_pipeline.__file__).parent
SNAPSHOT = {
    "devices": (["team:terminals"], {"duckdb", "python"}, {"layer": "registry"}, []),
    "raw_punches": (
        ["team:terminals"],
        {"duckdb", "python"},
        {"layer": "raw", "contains": "personal_data", "changes": "append_only"},
        [
            "clock_drift_within_limit",
            "every_record_accounted_for",
            "log_capacity_available",
            "punches_from_enrolled_users",
            "punches_unique",
            "quarantine_is_not_growing",
            "terminals_read_in_time",
            "user_id_unique_per_site",
        ],
    ),
    "work_dates": (["team:attendance"], {"duckdb", "python"}, {"layer": "derived", "changes": "rebuildable"}, []),
    "daily_attendance": (
        ["team:attendance"],
        {"duckdb", "pandas"},
        {"layer": "derived", "contains": "personal_data", "changes": "rebuildable"},
        [
            "attendance_rows_consistent",
            "dates_processed_in_time",
            "every_work_date_has_a_partition",
            "no_revision_churn",
            "outliers_are_as_usual",
            "work_days_have_punches",
        ],
    ),
    "crm_sync": (
        ["team:crm"],
        {"duckdb", "python"},
        {"layer": "delivered", "contains": "personal_data", "changes": "outbox"},
        [
            "days_delivered_in_time",
            "no_dead_letters",
            "no_overdue_deliveries",
            "one_site_per_user_and_date",
            "user_id_unique_across_sites",
        ],
    ),
}


def specs(home: Path, **more: str) -> tuple[dict[str, dg.AssetSpec], dg.RepositoryDefinition]:
    repository = build_definitions(load_settings({"ZK_PIPELINE_HOME": str(home), **more})).get_repository_def()
    found = [spec for asset in repository.assets_defs_by_key.values() for spec in asset.specs]
    return {spec.key.to_user_string(): spec for spec in found}, repository


def test_owners_kinds_tags_and_checks_are_these(bare_home: Path) -> None:
    found, repository = specs(bare_home)
    checks: dict[str, list[str]] = {}
    for key in repository.asset_graph.asset_check_keys:
        checks.setdefault(key.asset_key.to_user_string(), []).append(key.name)
    said = {
        name: (
            list(spec.owners),
            spec.kinds,
            {tag: value for tag, value in spec.tags.items() if "/" not in tag},
            sorted(set(checks.get(name, [])) - {"schema_matches_migrations"}),
        )
        for name, spec in found.items()
    }
    assert said == SNAPSHOT
    assert "schema_matches_migrations" in checks["devices"]


def test_a_field_of_the_crm_comes_from_the_day_and_that_from_the_punch(bare_home: Path) -> None:
    found, _ = specs(bare_home)

    def sources(asset: str, column: str) -> list[tuple[str, str]]:
        lineage = found[asset].metadata["dagster/column_lineage"].value.deps_by_column
        return [(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage[column]]

    assert sources("crm_sync", "request.clock_in")[0] == ("daily_attendance", "clock_in")
    assert sources("daily_attendance", "clock_in") == [("raw_punches", "punched_at")]


def test_every_column_of_the_lineage_exists(bare_home: Path) -> None:
    found, _ = specs(bare_home)
    for name, spec in found.items():
        lineage = spec.metadata.get("dagster/column_lineage")
        columns = {column.name for column in spec.metadata["dagster/column_schema"].schema.columns}
        for column, deps in ({} if lineage is None else lineage.value.deps_by_column).items():
            assert column in columns, name
            for dep in deps:
                assert dep.column_name in TABLES[dep.asset_key.to_user_string()][1]


def test_code_references_are_lines_that_exist(bare_home: Path) -> None:
    for spec in specs(bare_home)[0].values():
        for one in spec.metadata["dagster/code_references"].code_references:
            text = Path(one.file_path).read_text().splitlines()
            assert any(f"def {one.label}" in line for line in text[one.line_number - 1 : one.line_number + 6])


def test_links_are_there_where_their_address_is_known(bare_home: Path) -> None:
    assert "admin_page" not in specs(bare_home)[0]["crm_sync"].metadata
    linked = specs(bare_home, ZK_PIPELINE_ADMIN_URL="https://a.example/", ZK_PIPELINE_DOCS_URL="https://d.example")[0]
    metadata = linked["daily_attendance"].metadata
    assert metadata["admin_page"].value == "https://a.example/attendance"
    assert metadata["docs"].value == "https://d.example/attendance.md"


@pytest.mark.parametrize(
    ("code", "is_same"),
    [
        ("def f(x):\n    return x + 1\n", True),
        ('"""A module."""\ndef f(x):  # adds\n\n    """Add one."""\n    return (x\n        + 1)\n', True),
        ("def f(x):\n    return x + 2\n", False),
        ("def f(x):\n    return x - 1\n", False),
        ("def f(y):\n    return y + 1\n", False),
        ("def f(x, y=None):\n    return x + 1\n", False),
        ("def f(x):\n    return 'x' + 1\n", False),
    ],
)
def test_comments_docstrings_and_formatting_are_no_other_version(
    code: str, is_same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in (("versioned_before", "def f(x):\n    return x + 1\n"), ("versioned_after", code)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert (code_version("versioned_before") == code_version("versioned_after")) is is_same


@pytest.mark.parametrize("package", ["zk_pipeline.attendance", "zk_pipeline.crm"])
def test_other_code_is_another_version(package: str) -> None:
    assert code_version(package) == code_version(package) != code_version("zk_pipeline.devices")


# Imported by the code of an asset, without deciding its rows: the store's own machinery, and by asset the code of other
# tables that the same transaction writes, and of retention.
MACHINERY = (
    *("config", "counted", "data_libraries", "errors", "runtime", "time_text", "yaml_file"),
    *(
        "store.apply_result",
        "store.engine",
        "store.errors",
        "store.locks",
        "store.queries",
        "store.schema",
        "store.store",
    ),
)
OTHER_ROWS = {
    "devices": ("attendance", "store.deliveries.earlier_deliveries", "store.work_dates"),
    "raw_punches": (
        "attendance.names",
        "attendance.rules",
        "store.deliveries.earlier_deliveries",
        "store.work_dates",
    ),
    "work_dates": (
        "attendance",
        "store.deliveries.earlier_deliveries",
        "store.deliveries.idempotency_keys",
        "store.terminals",
    ),
    "daily_attendance": (
        "store.deliveries.earlier_deliveries",
        "store.deliveries.idempotency_keys",
        "store.enrolled_users",
        "store.quality.integrity",
        "store.terminals.lost_punches",
    ),
    "crm_sync": ("operations.crm_pause", "operations.work_dates", "store.work_dates.staleness"),
}
# Statements that change rows without a run: repairs by `doctor`, and copies of the store.
BY_COMMAND = ("store.maintenance", "store.quality")


def is_within(module: str, *packages: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in packages)


def module_name(source: Path) -> str:
    return ".".join(source.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("asset", CODE)
def test_what_the_code_of_an_asset_imports_belongs_to_its_version_unless_it_decides_no_rows(asset: str) -> None:
    others = [f"zk_pipeline.{name}" for name in (*MACHINERY, *OTHER_ROWS[asset])]
    modules = [source for name in CODE[asset] for source in sources(name)]
    missing = {(module_name(source), name) for source in modules for name in imported(source)}
    missing = {(source, name) for source, name in missing if not is_within(name, *CODE[asset], *others)}
    assert missing == set(), "add the second ones to CODE, or to OTHER_ROWS"


@pytest.mark.parametrize("asset", CODE)
def test_every_module_that_writes_rows_of_an_asset_belongs_to_its_version(asset: str) -> None:
    table = "crm_deliveries" if asset == "crm_sync" else asset
    statement = re.compile(rf"(?:INSERT INTO|UPDATE|DELETE FROM|MERGE INTO) {table}\b")
    writers = [module_name(source) for source in sources("zk_pipeline.store") if statement.search(source.read_text())]
    assert writers
    by_command = [f"zk_pipeline.{name}" for name in BY_COMMAND]
    assert [name for name in writers if not is_within(name, *CODE[asset], *by_command)] == []


def imported(source: Path) -> set[str]:
    """Modules of the package that a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("zk_pipeline"):
            names = {
                alias.name: PACKAGE.parent / str(node.module).replace(".", "/") / alias.name for alias in node.names
            }
            is_module = {name: path.is_dir() or path.with_suffix(".py").is_file() for name, path in names.items()}
            found |= {f"{node.module}.{name}" if is_module[name] else str(node.module) for name in names}
    return found
