"""The YAML file of `device apply`: read whole and checked whole before anything is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from zk_pipeline.devices.addresses import check_encoding, check_host, check_name, check_port, check_timezone
from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.errors import UsageError


class DeclaredDevice(BaseModel):
    """One entry under `devices:`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: str
    ip_address: str = Field(alias="ip")
    port: int = 4370
    protocol: Protocol = "auto"
    timezone: str = ""
    site: str = ""
    enabled: bool = True
    live: bool = False
    trust_punch_states: bool = False
    comm_key_env: str | None = None
    encoding: str = "UTF-8"

    @field_validator("name", "ip_address", "port", "timezone", "site", "encoding")
    @classmethod
    def _check(cls, value: Any, info: Any) -> Any:
        checks = {
            "name": check_name,
            "ip_address": check_host,
            "port": check_port,
            "timezone": check_timezone,
            "site": check_name,
            "encoding": check_encoding,
        }
        if value == "" and info.field_name in {"timezone", "site"}:
            return value  # not given
        try:
            return checks[info.field_name](value)
        except UsageError as error:
            raise ValueError(str(error)) from None


def read_device_file(path: Path) -> list[Device]:
    """The declared devices; `timezone` is empty where none is given.

    Raises UsageError naming the file, the entry, the field and what is wrong with it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    entries = content.get("devices") if isinstance(content, dict) else None
    if not isinstance(entries, list) or set(content) != {"devices"}:
        raise UsageError(f"{path}: must be a mapping with the one key `devices`, a list")
    devices = [_entry(path, number, entry) for number, entry in enumerate(entries, start=1)]
    names = [device.name for device in devices]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{path}: device {name!r} is declared {names.count(name)} times")
    return devices


def _entry(path: Path, number: int, entry: object) -> Device:
    try:
        return Device(**DeclaredDevice.model_validate(entry).model_dump())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "entry"
        name = entry.get("name") if isinstance(entry, dict) else None
        who = f"{name!r}" if name else f"number {number}"
        raise UsageError(f"{path}, device {who}: {field}: {first['msg'].removeprefix('Value error, ')}") from None
