"""State of one emulated pushing terminal: definition, log, operations, clock, option block, and its requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import pandas as pd

from zk_pipeline.simulator.push.device_clock import DeviceClock
from zk_pipeline.simulator.push.device_log import DeviceLog
from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.lines import operation_line, user_line
from zk_pipeline.simulator.push.profiles import PUSH_2_2, PushProfile
from zk_pipeline.simulator.push.wire import Answer, Request, Step
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import Punch
from zk_pipeline.simulator.terminal.terminal import utc_now

BATCH_LINES = 128  # of a backlog, as seen in the field
_DELAY_SECONDS = 10.0
_ERROR_DELAY_SECONDS = 30.0
_POWER_ON = 0
_ENROLLED = 30
# Position of a kind of data in a TransFlag of bits, by ATT2015 and US320.
_TRANSFER_BITS = {"AttLog": 0, "OpLog": 1, "AttPhoto": 2, "EnrollUser": 3}


class TerminalState:
    """One terminal without its protocol steps. Belongs to one thread.

    `log`: punches recorded so far, oldest first, columns PUNCH_COLUMNS of `simulator.terminal`. `clock` returns the
    true time, aware. `options` are those of the last hello, `last_answer` is that of the last request.
    """

    def __init__(
        self,
        definition: TerminalDefinition,
        *,
        profile: PushProfile = PUSH_2_2,
        log: pd.DataFrame | None = None,
        clock: Callable[[], datetime] = utc_now,
        follows_date: bool = True,
        batch_lines: int = BATCH_LINES,
        faults: PushFaults | None = None,
    ) -> None:
        self.definition = definition
        self.profile = profile
        self.follows_date = follows_date
        self.batch_lines = batch_lines
        self.faults = faults or PushFaults()
        self.clock = DeviceClock(ZoneInfo(definition.timezone), clock, definition.clock_offset_seconds)
        self.log = DeviceLog(definition.record_capacity, profile.stamp_form)
        self.options: dict[str, str] = {}
        self.last_answer = Answer(0, error="no request yet")
        self.is_connected = False
        self.sends_info = True
        self.results: list[bytes] = []  # of commands, until the receiver has them
        self.registry_code = ""
        self.session_id = ""
        self._operations: list[bytes] = []
        self._operations_sent = 0
        self._backlog_before = 0
        self._enroll()
        if log is not None:
            self._load(log)

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def serial_number(self) -> str:
        """Serial number in the requests, that of another terminal with the fault `serial_number`."""
        return self.faults.serial_number or self.definition.serial_number

    @property
    def delay_seconds(self) -> float:
        """Interval between two requests for commands, from the option block."""
        name = "RequestDelay" if self.profile.family == "C" else "Delay"
        return _seconds(self.options, name, _DELAY_SECONDS)

    @property
    def error_delay_seconds(self) -> float:
        """Wait after a failure, from the option block."""
        return _seconds(self.options, "ErrorDelay", _ERROR_DELAY_SECONDS)

    @property
    def must_upload(self) -> bool:
        """True while punches are pending that the receiver wants."""
        return self.log.pending_count > 0 and self.transfers("AttLog")

    def punch(self, user_id: str, punched_at_local: datetime | None = None, **values: int) -> Punch:
        """Record a punch, by default at the time that the terminal shows; `values`: `verify_type`, `punch_state` and
        `work_code` of `Punch`. A full log drops its oldest record.
        """
        at_local = (punched_at_local or self.clock.now_local()).replace(microsecond=0)
        punch = Punch(user_id, at_local, **values)
        self.record(punch)
        return punch

    def record(self, punch: Punch) -> None:
        """Append a punch that was recorded elsewhere: a listener of `EmulatedTerminal`, if that is polled, too."""
        self.log.append(punch, 0, self._offset_seconds())

    def record_event(self, event: int, user_id: str = "0") -> None:
        """Append an event of a security terminal: a refusal such as 27, or a door event without a user."""
        at_local = self.clock.now_local().replace(microsecond=0)
        self.log.append(Punch(user_id, at_local), event, self._offset_seconds())

    def record_operation(self, code: int, user_id: str = "0") -> None:
        """Append a line of the operation log, such as 21 for a changed clock."""
        self._operations.append(operation_line(code, self.clock.now_local(), user_id))

    def pending_operations(self) -> list[bytes]:
        """Lines of OPERLOG to upload: operations, and users if the receiver asks for them."""
        lines = self._operations[self._operations_sent :]
        has_users = self.transfers("EnrollUser")
        return [line for line in lines if has_users or not line.startswith(b"USER ")]

    def operations_sent(self) -> None:
        """Note that the receiver has acknowledged all operations so far."""
        self._operations_sent = len(self._operations)

    def batch_size(self) -> int:
        """Number of lines of the next upload: one for a punch of this connection, more for a backlog."""
        before = self._backlog_before - self.log.next_upload
        return min(before, self.batch_lines) if before > 0 else 1

    def mark_backlog(self) -> None:
        """Upload everything recorded so far in batches."""
        self._backlog_before = self.log.next_number

    def transfers(self, kind: str) -> bool:
        """True if the option block's TransFlag names this kind of data, or there is no TransFlag."""
        flag = self.options.get("TransFlag", "")
        if not flag:
            return True
        if flag.strip("01"):
            return kind in flag.replace("TransData", "").split()
        return flag[_TRANSFER_BITS[kind] : _TRANSFER_BITS[kind] + 1] == "1"

    def take_options(self, options: dict[str, str]) -> None:
        """Apply an option block: upload positions by its stamps, UTC offset by its `TimeZone`."""
        self.options = options
        is_old = self.profile.reads_old_stamp_names
        if not self.faults.stamp:
            self.log.resume(options.get("Stamp" if is_old else "ATTLOGStamp", ""))
        if options.get("OpStamp" if is_old else "OPERLOGStamp", "") == "0":
            self._operations_sent = 0
        if "TimeZone" in options:
            self.clock.set_zone(options["TimeZone"], self.profile.family)
        self.mark_backlog()

    def info(self) -> str:
        """INFO of a request for commands: firmware, users, fingers, records, address, algorithms, faces, functions."""
        definition = self.definition
        counts = f"{len(definition.users)},0,{len(self.log.entries)}"
        return f"{definition.firmware},{counts},127.0.0.1,10,7,15,0,111"

    def request(
        self,
        method: Literal["GET", "POST"],
        endpoint: str,
        parameters: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        is_upload: bool = False,
    ) -> Request:
        """A request of this terminal to `/iclock/ENDPOINT`, with its faults."""
        faults = self.faults
        named = {"SN": self.serial_number, **(parameters or {})}
        if faults.has_lower_case_names:
            named = {name.lower(): value for name, value in named.items()}
        query = urlencode(named, quote_via=quote, safe=",:")
        return Request(
            method=method,
            target=f"/iclock/{endpoint}{faults.suffix}?{query}",
            body=body,
            agent=self.profile.agent,
            cookie=self._cookie(),
            delivery=faults.delivery(is_upload=is_upload),
        )

    def send(self, request: Request) -> Step[Answer]:
        """Step of one request: its answer sets the clock; without one the terminal says hello again."""
        answer = yield request
        self.last_answer = answer
        if self.follows_date:
            self.clock.follow_date(answer.header("Date", with_case=self.profile.compares_header_case))
        if answer.status == 0:
            self.is_connected = False
        return answer

    def _cookie(self) -> str:
        """The token of a registered security terminal (Security PUSH 3.1.2, section 4.5)."""
        if not self.session_id:
            return ""
        token = f"{self.registry_code}{self.serial_number}{self.session_id}".encode()
        return f"token={hashlib.md5(token, usedforsecurity=False).hexdigest()}"

    def _offset_seconds(self) -> int:
        return int(self.clock.utc_offset.total_seconds())

    def _enroll(self) -> None:
        self.record_operation(_POWER_ON)
        for user in self.definition.users:
            self.record_operation(_ENROLLED, user.user_id)
            self._operations.append(user_line(user, self.definition.encoding))

    def _load(self, log: pd.DataFrame) -> None:
        times = log["punched_at_local"].to_numpy("datetime64[us]").tolist()
        columns = (log["user_id"], times, log["verify_type"], log["punch_state"])
        for user_id, at_local, verify_type, punch_state in zip(*columns, strict=True):
            self.record(Punch(str(user_id), at_local, int(verify_type), int(punch_state)))
        self.mark_backlog()


def _seconds(options: Mapping[str, str], name: str, default: float) -> float:
    text = options.get(name, "")
    return float(text) if text.isdecimal() else default
