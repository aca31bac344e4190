"""Commands to pushing terminals: an allow-list, their texts by family, answers with them, and their results.

No command deletes or changes data of a terminal, writes a file to it or runs a program on it.

Sources: attendance push 2.4.2, the maker's "PUSH SDK" 3.2, "Security PUSH" 3.1.2, and the published source of the push
client of 2013.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NewType

from zk_pipeline.devices.protocol.record_layouts import encode_time
from zk_pipeline.devices.push.families import Family
from zk_pipeline.devices.push.fields import MAX_USER_ID_LENGTH, line_text
from zk_pipeline.errors import UsageError
from zk_pipeline.time_text import in_zone, wall_clock

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
CommandText = NewType("CommandText", str)

MAX_COMMANDS = 200  # in one answer
MAX_ANSWER_BYTES = 10 * 1024  # the limit of terminals on mobile networks

_ACCESS_REBOOT = "CONTROL DEVICE 03000000"
_ATTENDANCE_KINDS: frozenset[CommandKind] = frozenset(
    {"info", "hello", "upload", "reboot", "query_punches", "query_users", "count_punches"}
)
SUPPORTED: Mapping[Family, frozenset[CommandKind]] = {
    "A": _ATTENDANCE_KINDS | {"set_clock"},
    "B": _ATTENDANCE_KINDS,  # requests the time on its own
    "C": frozenset({"reboot", "query_punches", "query_users", "count_punches", "set_clock"}),
}
# A terminal may stop reading an answer at these.
_LAST_OF_ANSWER = frozenset({"CHECK", "REBOOT", _ACCESS_REBOOT})
_FIXED_TEXTS: dict[CommandKind, str] = {"info": "INFO", "hello": "CHECK", "upload": "LOG", "reboot": "REBOOT"}
_ACCESS_TEXTS: dict[CommandKind, str] = {
    "reboot": _ACCESS_REBOOT,
    "query_punches": "DATA QUERY tablename=transaction,fielddesc=*,filter=*",
    "count_punches": "DATA COUNT tablename=transaction,fielddesc=*,filter=*",
}
_RETURN_CODE = re.compile(r"-?[0-9]{1,9}")
_RESULT_START = re.compile(r"ID=([A-Za-z0-9]{1,20})\s*(?:&|$)", re.IGNORECASE)


class CommandRefused(UsageError):
    """A command that the family of the terminal does not have, or that is incomplete."""


@dataclass(frozen=True, kw_only=True)
class PushCommand:
    """A command that may be sent; there are no others. Spans are naive wall-clock times, both ends included.

    `hello` requests a new hello (CHECK), `upload` the upload of new records (LOG). `query_punches` and `count_punches`
    have a span for families A and B, and none for C. `user_id`: only for `query_users`, None for all users.
    """

    kind: CommandKind
    start_local: datetime | None = None
    end_local: datetime | None = None
    user_id: str | None = None


@dataclass(frozen=True)
class CommandResult:
    """Result of one command, as the terminal reports it. `return_code` 0 is success (family C: 0 or more).

    `command`: text of CMD. `values`: further `key=value` pairs by lower-case key, without the `~` before some.
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


def command_text(command: PushCommand, family: Family, *, zone: str, at: datetime) -> CommandText:
    """Text of a command for a family, without its id.

    `zone` (IANA), `at` (an instant, now): for `set_clock`, which is correct at the moment of the answer only, so that
    its text must not be stored. Raises CommandRefused.
    """
    if command.kind not in SUPPORTED[family]:
        raise CommandRefused(f"terminals of family {family} have no command {command.kind}")
    if command.kind == "set_clock":
        option = "OPTIONS" if family == "C" else "OPTION"
        return CommandText(f"SET {option} DateTime={encode_time(in_zone(at, zone))}")
    if command.kind == "query_users":
        return CommandText(_user_query(command.user_id, family))
    if family == "C":
        return CommandText(_ACCESS_TEXTS[command.kind])
    if command.kind in ("query_punches", "count_punches"):
        verb = "DATA QUERY" if command.kind == "query_punches" else "VERIFY SUM"
        return CommandText(f"{verb} ATTLOG {_span(command, family)}")
    return CommandText(_FIXED_TEXTS[command.kind])


