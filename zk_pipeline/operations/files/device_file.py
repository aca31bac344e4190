"""YAML file of `device apply`, validated completely before any change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from zk_pipeline.devices.addresses import check_fields
from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.errors import UsageError
from zk_pipeline.yaml_file import Flag, Text, WholeNumber, YamlFile, read_yaml


class DeclaredDevice(BaseModel):
    """One entry under `devices:`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: Text
    ip_address: Text = Field(alias="ip")
    port: WholeNumber = 4370
    protocol: Protocol = "auto"
    timezone: str = ""
    site: str = ""
    enabled: Flag = True
    live: Flag = False
    trust_punch_states: Flag = False
    comm_key_env: str | None = None
    encoding: Text = "UTF-8"

    @field_validator("name", "ip_address", "port", "timezone", "site", "comm_key_env", "encoding")
    @classmethod
    def _check(cls, value: Any, info: Any) -> Any:
        if value in ("", None):
            return value or cls.model_fields[info.field_name].default  # not given
        try:
            return check_fields({info.field_name: value})[info.field_name]
        except UsageError as error:
            raise ValueError(str(error)) from None


def read_device_file(path: Path) -> list[Device]:
    """The declared devices; `timezone` is empty if not given.

    Raises UsageError naming the file, the line, the entry, the field and the problem.
    """
    file = read_yaml(path)
    content = file.content
    entries = content.get("devices") if isinstance(content, dict) else None
    if not isinstance(entries, list) or set(content) != {"devices"}:
        raise UsageError(f"{path}: must be a mapping with the one key `devices`, a list")
    devices = [_entry(file, number, entry) for number, entry in enumerate(entries)]
    names = [device.name for device in devices]
    for number, name in enumerate(names):
        if name in names[:number]:
            where = file.where("devices", number)
            raise UsageError(f"{where}: device {name!r} is declared {names.count(name)} times")
    return devices


def _entry(file: YamlFile, number: int, entry: object) -> Device:
    try:
        return Device(**DeclaredDevice.model_validate(entry).model_dump())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "entry"
        name = entry.get("name") if isinstance(entry, dict) else None
        entry_name = f"device {name!r}" if name else f"device number {number + 1}"
        where = file.where("devices", number, *first["loc"])
        raise UsageError(f"{where}, {entry_name}: {field}: {first['msg'].removeprefix('Value error, ')}") from None
