"""The deployment of docs/embedding.md: its files, code locations, downstream asset and dbt project."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import jinja2
import pytest
import yaml
from dagster._core.remote_origin import InProcessCodeLocationOrigin, ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget, WorkspaceFileTarget
from dagster_dg_cli.cli import cli as dg_cli

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.requirements import unmet_requirements
from zk_pipeline.defs.partitions import DateRange
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.runs.launcher import Launcher
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.test_component import PROJECT
from zk_pipeline_tests.docs.pages import files_of, lines_of
from zk_pipeline_tests.gates import MONDAY, TUESDAY, WEDNESDAY

PAGE = "embedding.md"
HOURS = [("Head office", "1001", MONDAY.replace(day=1), 18.0), ("Head office", "1002", MONDAY.replace(day=1), 9.0)]
ATTENDANCE, OUTLIERS = dg.AssetKey(["hr", "daily_attendance"]), dg.AssetKey("attendance_outliers")


@dataclass(frozen=True)
class Deployment:
    """The instance of DAGSTER_HOME, which is the current directory."""

    instance: dg.DagsterInstance

    def locations(self, workspace: str) -> WorkspaceProcessContext:
        """Code locations of a workspace file, in this process."""
        origins = []
        for origin in WorkspaceFileTarget([workspace]).create_origins():
            assert isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin)
            target = origin.loadable_target_origin
            origins.append(InProcessCodeLocationOrigin(target, location_name=origin.location_name))
        return WorkspaceProcessContext(self.instance, InProcessWorkspaceLoadTarget(origins))


@pytest.fixture(scope="module")
def deployment(processed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The files of the page, and attendance days of two users, outliers by the work start."""
    root = tmp_path_factory.mktemp("srv")
    shutil.copytree(processed_home / "data", root / "attendance" / "data")
    project = {f"dagster/company/{name}": content for name, content in PROJECT.items()}
    for name, content in {**files_of(PAGE), **project}.items():
        folders = {".env": "attendance/.env", "defs.yaml": "dagster/company/src/company/defs/hr/defs.yaml"}
        file = root / folders.get(name, name if "/" in name else f"dagster/{name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.replace("/srv/", f"{root}/"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "dagster")
        patch.syspath_prepend(str(root / "dagster" / "company" / "src"))
        for name, value in {
            "ZK_PIPELINE_HOME": str(root / "attendance"),
            "DAGSTER_HOME": str(root / "dagster"),
            "WORK_START_TIME": "06:30",
            "HR_CRM_API_TOKEN": "token",
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }.items():
            patch.setenv(name, value)
        settings = load_settings()  # other hours than those of the days that were copied
        Store.at(settings.store).punches.rejudge(work_rules(settings), MONDAY, WEDNESDAY)
        with dg.DagsterInstance.get() as instance:
            result = Launcher(load_settings(), instance).process(DateRange(MONDAY, WEDNESDAY))
            assert result.failure is None
            yield Deployment(instance)


def test_the_code_locations_of_both_workspaces_load_and_the_assets_are_connected(deployment: Deployment) -> None:
    assert list(unmet_requirements(deployment.instance, load_settings())) == []
    for workspace, pipeline in (("workspace.yaml", "zk_pipeline"), ("workspace-company.yaml", "company")):
        with deployment.locations(workspace) as context:
            request = context.create_request_context()
            errors = {
                entry.origin.location_name: entry.load_error for entry in request.get_code_location_entries().values()
            }
            assert errors == {pipeline: None, "reports": None}
            graph = request.asset_graph
            assert OUTLIERS in graph.get(ATTENDANCE).child_keys
            assert graph.get(OUTLIERS).partitions_def == graph.get(ATTENDANCE).partitions_def


def test_the_downstream_asset_follows_the_processed_dates_and_reads_the_copy(deployment: Deployment) -> None:
    instance, command = deployment.instance, launch_command()
    both = dg.Definitions.merge(build_definitions(load_settings()), runpy.run_path("reports.py")["defs"])
    deployed = dg.evaluate_automation_conditions(both, instance)
    assert deployed.get_requested_partitions(OUTLIERS) == set(), "dates processed before need a backfill"
    assert Launcher(load_settings(), instance).process(DateRange(MONDAY, TUESDAY)).success
    ticked = dg.evaluate_automation_conditions(both, instance, cursor=deployed.cursor)
    assert ticked.get_requested_partitions(OUTLIERS) == {str(MONDAY), str(TUESDAY)}
    with pytest.raises(SystemExit, match="0"):
        dg_cli(command, standalone_mode=True)
    record = instance.fetch_materializations(OUTLIERS, limit=1).records[0]
    made = record.asset_materialization
    assert made is not None
    assert made.partition == str(MONDAY)
    assert {name: value.value for name, value in made.metadata.items()} == {"employees": 2, "outliers": 2}


def launch_command() -> list[str]:
    (line,) = [line for line in lines_of(PAGE) if line.startswith("dg launch")]
    return line.split()[1:]


@pytest.mark.usefixtures("deployment")
def test_the_dbt_model_is_a_query_on_the_attached_copy() -> None:
    """The model and the columns of the source without dbt, which `test_dbt_builds_the_project` needs."""
    (output,) = yaml.safe_load(Path("profiles.yml").read_text())["company"]["outputs"].values()
    (attached,) = output["attach"]
    assert attached.pop("read_only")
    (source,) = yaml.safe_load(Path("sources.yml").read_text())["sources"]
    (table,) = source["tables"]
    relation = f"{source['database']}.{source['schema']}.{table['name']}"
    assert source["database"] == attached["alias"]
    model = jinja2.Template(Path("monthly_hours.sql").read_text()).render(source=lambda *_: relation)
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{attached['path']}' AS {attached['alias']} (READ_ONLY)")
        assert connection.execute(f"{model} ORDER BY user_id").fetchall() == HOURS
        for column in table["columns"]:
            connection.execute(f"SELECT {column['name']} FROM {relation}")
    assert table["config"]["meta"]["dagster"]["asset_key"] == ATTENDANCE.path


@pytest.mark.stress  # not slow (5 s), but dbt is not among the dependencies: its pins would hold back those of mypy
@pytest.mark.usefixtures("deployment")
def test_dbt_builds_the_project() -> None:
    if shutil.which("dbt") is None:
        pytest.skip("no dbt on the PATH: install 'dbt-core<1.12' and dbt-duckdb in an environment of their own")
    Path("models").mkdir()
    for name in ("sources.yml", "monthly_hours.sql"):
        shutil.copy(name, "models")
    (line,) = [line for line in lines_of(PAGE) if line.startswith("dbt ")]
    environ = {**os.environ, "DO_NOT_TRACK": "1"}
    done = subprocess.run(line.split(), env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "PASS=2" in done.stdout
    with duckdb.connect("warehouse.duckdb", read_only=True) as connection:
        assert connection.execute("FROM monthly_hours ORDER BY user_id").fetchall() == HOURS
