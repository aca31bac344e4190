"""Dagster component `zk_pipeline.AttendancePipeline`: one pipeline in a `dg` project."""

# No postponed annotations: Dagster inspects them.

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
from jinja2 import Environment, StrictUndefined
from pydantic import Field, SecretStr

from zk_pipeline.config.ducklake_address import PREFIX
from zk_pipeline.config.settings import VARIABLES, Settings, in_file, parse_settings, read_env_file
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.device_file import DeclaredDevice, parse_devices

_ATTRIBUTES = {
    "ZK_PIPELINE_KEY_PREFIX": "key_prefix",
    "ZK_PIPELINE_DATABASE": "database",
    "CRM_API_URL": "crm.url",
    "CRM_API_TOKEN": "crm.token",
}
_SCAFFOLD = """\
type: {type}

attributes:
  # Prefix of all asset keys, jobs, schedules, sensors and resources; another one later starts new assets.
  key_prefix: {name}

  # Folder of the store (data/attendance.duckdb) and of `.env` with further settings, on a local disk. Relative to the
  # project. Commands: ZK_PIPELINE_HOME=<this folder> ZK_PIPELINE_KEY_PREFIX={name} zk-pipeline status
  home: .zk_pipeline/{name}

  # Terminals, registered by the sensor {name}_device_registry_sensor; fields as of `zk-pipeline device apply`.
  terminals: []
  # terminals:
  #   - name: Main Office
  #     ip: 192.0.2.10
  #     timezone: Europe/Istanbul

  # Destination of the attendance days. Without it, they wait in the store.
  # crm:
  #   url: https://crm.example.com/api/attendance/
  #   token: "{{{{ env.{variable}_CRM_API_TOKEN }}}}"

  # Further settings, as in `.env`.
  # settings:
  #   WORK_START_TIME: "09:00"

  # Cron expression of a job, or off.
  # schedules:
  #   poll_devices: "*/5 * * * *"
  #   daily_cleanup: off

  # Whether schedules and sensors run as soon as they are deployed.
  automation: true
"""


# Templates without Dagster's conversion of the result, which makes numbers of texts such as "1e5" and "00042".
_TEMPLATES = Environment(undefined=StrictUndefined, finalize=lambda value: "" if value is None else value)  # noqa: S701


def _texts(context: dg.ResolutionContext, value: Any) -> Any:
    """A value of an attribute with the templates in its texts rendered, such as `{{ env.NAME }}`."""
    if isinstance(value, str):
        return _TEMPLATES.from_string(value).render(**context.scope)
    if isinstance(value, Mapping):
        return {key: _texts(context, one) for key, one in value.items()}
    return [_texts(context, one) for one in value] if isinstance(value, Sequence) else value


def _secret(context: dg.ResolutionContext, value: str | None) -> SecretStr | None:
    return None if value is None else SecretStr(_texts(context, value))


class Crm(dg.Model, dg.Resolvable):
    """The destination of attendance days."""

    url: str = Field(description="Address of the request for one record, or for a batch (CRM_API_URL)")
    token: Annotated[
        SecretStr | None,
        dg.Resolver(
            _secret,
            model_field_type=str | None,
            inject_before_resolve=False,
            description="Token, as {{ env.NAME }} (CRM_API_TOKEN)",
        ),
    ] = None


