"""The component `zk_pipeline.AttendancePipeline`: its attributes, and `dg` in a scaffolded project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster.components.core.component_tree import ComponentTreeException
from dagster.components.testing.utils import DefsFolderSandbox, create_defs_folder_sandbox
from dagster_shared.serdes import serialize_value

import zk_pipeline
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import UsageError
from zk_pipeline.store.store import Store
from zk_pipeline_tests.defs.run_fixtures import tick
from zk_pipeline_tests.docs.pages import files_of, first_column, lines_of

pytestmark = [  # of Dagster's own code for components
    pytest.mark.filterwarnings(f"ignore:{beginning}")
    for beginning in (
        "Property `ScheduleDefinition.environment_vars`",
        "Parameter `owners`",
        "Parameter `execution_type`",
        "Parameter `include_sources`",
        "`parse_obj_as` is deprecated",
    )
]
NAME = "zk_pipeline.AttendancePipeline"
TOKEN = "4012_8888_1881"  # a number in Python
PROJECT = {
    "pyproject.toml": '[project]\nname = "company"\nversion = "1"\n[tool.dg]\ndirectory_type = "project"\n'
    '[tool.dg.project]\nroot_module = "company"\n',
    "src/company/__init__.py": "",
    "src/company/defs/__init__.py": "",
    "src/company/definitions.py": "from pathlib import Path\nimport dagster as dg\n@dg.definitions\ndef defs():\n"
    "    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)\n",
}
# All commands in one process: an import of dg costs more than each of them.
COMMANDS = """
import sys
from dagster_dg_cli.cli import cli
for command in sys.argv[1:]:
    print("$", command, flush=True)
    try:
        cli(command.split(), standalone_mode=False)
    except SystemExit as end:
        print("exit", end.code)
    sys.stdout.flush()
