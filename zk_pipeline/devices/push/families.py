"""Protocol family of a pushing terminal, recognized by its requests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from zk_pipeline.devices.push.requests import PushRequest

Family = Literal["A", "B", "C"]
Observation = Literal["access_device_type", "registration", "access_table", "clock_request", "iso_stamp"]


def observe(request: PushRequest) -> frozenset[Observation]:
    """Facts in one request that distinguish the families; empty for most requests."""
    raise NotImplementedError


def family_of(observations: Collection[Observation], *, known: Family | None = None) -> Family:
    """The family that the observations of a terminal prove, else the known one, else A."""
    raise NotImplementedError
