"""Commands to pushing terminals: an allow-list, their texts by family, answers with them, and their results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from zk_pipeline.devices.push.families import Family
from zk_pipeline.errors import UsageError

CommandKind = Literal[
    "info",
    "hello",
    "upload",
    "reboot",
    "query_punches",
    "query_users",
    "count_punches",
    "set_clock",
]


class UnsupportedCommand(UsageError):
    """The family of the terminal has no such command, or the command lacks its span."""


@dataclass(frozen=True, kw_only=True)
class PushCommand:
    """A command that may be sent; there are no others. Spans are naive wall-clock times, both ends included.

    `hello` requests a new hello (CHECK), `upload` the upload of new records (LOG). `user_id`: only for `query_users`,
    None for all users.
    """

    kind: CommandKind
    start_local: datetime | None = None
    end_local: datetime | None = None
    user_id: str | None = None


@dataclass(frozen=True)
class CommandResult:
    """Result of one command, as the terminal reports it. `return_code` 0 is success (family C: 0 or more).

    `command`: text of CMD. `values`: further `key=value` pairs by lower-case key.
    """

    command_id: str
    return_code: int
    command: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class TerminalCounters:
    """Counters and versions of the INFO parameter; None where the terminal sends nothing usable."""

    firmware_version: str | None
    users: int | None
    records: int | None
    ip_address: str | None


def command_text(command: PushCommand, family: Family, *, zone: str, at: datetime) -> str:
    """Text of a command for a family. `zone`, `at` (aware): for `set_clock`, rendered when it is sent.

    Raises UnsupportedCommand.
    """
    raise NotImplementedError


def pack_commands(commands: Iterable[tuple[int, str]]) -> tuple[str, list[int]]:
    """Body of an answer to getrequest and the ids in it, in the given order, within the limits of the protocol."""
    raise NotImplementedError


def parse_results(body: bytes) -> list[CommandResult]:
    """Results in a body of devicecmd; blocks without an id or a return code are left out."""
    raise NotImplementedError


def attlog_count(result: CommandResult) -> int | None:
    """Number of punches in the span of a `count_punches` result, None without one."""
    raise NotImplementedError


def parse_info(info: str) -> TerminalCounters:
    """Read the INFO parameter of getrequest."""
    raise NotImplementedError