"""


@pytest.mark.matrix
def test_dg_lists_scaffolds_and_checks_the_component_in_a_project_as_documented(bare_home: Path) -> None:
    project = bare_home
    for name, content in PROJECT.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content)
    documented = [line.removeprefix("dg ") for line in lines_of("embedding.md") if line.startswith("dg ")]
    documented = [command for command in documented if not command.startswith("launch")]  # of another location
    assert {"check yaml", "check defs"} < set(documented)
    commands = ["list components --json", *documented, "list defs --json"]
    environ = {
        **os.environ,
        "PYTHONPATH": str(project / "src"),
        "DAGSTER_HOME": str(project),
        "DG_CLI_CONFIG": str(project / "dg.toml"),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *commands],
        cwd=project,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    printed = dict(part.split("\n", 1) for part in done.stdout.split("$ ")[1:])
    components = {one["key"]: one["summary"] for one in json.loads(printed[commands[0]])["items"]}
    assert components[NAME].startswith("Attendance pipeline: ")
    assert "All component YAML validated successfully." in printed["check yaml"]
    assert "All definitions loaded successfully." in printed["check defs"], done.stderr
    listed = json.loads("{" + printed["list defs --json"].partition("{")[2])  # a log line precedes it
    assert "BetaWarning" not in done.stderr
    assert {one["asset_key"] for one in listed["assets"]} == {
        "hr/devices", "hr/raw_punches", "hr/work_dates", "hr/daily_attendance", "hr/crm_sync"
    }  # fmt: skip
    names = {one["name"] for kind in ("jobs", "schedules", "sensors", "resources") for one in listed[kind]}
    assert {name for name in names if not name.startswith("hr_")} == set()
    assert not (project / ".zk_pipeline").exists(), "loading definitions writes nothing"


def test_the_documented_definitions_merge_with_others(bare_home: Path) -> None:
    bare_home.mkdir()
    content = files_of("embedding.md")["definitions.py"].replace("/srv/attendance", str(bare_home))
    names: dict[str, Any] = {"your_definitions": dg.Definitions(jobs=[dg.define_asset_job("yours", "hr/devices")])}
    exec(compile(content, "definitions.py", "exec"), names)
    jobs = {job.name for job in names["defs"].get_repository_def().get_all_jobs() if not job.name.startswith("__")}
    assert jobs > {"yours", "hr_poll_devices"}


@pytest.fixture
def sandbox() -> Iterator[DefsFolderSandbox]:
    with create_defs_folder_sandbox() as made:
        yield made


def scaffolded(sandbox: DefsFolderSandbox, **attributes: Any) -> Path:
    return sandbox.scaffold_component(
        zk_pipeline.AttendancePipeline,
        defs_path="hr",
        defs_yaml_contents={"type": NAME, "attributes": attributes},
    )


def test_attributes_configure_store_terminals_crm_schedules_and_automation(
    sandbox: DefsFolderSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HR_CRM_API_TOKEN", TOKEN)
    monkeypatch.setenv("CRM_CONCURRENCY", "3")  # of another pipeline in the same process
    (tmp_path / ".env").write_text("CRM_CONCURRENCY=5\nCRM_BATCH_SIZE=7\nZK_PIPELINE_KEY_PREFIX=hr/berlin\n")
    path = scaffolded(
        sandbox,
        key_prefix=["hr", "berlin"],
        group_name="people",
        home=str(tmp_path),
        database="company.duckdb",
        terminals=[{"name": "1_000", "ip": "192.0.2.10", "enabled": False}],
        crm={"url": "https://crm.example.com/", "token": "{{ env.HR_CRM_API_TOKEN }}"},
        settings={
            "ZK_PIPELINE_TIMEZONE": "Europe/Istanbul",
            "CRM_BATCH_SIZE": 9,
            "ALERT_URLS": "json://alerts.example.com/must-stay-secret",
        },
        schedules={"poll_devices": "*/5 * * * *", "daily_cleanup": False, "retry_failed_syncs": "off"},
        automation=False,
    )
    with sandbox.load_component_and_build_defs(defs_path=path) as (component, definitions):
        repository = definitions.get_repository_def()
        assert {spec.group_name for spec in definitions.resolve_all_asset_specs()} == {"people"}
        crons = {one.name: (one.cron_schedule, one.default_status.value) for one in repository.schedule_defs}
        assert crons == {
            "hr_berlin_poll_devices_schedule": ("*/5 * * * *", "STOPPED"),
            "hr_berlin_process_attendance_schedule": ("5 * * * *", "STOPPED"),
            "hr_berlin_sync_to_crm_schedule": ("*/30 * * * *", "STOPPED"),
        }
        resource: Any = (definitions.resources or {})["hr_berlin_crm"]
        used = resource.settings()
        assert (used.crm_concurrency, used.crm_batch_size, used.timezone) == (5, 9, "Europe/Istanbul")
        assert used.crm_api_url == "https://crm.example.com/"
        assert used.crm_api_token.get_secret_value() == TOKEN, "as written, also where it looks like a number"
        shown = f"{component!r}{serialize_value(RepositorySnap.from_def(repository))}"
        assert [secret for secret in (TOKEN, TOKEN.replace("_", ""), "must-stay-secret") if secret in shown] == []

        store = Store.at(tmp_path / "company.duckdb")
        store.devices.add(Device(name="Manual", ip_address="192.0.2.11"))
        with dg.DagsterInstance.ephemeral() as instance:
            for _ in range(2):
                tick(definitions, instance, "hr_berlin_device_registry_sensor")
                assert instance.get_dynamic_partitions("hr_berlin_devices") == ["1_000", "Manual"]
                declared = next(one for one in store.devices.all() if one.name == "1_000")
                assert (declared.enabled, declared.timezone) == (False, "Europe/Istanbul")
                store.devices.update("1_000", enabled=True)  # undone by the next tick


def test_the_documented_attributes_are_right(sandbox: DefsFolderSandbox) -> None:
    path = scaffolded(sandbox)
    (path / "defs.yaml").write_text(files_of("embedding.md")["defs.yaml"])
    with sandbox.load_component_and_build_defs(defs_path=path) as (_, definitions):
        assert {spec.group_name for spec in definitions.resolve_all_asset_specs()} == {"people"}
        documented = set(first_column("embedding.md", "As a component"))
        assert documented - {"`"} >= set(zk_pipeline.AttendancePipeline.model_fields)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"key_prefix": "h r"}, "ZK_PIPELINE_KEY_PREFIX='h r' (in FILE, attribute key_prefix): must be a name of"),
        ({"key_prefix": "it"}, "FILE, attribute key_prefix: 'it', but HOME/.env has ZK_PIPELINE_KEY_PREFIX='hr'"),
        ({"home": None}, "FILE, attribute home: missing; name a folder for the store"),
        ({"home": None, "database": "ducklake:postgres:host=x;data=/y"}, "FILE, attribute home: missing; a shared"),
        ({"database": "postgres://x"}, "ZK_PIPELINE_DATABASE='postgres://x' (in FILE, attribute database): must be"),
        ({"settings": {"CRM_CONCURRENCY": 0}}, "CRM_CONCURRENCY='0' (in FILE, attribute settings): input should"),
        ({"settings": {"CRM_CONCURENCY": 8}}, "FILE, attribute settings: CRM_CONCURENCY: unknown variable"),
        ({"settings": {"CRM_API_TOKEN": "x"}}, "FILE, attribute settings: CRM_API_TOKEN: use the attribute crm.token"),
        ({"settings": {"POLL_QUEUES": "*=all"}}, "POLL_QUEUES='*=all' (in FILE, attribute settings): works in a"),
        ({"terminals": [{"name": "Gate", "ip": "x y"}]}, "FILE, attribute terminals, device 'Gate': ip: "),
        ({"schedules": {"poll": "off"}}, "FILE, attribute schedules: no schedule of poll: jobs are poll_devices, "),
        ({"schedules": {"poll_devices": True}}, "FILE, attribute schedules: poll_devices: must be a cron expression"),
        ({"schedules": {"poll_devices": "daily"}}, "FILE, attribute schedules: Found invalid cron schedule 'daily'"),
    ],
)
def test_a_wrong_attribute_is_one_line_with_the_file_and_the_attribute(
    attributes: dict[str, Any], message: str, sandbox: DefsFolderSandbox, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ZK_PIPELINE_KEY_PREFIX=hr\n")
    path = scaffolded(sandbox, **{"home": str(tmp_path), **attributes})
    with pytest.raises(ComponentTreeException) as caught, sandbox.load_component_and_build_defs(defs_path=path):
        pass
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, UsageError):
        error = error.__cause__ or error.__context__
    assert error is not None, caught.value
    text = str(error).replace(str(path / "defs.yaml"), "FILE").replace(str(tmp_path), "HOME")
    assert text.startswith(message)
    assert "\n" not in text
