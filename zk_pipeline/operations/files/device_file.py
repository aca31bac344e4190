"""YAML file of `device apply`, validated completely before any change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from zk_pipeline.devices.addresses import check_fields
from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.errors import UsageError
from zk_pipeline.yaml_file import Flag, Text, WholeNumber, read_yaml


class DeclaredDevice(BaseModel):
    """One entry under `devices:`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    name: Text
    polled: Flag = True
    ip_address: Text | None = Field(None, alias="ip", validate_default=True)
    port: WholeNumber = 4370
    protocol: Protocol = "auto"
    timezone: str = ""
    site: str = ""
    enabled: Flag = True
    live: Flag = False
    trust_punch_states: Flag = False
    direction: str | None = None
    comm_key_env: str | None = None
    encoding: Text = "UTF-8"

    @field_validator("name", "ip_address", "port", "timezone", "site", "comm_key_env", "encoding", "direction")
    @classmethod
    def _check(cls, value: Any, info: Any) -> Any:
        if value in ("", None):
            if info.field_name == "ip_address" and info.data.get("polled", True):
                raise ValueError("name an address as `ip`; only a device with `polled: false` may have none")
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
    return parse_devices(entries, lambda *place: file.where("devices", *place))


def parse_devices(entries: Sequence[object], where: Callable[..., str]) -> list[Device]:
    """The declared devices. `where`: location of an entry (number) or of one of its fields (number, name).

    Raises UsageError naming the location, the entry, the field and the problem.
    """
    devices = [_device(entry, number, where) for number, entry in enumerate(entries)]
    names = [device.name for device in devices]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise UsageError(f"{where(number)}: device {name!r} is declared {names.count(name)} times")
    return devices


def _device(entry: object, number: int, where: Callable[..., str]) -> Device:
    try:
        declared = DeclaredDevice.model_validate(entry).model_dump()
        return Device(**declared | {"ip_address": declared["ip_address"] or ""})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "entry"
        name = entry.get("name") if isinstance(entry, dict) else None
        entry_name = f"device {name!r}" if name else f"device number {number + 1}"
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where(number, *first['loc'])}, {entry_name}: {field}: {reason}") from None
