"""Protocol steps of security terminals (access control), family C: registration, events, tables.

Source: Security PUSH 3.1.2, sections 4.1, 4.4, 4.5 (registration), 7 (uploads), 9 (queries).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from zk_pipeline.simulator.push.attendance import parse_options
from zk_pipeline.simulator.push.device_log import LogEntry
from zk_pipeline.simulator.push.lines import (
    body_of,
    event_line,
    from_zk_seconds,
    transaction_line,
    user_row,
)
from zk_pipeline.simulator.push.state import TerminalState
from zk_pipeline.simulator.push.wire import Answer, Step

_REFUSED = -1
_TABLE = re.compile(r"tablename=(\w+)")
_CLOCK = re.compile(r"DateTime=(\d+),ServerTZ=([+-]\d{4})")
_COUNT_TYPE, _QUERY_TYPE = "count", "tabledata"


def hello(state: TerminalState) -> Step[Answer]:
    """`GET cdata?options=all&DeviceType=acc`: `registry=ok` and options for a registered terminal, else `OK`."""
    parameters = {"options": "all", "pushver": state.profile.push_version, "DeviceType": "acc", "PushOptionsFlag": "1"}
    answer = state.last_answer
    for _ in range(state.faults.hellos):
        answer = yield from state.send(state.request("GET", "cdata", parameters))
    state.is_connected = answer.is_success and answer.text.startswith("registry=ok")
    if state.is_connected:
        _take_configuration(state, answer)
    return answer


def connect(state: TerminalState) -> Step[bool]:
    """Hello; registration and configuration if the receiver does not know the terminal; the clock."""
    answer = yield from hello(state)
    if not state.is_connected:
        if not answer.is_success:
            return False
        if state.faults.registers_late:
            yield from upload(state)
        if not (yield from register(state)):
            return False
        yield from configure(state)
    if state.is_connected:
        state.sends_info = True
        yield from read_time(state)
    return state.is_connected


def register(state: TerminalState) -> Step[bool]:
    """`POST registry` with the terminal's capabilities; True with a `RegistryCode`."""
    capabilities = {
        "DeviceType": "acc",
        **state.definition.factory_options(),
        "PushVersion": state.profile.push_version,
        "MaxPackageSize": "2048000",
        "LockCount": "1",
    }
    body = ",".join(f"{name}={value}" for name, value in capabilities.items()).encode()
    answer = yield from state.send(state.request("POST", "registry", {}, body))
    code = parse_options(answer.text.splitlines()).get("RegistryCode", "")
    if not answer.is_success or not code:
        return False
    state.registry_code = code
    return True


def configure(state: TerminalState) -> Step[Answer]:
    """`POST push`: the configuration, after registration."""
    answer = yield from state.send(state.request("POST", "push"))
    state.is_connected = answer.is_success and "=" in answer.text
    if state.is_connected:
        _take_configuration(state, answer)
    return answer


def read_time(state: TerminalState) -> Step[Answer]:
    """`GET rtdata?type=time`: UTC in seconds of the protocol, and the receiver's UTC offset (appendix 5 of "Security
    PUSH").
    """
    answer = yield from state.send(state.request("GET", "rtdata", {"type": "time"}))
    if answer.is_success and (found := _CLOCK.search(answer.text)):
        state.clock.set_zone(found[2], "C")
        state.clock.set_local(from_zk_seconds(int(found[1])) + state.clock.utc_offset)
    return answer


def upload(state: TerminalState) -> Step[int]:
    """Upload events until an upload fails; returns the number of acknowledged events.

    A single new event goes to `rtlog`, a backlog to the table `transaction`. Users go first.
    """
    if state.pending_operations() and not (yield from _send_users(state)):
        state.mark_backlog()
        return 0
    acknowledged = 0
    while state.log.pending_count:
        entries = state.log.pending(state.batch_size())
        send = send_events if len(entries) == 1 else send_transactions
        if not (yield from send(state, entries)):
            state.mark_backlog()
            return acknowledged
        state.log.acknowledge(entries)
        acknowledged += len(entries)
    return acknowledged


