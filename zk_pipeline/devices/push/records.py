"""Records in the uploads of pushing terminals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from zk_pipeline.errors import ZkPipelineError

UNKNOWN = 255  # punch state and verify type of a record without one


class UnreadableBody(ZkPipelineError):
    """A body that must not be acknowledged: its records can be neither read nor kept."""


class EncryptedBody(UnreadableBody):
    """A body of a text table that is not text: encrypted or compressed by the terminal."""


class LineError(Exception):
    """A line is unreadable; the message is the reason in its quarantined record."""


class PushedPunch(NamedTuple):
    """One row of `raw_punches`. `punched_at_local` is naive, the terminal's wall clock."""

    user_id: str  # as sent, leading zeros kept
    punched_at_local: datetime
    punch_state: int  # 0-255, 255 = none or undefined
    verify_type: int  # 0-255, 255 = none or undefined
    work_code: int | None
    utc_offset_seconds: int | None  # TimeOffset, if sent


class RejectedLine(NamedTuple):
    """A line for quarantine: its bytes without the line end, and without passwords and templates."""

    raw: bytes
    reason: str


class PushedUser(NamedTuple):
    """An enrolled user; `card` is 0 without one, `uid` None where the terminal sends none."""

    user_id: str
    name: str
    privilege: int
    card: int
    uid: int | None


class DeviceEvent(NamedTuple):
    """A fact that is no punch: a menu operation, a refused verification, a door event."""

    code: int
    user_id: str  # of the operator or card holder; empty without one
    occurred_at_local: datetime  # naive, the terminal's wall clock
    detail: str  # remaining fields, separated by tabs
    is_operation: bool  # a line of OPERLOG, not of rtlog, transaction or ATTLOG


Record = PushedPunch | PushedUser | DeviceEvent


@dataclass(frozen=True)
class ParsedUpload:
    """Content of one body. Each of its `lines` is a punch, a rejected line, a user, an event, or dropped by design.

    `acknowledged`: body of the answer after the content is stored. `dropped`: number of lines with templates, photos,
    identity cards, door states and error messages, which the pipeline does not store.
    """

    punches: list[PushedPunch]
    rejected: list[RejectedLine]
    users: list[PushedUser]
    events: list[DeviceEvent]
    lines: int
    acknowledged: str
    dropped: int = 0
