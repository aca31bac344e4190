"""Protocol steps of attendance terminals, families A and B.

Hello and option block: Attendance PUSH 2015; clock request and 16-field lines: PUSH SDK 3.2.0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from zk_pipeline.simulator.push.device_log import LogEntry
from zk_pipeline.simulator.push.lines import body_of, photo_body, punch_line
from zk_pipeline.simulator.push.state import TerminalState
from zk_pipeline.simulator.push.wire import Answer, Step

_LANGUAGE = "69"  # English
_COUNT = re.compile(r"OK:\s*(\d+)")
_TIME = re.compile(r"Time=(\S+)")
RESEND_STAMP = "0"  # of records that answer a query


def hello(state: TerminalState) -> Step[Answer]:
    """`GET cdata?options=all`; the terminal is connected once it has an option block with its own serial number."""
    parameters = {"options": "all", "language": _LANGUAGE}
    if state.profile.push_version:
        parameters["pushver"] = state.profile.push_version
    answer = state.last_answer
    for _ in range(state.faults.hellos):
        answer = yield from state.send(state.request("GET", "cdata", parameters))
    first, *lines = answer.text.splitlines() or [""]
    state.is_connected = answer.is_success and first.split() == ["GET", "OPTION", "FROM:", state.serial_number]
    if state.is_connected:
        state.take_options(parse_options(lines))
    return answer


def connect(state: TerminalState) -> Step[bool]:
    """Hello, then the clock (family B) and the terminal's options if the receiver asks for them."""
    yield from hello(state)
    if not state.is_connected:
        return False
    state.sends_info = True
    if state.profile.family == "B":
        yield from read_time(state)
    if state.profile.has_options and state.options.get("PushOptionsFlag") == "1":
        yield from send_options(state)
    return state.is_connected


def read_time(state: TerminalState) -> Step[Answer]:
    """`GET cdata?type=time` of family B: a time with its UTC offset sets the clock."""
    answer = yield from state.send(state.request("GET", "cdata", {"type": "time"}))
    if answer.is_success and (found := _TIME.search(answer.text)):
        at = datetime.fromisoformat(found[1])
        state.clock.utc_offset = at.utcoffset() or state.clock.utc_offset
        state.clock.set_local(at.replace(tzinfo=None))
    return answer


def send_options(state: TerminalState) -> Step[Answer]:
    """`POST table=options`: the terminal's options, `name=value` with commas."""
    options = state.definition.factory_options()
    body = ",".join(f"{name}={value}" for name, value in options.items())
    return (yield from state.send(state.request("POST", "cdata", {"table": "options"}, body.encode())))


def upload(state: TerminalState) -> Step[int]:
    """Upload operations and punches until an upload fails; returns the number of acknowledged punches."""
    if (lines := state.pending_operations()) and state.transfers("OpLog"):
        if not (yield from send_operations(state, lines)):
            state.mark_backlog()
            return 0
        state.operations_sent()
    acknowledged = 0
    while state.must_upload:
        entries = state.log.pending(state.batch_size())
        if not (yield from send_punches(state, entries, state.log.stamp(entries[-1]))):
            state.mark_backlog()
            return acknowledged
        state.log.acknowledge(entries)
        acknowledged += len(entries)
    return acknowledged


def send_punches(state: TerminalState, entries: Sequence[LogEntry], stamp: str) -> Step[bool]:
    """`POST table=ATTLOG`; True if acknowledged."""
    faults = state.faults
    lines = [punch_line(entry, state.profile, faults) for entry in entries]
    lines += faults.broken_lines
    parameters = {"table": "ATTLOG", "Stamp": faults.stamp or stamp}
    return (yield from _send_lines(state, parameters, lines, faults.line_end))


def send_operations(state: TerminalState, lines: Sequence[bytes]) -> Step[bool]:
    """`POST table=OPERLOG`; True if acknowledged."""
    is_old = state.profile.family == "A" and state.profile.stamp_form == "counter"
    stamp = state.faults.stamp or "9999"
    parameters = {"table": "OPERLOG", "OpStamp" if is_old else "Stamp": stamp}
    return (yield from _send_lines(state, parameters, lines, b"\n"))


def send_photo(state: TerminalState, user_id: str, picture: bytes) -> Step[Answer]:
    """`POST table=ATTPHOTO` with a picture."""
    body = photo_body(state.serial_number, user_id, state.clock.now_local(), picture)
    parameters = {"table": "ATTPHOTO", "Stamp": "9999"}
    return (yield from state.send(state.request("POST", "cdata", parameters, body, is_upload=True)))


def send_table(state: TerminalState, table: str, body: bytes) -> Step[Answer]:
    """`POST table=…` of any table and body."""
    parameters = {"table": table, "Stamp": "9999"}
    return (yield from state.send(state.request("POST", "cdata", parameters, body, is_upload=True)))


def parse_options(lines: Sequence[str]) -> dict[str, str]:
    """An option block without its first line; a value ends at the end of its line, CR or not."""
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def is_acknowledged(answer: Answer, lines: int, *, needs_count: bool) -> bool:
    """True for 200 with `OK`, with `needs_count` only for `OK: n` with the number of lines."""
    if not (answer.is_success and answer.text.startswith("OK")):
        return False
    count = _COUNT.match(answer.text)
    return not needs_count or (count is not None and int(count[1]) == lines)


def _send_lines(
    state: TerminalState, parameters: dict[str, str], lines: Sequence[bytes], line_end: bytes
) -> Step[bool]:
    answer = state.last_answer
    for _ in range(state.faults.repeats):
        body = body_of(lines, line_end)
        answer = yield from state.send(state.request("POST", "cdata", parameters, body, is_upload=True))
    return is_acknowledged(answer, len(lines), needs_count=state.profile.needs_count)