class AttendancePipelineScaffolder(dg.Scaffolder):
    """`dg scaffold defs zk_pipeline.AttendancePipeline NAME`: a `defs.yaml` with the key prefix NAME."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        name = re.sub(r"\W", "_", request.target_path.name, flags=re.ASCII)
        content = _SCAFFOLD.format(type=request.type_name, name=name, variable=name.upper())
        (request.target_path / "defs.yaml").write_text(content, encoding="utf-8")


@dg.scaffold_with(AttendancePipelineScaffolder)
class AttendancePipeline(dg.Component, dg.Model, dg.Resolvable):
    """Attendance pipeline: ZKTeco terminals, store, daily attendance, CRM.

    Settings come from the attributes, else from `.env` in `home`. Exported variables are no settings of a component,
    since several pipelines may share the process; `{{ env.NAME }}` reads one.
    """

    key_prefix: str | list[str] | None = Field(None, description="Prefix of asset keys, and of all other names")
    group_name: str | None = Field(
        None, description="One group for all assets; default: terminals, attendance and crm", pattern=r"^\w+(/\w+)*$"
    )
    home: str | None = Field(
        None, description="Folder of the store and .env, relative to the project; default: that of the database"
    )
    database: str | None = Field(
        None, description="DuckDB file, or address of a shared store; default: data/attendance.duckdb in the home"
    )
    terminals: Annotated[
        list[dict[str, Any]],
        dg.Resolver(
            _texts,
            inject_before_resolve=False,
            description="Devices that the sensor registers and keeps as declared; others stay unchanged",
            json_schema_extra={"items": DeclaredDevice.model_json_schema()},
        ),
    ] = Field([])
    crm: Crm | None = Field(None, description="Destination of attendance days")
    settings: Annotated[
        dict[str, str | int | float | bool],
        dg.Resolver(_texts, inject_before_resolve=False, description="Further settings by the name of their variable"),
    ] = Field({}, repr=False)
    schedules: dict[str, str | bool] = Field({}, description="Cron expression of a job, or off")
    automation: bool = Field(True, description="Whether schedules and sensors run by default")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        file = context.path / "defs.yaml" if context.path.is_dir() else context.path
        settings = self._settings(context.project_root, file)
        if settings.poll_rules is not None:
            raise UsageError(f"{file}: POLL_QUEUES works in a code location of its own only; unset it")
        declared = parse_devices(self.terminals, lambda *_: f"{file}, attribute terminals")
        devices = [replace(one, timezone=one.timezone or settings.timezone) for one in declared]
        try:
            return build_definitions(
                settings,
                group_name=self.group_name,
                schedule_crons={job: _cron(job, cron) for job, cron in self.schedules.items()},
                automation=self.automation,
                devices=devices,
            )
        except (UsageError, dg.DagsterInvalidDefinitionError) as error:
            raise UsageError(f"{file}, attribute schedules: {error}") from error

    def _settings(self, project: Path, file: Path) -> Settings:
        home = self._home(project, file)
        from_file = read_env_file(home / ".env")
        attributes = self._variables(file)

        def origin(variable: str) -> str:
            if variable not in attributes:
                return in_file(home)
            return f"in {file}, attribute {_ATTRIBUTES.get(variable, 'settings')}"

        settings = parse_settings(home, {**from_file, **attributes}, origin)
        prefix, of_commands = "/".join(settings.key_prefix), from_file.get("ZK_PIPELINE_KEY_PREFIX")
        if of_commands is not None and of_commands.strip() != prefix:
            raise UsageError(
                f"{file}, attribute key_prefix: {prefix!r}, but {home / '.env'} has "
                f"ZK_PIPELINE_KEY_PREFIX={of_commands!r}, which commands use"
            )
        return settings

    def _home(self, project: Path, file: Path) -> Path:
        if self.home is not None:
            return project / Path(self.home).expanduser()
        if self.database is None:
            raise UsageError(f"{file}, attribute home: missing; name a folder for the store, or its file as database")
        if self.database.startswith(PREFIX):
            raise UsageError(f"{file}, attribute home: missing; a shared store needs a folder for files of this host")
        return (project / Path(self.database).expanduser()).parent

    def _variables(self, file: Path) -> dict[str, str]:
        """Variable → value of the attributes."""
        for name in self.settings:
            if name not in VARIABLES or name in _ATTRIBUTES:
                advice = f"use the attribute {_ATTRIBUTES[name]}" if name in _ATTRIBUTES else "unknown variable"
                raise UsageError(f"{file}, attribute settings: {name}: {advice}")
        prefix = self.key_prefix if isinstance(self.key_prefix, str | None) else "/".join(self.key_prefix)
        database = self.database
        if database is not None and self.home is None:  # the home is its folder
            database = Path(database).name
        token = None if self.crm is None or self.crm.token is None else self.crm.token.get_secret_value()
        given: Mapping[str, Any] = {
            "ZK_PIPELINE_KEY_PREFIX": prefix,
            "ZK_PIPELINE_DATABASE": database,
            "CRM_API_URL": None if self.crm is None else self.crm.url,
            "CRM_API_TOKEN": token,
        }
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in {**self.settings, **given}.items()
            if value is not None
        }


def _cron(job: str, cron: str | bool) -> str | None:
    """`off` is false in YAML."""
    if cron is True:
        raise UsageError(f"{job}: must be a cron expression or off")
    return None if cron in (False, "off") else str(cron)
