"""Bodies that terminals push: punches, users, operation and access events, options."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from zk_pipeline.errors import ZkPipelineError

UNKNOWN = 255  # punch state and verify type of a record without one
# Access events of a person who got through (Security PUSH protocol 3.1.2, appendix 2).
DEFAULT_PUNCH_EVENTS = frozenset({0, 1, 2, 3, *range(14, 20), 203, 207, 208, 215, 216, 218, 219, 222, 232})


class UnreadableBody(ZkPipelineError):
    """A body that must not be acknowledged: its records cannot be read or kept."""


class EncryptedBody(UnreadableBody):
    """A body of a text table that is not text: encrypted or compressed by the terminal."""


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
    user_id: str
    occurred_at_local: datetime  # naive, the terminal's wall clock
    detail: str  # remaining fields, separated by tabs
    is_operation: bool  # a line of OPERLOG, not of rtlog, transaction or ATTLOG


@dataclass(frozen=True)
class ParsedUpload:
    """Content of one body. Each of its `lines` is a punch, a rejected line, a user, an event, or dropped by design.

    `acknowledged`: body of the answer after the content is stored. `dropped`: lines with templates, photos, door states
    and error logs, which the pipeline does not store.
    """

    punches: list[PushedPunch]
    rejected: list[RejectedLine]
    users: list[PushedUser]
    events: list[DeviceEvent]
    lines: int
    acknowledged: str
    dropped: int = 0


def parse_upload(
    table: str, body: bytes, *, encoding: str, punch_events: Collection[int], parameters: Mapping[str, str]
) -> ParsedUpload:
    """Read a body of `table` (PushRequest.table). A line that cannot be read never rejects the others.

    `encoding`: of the device; UTF-8 and GB18030 are tried next. `punch_events`: codes of access events that are
    punches. `parameters`: of the request. Raises EncryptedBody, or UnreadableBody for an archive that is damaged or too
    large.
    """
    raise NotImplementedError


def parse_quarantined(
    record_format: str, raw: bytes, *, encoding: str, punch_events: Collection[int]
) -> list[PushedPunch]:
    """Punches of a quarantined line; empty if it is still unreadable. `record_format`: its canonical table name."""
    raise NotImplementedError


def parse_options(body: bytes) -> dict[str, str]:
    """Options of a terminal, `key=value` separated by commas or line ends, without the `~` before some keys."""
    raise NotImplementedError


def parse_counts(body: bytes) -> dict[str, int]:
    """Rows per table of an answer to DATA COUNT, `transaction=1234`."""
    raise NotImplementedError
