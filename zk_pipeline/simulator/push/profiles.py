"""Firmware profiles of pushing terminals, by protocol family.

A: attendance push 2.x, B: US PUSH SDK 3.x (TFT terminals), C: security push 3.x (access control). Sources: Attendance
PUSH 2015 and 5.8, PUSH SDK 2.2 and 3.2.0, Security PUSH 3.1.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Family = Literal["A", "B", "C"]
# The stamp of an upload: a counter, the time of the last record, or a constant of firmware that keeps its own position.
StampForm = Literal["counter", "time", "constant"]


@dataclass(frozen=True, kw_only=True)
class PushProfile:
    """Behaviour of one line of firmware.

    `attlog_fields`: fields of a punch line. `reads_old_stamp_names`: the option block's `Stamp` and `OpStamp` instead
    of `ATTLOGStamp` and `OPERLOGStamp`. `compares_header_case`: only a header spelled `Date` sets the clock, as in push
    clients of 2013. `needs_count`: an upload acknowledged without the number of its lines is sent
    again.
    """

    name: str
    family: Family
    push_version: str = ""
    attlog_fields: int = 7
    stamp_form: StampForm = "counter"
    reads_old_stamp_names: bool = False
    compares_header_case: bool = False
    needs_count: bool = False
    has_options: bool = False
    agent: str = "iClock Proxy/1.09"


LEGACY_4 = PushProfile(
    name="legacy-4", family="A", attlog_fields=4, reads_old_stamp_names=True, compares_header_case=True
)
LEGACY_5 = replace(LEGACY_4, name="legacy-5", attlog_fields=5)
PUSH_2_2 = PushProfile(name="push-2.2", family="A", push_version="2.2.14")
PUSH_2_4 = PushProfile(
    name="push-2.4",
    family="A",
    push_version="2.4.1",
    attlog_fields=10,
    stamp_form="constant",
    needs_count=True,
    has_options=True,
)
PUSH_2_4_2 = replace(PUSH_2_4, name="push-2.4.2", push_version="2.4.2", attlog_fields=12)  # with the UTC offset
TFT_3 = PushProfile(name="tft-3", family="B", push_version="3.2.0", attlog_fields=16, stamp_form="time")
SECURITY_3 = PushProfile(name="security-3", family="C", push_version="3.1.2", stamp_form="constant", has_options=True)

PROFILES = {one.name: one for one in (LEGACY_4, LEGACY_5, PUSH_2_2, PUSH_2_4, PUSH_2_4_2, TFT_3, SECURITY_3)}
