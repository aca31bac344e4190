"""Commands that a receiver has queued: `C:<id>:<text>` lines, their execution and their results.

Texts and results: Attendance PUSH 2015 (families A, B), Security PUSH 3.1.2 (C).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from zk_pipeline.simulator.push import attendance, security
from zk_pipeline.simulator.push.device_log import LogEntry
from zk_pipeline.simulator.push.lines import from_zk_seconds, user_line
from zk_pipeline.simulator.push.state import TerminalState
from zk_pipeline.simulator.push.wire import Answer, Step

_COMMAND = re.compile(r"C:([^:\s]+):(.*)")
_SPAN = re.compile(r"StartTime=([^\t]+)\tEndTime=([^\t]+)")
_OPTION = re.compile(r"SET OPTIONS? ([^=]+)=(.*)")
_NOTHING_FOUND = -1
_UNSUPPORTED = -1002
_RECORDS_PER_UNIT = 10_000  # of ~MaxAttLogCount


class Command(NamedTuple):
    """One command as received; `command_id` has up to 16 letters or digits."""

    command_id: str
    text: str


class Result(NamedTuple):
    """Result of a command: return code, reported name, and the text after them."""

    code: int
    name: str
    detail: str = ""


def ask(state: TerminalState) -> Step[list[Command]]:
    """`GET getrequest`, with counters after each hello; executes the commands and reports their results."""
    parameters = {"INFO": state.info()} if state.sends_info else {}
    answer = yield from state.send(state.request("GET", "getrequest", parameters))
    if not answer.is_success:
        return []
    state.sends_info = False
    commands = parse_commands(answer)
    for command in commands:
        result = yield from execute(state, command)
        state.results.append(_result_line(command, result))
    yield from report(state)
    return commands


def report(state: TerminalState) -> Step[None]:
    """`POST devicecmd` with all results; those that the receiver did not take are sent again with the next ones."""
    if not state.faults.confirms_commands:
        state.results.clear()
    if not state.results:
        return
    body = b"\n".join(state.results) + b"\n"
    answer = yield from state.send(state.request("POST", "devicecmd", {}, body))
    if answer.is_success:
        state.results.clear()


def parse_commands(answer: Answer) -> list[Command]:
    """The commands of an answer, in order; none for `OK`."""
    matches = (_COMMAND.fullmatch(line) for line in answer.text.splitlines())
    return [Command(match[1], match[2]) for match in matches if match]


def execute(state: TerminalState, command: Command) -> Step[Result]:
    """Carry out one command; -1002 for one that the firmware does not know."""
    text = command.text.strip()
    if state.profile.family == "C" and text.startswith(("DATA ", "GET OPTIONS")):
        code, name = yield from security.execute_data(state, command.command_id, text)
        return Result(code, name)
    for prefix, handler in _HANDLERS.items():
        if text == prefix or text.startswith(prefix + " "):
            return (yield from handler(state, text))
    return Result(_UNSUPPORTED, text.split(" ", 1)[0])


def _info(state: TerminalState, text: str) -> Step[Result]:
    yield from ()
    definition = state.definition
    values = {
        **definition.factory_options(),
        "FWVersion": definition.firmware,
        "UserCount": len(definition.users),
        "TransactionCount": len(state.log.entries),
        "~MaxAttLogCount": max(1, definition.record_capacity // _RECORDS_PER_UNIT),
    }
    return Result(0, text, "".join(f"\n{name}={value}" for name, value in values.items()))


def _reconnect(state: TerminalState, text: str) -> Step[Result]:
    """CHECK and REBOOT: hello again at the next opportunity."""
    yield from ()
    state.is_connected = False
    return Result(0, text)


def _upload_now(state: TerminalState, text: str) -> Step[Result]:
    upload = security.upload if state.profile.family == "C" else attendance.upload
    yield from upload(state)
    return Result(0, text)


def _query_punches(state: TerminalState, text: str) -> Step[Result]:
    """Records of a span as uploads with stamp 0; -1 if there are none."""
    entries = _entries_of(state, text)
    for start in range(0, len(entries), state.batch_lines):
        batch = entries[start : start + state.batch_lines]
        if not (yield from attendance.send_punches(state, batch, attendance.RESEND_STAMP)):
            return Result(_NOTHING_FOUND, "DATA")
    return Result(0 if entries else _NOTHING_FOUND, "DATA")


def _query_users(state: TerminalState, text: str) -> Step[Result]:
    _, _, user_id = text.partition("PIN=")
    definition = state.definition
    users = [user for user in definition.users if not user_id or user.user_id == user_id.strip()]
    lines = [user_line(user, definition.encoding) for user in users]
    is_sent = bool(lines) and (yield from attendance.send_operations(state, lines))
    return Result(0 if is_sent else _NOTHING_FOUND, "DATA")


def _sum_punches(state: TerminalState, text: str) -> Step[Result]:
    """The number of records of a span, in the form of ATT2015."""
    yield from ()
    span = _SPAN.search(text)
    if span is None:
        return Result(_NOTHING_FOUND, "VERIFY SUM")
    count = len(_entries_of(state, text))
    return Result(0, "VERIFY SUM", f"&StartTime={span[1]}&EndTime={span[2]}&AttlogSum={count}")


def _set_option(state: TerminalState, text: str) -> Step[Result]:
    """`DateTime` sets the clock: seconds of the protocol, in local time."""
    yield from ()
    option = _OPTION.match(text)
    if option is None:
        return Result(_NOTHING_FOUND, "SET OPTION")
    if option[1] == "DateTime":
        state.clock.set_local(from_zk_seconds(int(option[2])))
    return Result(0, "SET OPTION")


_HANDLERS: dict[str, Callable[[TerminalState, str], Step[Result]]] = {
    "INFO": _info,
    "CHECK": _reconnect,
    "REBOOT": _reconnect,
    "CONTROL DEVICE 03000000": _reconnect,  # reboot of family C
    "LOG": _upload_now,
    "DATA QUERY ATTLOG": _query_punches,
    "DATA QUERY USERINFO": _query_users,
    "VERIFY SUM ATTLOG": _sum_punches,
    "SET OPTION": _set_option,
    "SET OPTIONS": _set_option,
}


def _entries_of(state: TerminalState, text: str) -> list[LogEntry]:
    span = _SPAN.search(text)
    if span is None:
        return list(state.log.entries)
    first, last = (datetime.fromisoformat(part.strip()) for part in span.groups())
    return state.log.between(first, last)


def _result_line(command: Command, result: Result) -> bytes:
    return f"ID={command.command_id}&Return={result.code}&CMD={result.name}{result.detail}".encode()