def send_events(state: TerminalState, entries: Sequence[LogEntry]) -> Step[bool]:
    """`POST table=rtlog`; True if answered with `OK`."""
    lines = [event_line(entry) for entry in entries] + list(state.faults.broken_lines)
    answer = yield from _post(state, "cdata", {"table": "rtlog"}, lines)
    return answer.is_success and answer.text.startswith("OK")


def send_transactions(state: TerminalState, entries: Sequence[LogEntry]) -> Step[bool]:
    """`POST table=tabledata&tablename=transaction`; True if the answer counts every line."""
    lines = [transaction_line(entry) for entry in entries] + list(state.faults.broken_lines)
    return (yield from _send_table(state, "transaction", lines))


def execute_data(state: TerminalState, command_id: str, text: str) -> Step[tuple[int, str]]:
    """DATA COUNT, DATA QUERY and GET OPTIONS: the answer is a `POST querydata`; returns code and name of the result."""
    if text.startswith("GET OPTIONS"):
        return (yield from _send_option_values(state, command_id, text)), "GET OPTIONS"
    found = _TABLE.search(text)
    table = found[1] if found else ""
    name = " ".join(text.split(" ", 2)[:2])
    if name not in ("DATA COUNT", "DATA QUERY") or table not in ("transaction", "user"):
        return _REFUSED, name
    lines = _rows(state, table)
    if name == "DATA COUNT":
        body, kind = [f"{table}={len(lines)}".encode()], _COUNT_TYPE
    else:
        body, kind = lines, _QUERY_TYPE
    is_taken = yield from _answer_query(state, command_id, table, kind, body)
    return (len(lines) if is_taken else _REFUSED), name


def _answer_query(state: TerminalState, command_id: str, table: str, kind: str, lines: Sequence[bytes]) -> Step[bool]:
    """`POST querydata`, in packets of the terminal's batch size; the answer counts the lines of each."""
    packets = [lines[n : n + state.batch_lines] for n in range(0, len(lines), state.batch_lines)] or [[]]
    for number, packet in enumerate(packets, start=1):
        parameters = {
            "type": kind,
            "cmdid": command_id,
            "tablename": table,
            "count": str(len(packet)),
            "packcnt": str(len(packets)),
            "packidx": str(number),
        }
        answer = yield from _post(state, "querydata", parameters, packet)
        if not answer.is_success:
            return False
    return True


def _send_option_values(state: TerminalState, command_id: str, text: str) -> Step[int]:
    known = state.definition.factory_options()
    names = [name.strip() for name in text.removeprefix("GET OPTIONS").split(",")]
    body = ",".join(f"{name}={known.get(name, '')}" for name in names).encode()
    parameters = {"type": "options", "cmdid": command_id}
    answer = yield from state.send(state.request("POST", "querydata", parameters, body, is_upload=True))
    return 0 if answer.is_success else _REFUSED


def _send_users(state: TerminalState) -> Step[bool]:
    lines = [user_row(user, state.definition.encoding) for user in state.definition.users]
    if lines and not (yield from _send_table(state, "user", lines)):
        return False
    state.operations_sent()
    return True


def _send_table(state: TerminalState, table: str, lines: Sequence[bytes]) -> Step[bool]:
    parameters = {"table": "tabledata", "tablename": table, "count": str(len(lines))}
    answer = yield from _post(state, "cdata", parameters, lines)
    return answer.is_success and answer.text.strip() == f"{table}={len(lines)}"


def _post(state: TerminalState, endpoint: str, parameters: dict[str, str], lines: Sequence[bytes]) -> Step[Answer]:
    answer = state.last_answer
    for _ in range(state.faults.repeats):
        body = body_of(lines, state.faults.line_end)
        answer = yield from state.send(state.request("POST", endpoint, parameters, body, is_upload=True))
    return answer


def _rows(state: TerminalState, table: str) -> list[bytes]:
    if table == "user":
        return [user_row(user, state.definition.encoding) for user in state.definition.users]
    return [transaction_line(entry) for entry in state.log.entries]


def _take_configuration(state: TerminalState, answer: Answer) -> None:
    options = parse_options(answer.text.splitlines())
    state.options = options
    state.registry_code = options.get("RegistryCode", state.registry_code)
    state.session_id = options.get("SessionID", state.session_id)
    state.mark_backlog()
