"""Definition attributes of the assets, compared with a snapshot of what the UI shows."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.assets.asset_attributes import code_version
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.store.schema.catalog import TABLES

SNAPSHOT = {
    "devices": (["team:terminals"], {"layer": "registry"}, []),
    "raw_punches": (
        ["team:terminals"],
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
    "work_dates": (["team:attendance"], {"layer": "derived", "changes": "rebuildable"}, []),
    "daily_attendance": (
        ["team:attendance"],
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


def test_owners_tags_and_checks_are_these(bare_home: Path) -> None:
    found, repository = specs(bare_home)
    checks: dict[str, list[str]] = {}
    for key in repository.asset_graph.asset_check_keys:
        checks.setdefault(key.asset_key.to_user_string(), []).append(key.name)
    said = {
        name: (
            list(spec.owners),
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
    code_version.cache_clear()
    assert (code_version("versioned_before") == code_version("versioned_after")) is is_same


@pytest.mark.parametrize("package", ["zk_pipeline.attendance", "zk_pipeline.crm"])
def test_other_code_is_another_version(package: str) -> None:
    assert code_version(package) == code_version(package) != code_version("zk_pipeline.devices")