def pack_commands(commands: Iterable[tuple[int, CommandText]]) -> tuple[str, list[int]]:
    """Body of an answer to getrequest and the ids in it: the first of the commands, in their order.

    At most MAX_COMMANDS and MAX_ANSWER_BYTES; CHECK and a reboot end an answer. `OK` without commands.
    """
    lines: list[str] = []
    ids: list[int] = []
    size = 0
    for command_id, text in commands:
        line = f"C:{command_id}:{text}\n"
        size += len(line.encode())
        if len(ids) == MAX_COMMANDS or size > MAX_ANSWER_BYTES:
            break
        lines.append(line)
        ids.append(command_id)
        if text in _LAST_OF_ANSWER:
            break
    return "".join(lines) or "OK", ids


def parse_results(body: bytes) -> list[CommandResult]:
    """Results in a body of devicecmd; those without a return code are left out.

    A result is one line, `ID=7&Return=0&CMD=DATA`, which may be followed by lines of `key=value` (INFO), or has a line
    for each of ID, Return and CMD. What follows `Content=`, the content of a file, is left out.
    """
    results = []
    blocks: list[list[str]] = []
    for line in line_text(body, ("utf-8", "gb18030")).splitlines():
        if _RESULT_START.match(line):
            blocks.append([line])
        elif blocks:
            blocks[-1].append(line)
    for block in blocks:
        result = _result(block)
        if result is not None:
            results.append(result)
    return results


def attlog_count(result: CommandResult) -> int | None:
    """Number of punches in the span of a `count_punches` result of families A and B, None without one.

    AttlogSum in push 2.4.2, AttlogCount in the push client of 2013.
    """
    return _counter(result.values.get("attlogsum") or result.values.get("attlogcount", ""))


def parse_info(info: str) -> TerminalCounters:
    """Read the INFO parameter of getrequest: firmware, users, fingerprints, records, address, and more.

    Fields may be blank or negative, or missing at the end.
    """
    fields = [field.strip() for field in info.split(",")] + [""] * 5
    try:
        address = str(ipaddress.ip_address(fields[4]))
    except ValueError:
        address = None
    return TerminalCounters(fields[0] or None, _counter(fields[1]), _counter(fields[3]), address)


def _user_query(user_id: str | None, family: Family) -> str:
    if user_id is not None and not _is_plain(user_id):
        raise CommandRefused(f"user id {user_id[:40]!r} cannot be sent: at most 32 printable characters are possible")
    if family == "C":
        condition = "*" if user_id is None else f"pin={user_id}"
        return f"DATA QUERY tablename=user,fielddesc=*,filter={condition}"
    return "DATA QUERY USERINFO" if user_id is None else f"DATA QUERY USERINFO PIN={user_id}"


def _is_plain(user_id: str) -> bool:
    """True for a user id that can be part of a command: a separator in it would begin another field or command."""
    return 0 < len(user_id) <= MAX_USER_ID_LENGTH and user_id.isprintable() and not set(user_id) & set(" ,=&")


def _span(command: PushCommand, family: Family) -> str:
    start, end = command.start_local, command.end_local
    if start is None or end is None or end < start:
        raise CommandRefused(f"the command {command.kind} needs a start and an end that is not before it")
    separator = "T" if family == "B" else " "
    return "\t".join(
        f"{name}={wall_clock(local).replace(' ', separator)}"
        for name, local in (("StartTime", start), ("EndTime", end))
    )


def _result(block: list[str]) -> CommandResult | None:
    values: dict[str, str] = {}
    for part in _parts(block):
        key, separator, value = part.partition("=")
        if separator:
            values.setdefault(key.strip().lstrip("~").lower(), value.strip())
    command_id, command, code = values.pop("id"), values.pop("cmd", ""), values.pop("return", "")
    return CommandResult(command_id, int(code), command, values) if _RETURN_CODE.fullmatch(code) else None


def _parts(block: list[str]) -> Iterable[str]:
    """`key=value` parts of a result, up to the content of a file."""
    for line in block:
        for part in line.split("&"):
            if part.lower().startswith("content="):
                return
            yield part


def _counter(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
