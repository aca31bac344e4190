"""Answers that configure a pushing terminal: option block, registration, configuration, clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from zk_pipeline.devices.push.families import Family

TimeZoneForm = Literal["hours", "minutes", "offset"]


def option_block(
    serial: str,
    family: Family,
    *,
    stamps: Mapping[str, str],
    zone: str,
    at: datetime,
    timezone_form: TimeZoneForm | None = None,
    poll_seconds: int = 10,
) -> str:
    """Answer to the hello of families A and B. `stamps`: by canonical table. `at`: aware, now."""
    raise NotImplementedError


def registered_block(serial: str, secret: bytes, *, poll_seconds: int = 10) -> str:
    """Answer to the hello of a registered terminal of family C."""
    raise NotImplementedError


def registry_answer(serial: str, secret: bytes) -> str:
    """Answer to the registration of family C: `RegistryCode=`, without a line end."""
    raise NotImplementedError


def push_configuration(serial: str, secret: bytes, *, poll_seconds: int = 10) -> str:
    """Answer to `/iclock/push` of family C."""
    raise NotImplementedError


def time_answer(endpoint: str, *, zone: str, at: datetime) -> str:
    """Answer to a request for the time. `endpoint`: "rtdata" (family C) or "cdata" (family B). `at`: aware."""
    raise NotImplementedError


def encode_zk_seconds(local: datetime) -> int:
    """The terminals' encoding of a wall-clock time, with 31 days in each month."""
    raise NotImplementedError


def decode_zk_seconds(seconds: int) -> datetime | None:
    """The naive wall-clock time, None for an impossible date."""
    raise NotImplementedError


def utc_offset(zone: str, at: datetime) -> timedelta:
    """UTC offset of an IANA zone at an aware instant."""
    raise NotImplementedError


def next_offset_change(zone: str, at: datetime, *, within_hours: int) -> datetime | None:
    """First instant (UTC) after `at` with another UTC offset in `zone`; None if there is none within the hours."""
    raise NotImplementedError
