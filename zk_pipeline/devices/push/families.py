"""Protocol family of a pushing terminal, recognized by its requests.

A: attendance push 2.x; B: the maker's "PUSH SDK" 3.x of its US line (ISO times, requests for the time); C: security
push 3.x of access control (registration, real-time events, table data). `pushver` does not distinguish them:
attendance terminals send values of 2.x and 3.x.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

from zk_pipeline.devices.push.requests import PushRequest

Family = Literal["A", "B", "C"]
Observation = Literal[
    "access_device_type", "access_request", "clock_request", "iso_stamp", "attendance_device_type", "attendance_table"
]

_ACCESS_OBSERVATIONS = frozenset({"access_device_type", "access_request"})
_FAMILY_B_OBSERVATIONS = frozenset({"clock_request", "iso_stamp"})
_ATTENDANCE_TABLES = ("ATTLOG", "OPERLOG")
_ACCESS_KINDS = frozenset({"registry", "push_config", "querydata"})
_ACCESS_TABLES = ("RTLOG", "RTSTATE", "TABLEDATA:")
_ISO_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def observe(request: PushRequest) -> frozenset[Observation]:
    """Facts in one request that distinguish the families; empty for most requests."""
    found: set[Observation] = set()
    device_type = request.parameters.get("devicetype", "").lower()
    if request.kind == "hello" and device_type:
        found.add("access_device_type" if device_type == "acc" else "attendance_device_type")
    if request.table in _ATTENDANCE_TABLES:
        found.add("attendance_table")
    if _is_access_request(request):
        found.add("access_request")
    elif request.kind == "time":
        found.add("clock_request")
    if request.stamp is not None and _ISO_STAMP.fullmatch(request.stamp):
        found.add("iso_stamp")
    return frozenset(found)


def family_of(observations: Collection[Observation], *, known: Family | None = None) -> Family:
    """The family that the observations in one request of a terminal prove, else the known one, else A.

    The latest proof decides, so that a single wrong request changes the family only until the next right one.
    """
    if not _ACCESS_OBSERVATIONS.isdisjoint(observations):
        return "C"
    if not _FAMILY_B_OBSERVATIONS.isdisjoint(observations):
        return "C" if known == "C" and "attendance_table" not in observations else "B"
    if observations and known == "C":
        return "A"
    return known or "A"


def _is_access_request(request: PushRequest) -> bool:
    return (
        request.kind in _ACCESS_KINDS
        or request.endpoint == "rtdata"
        or (request.table is not None and request.table.startswith(_ACCESS_TABLES))
    )
