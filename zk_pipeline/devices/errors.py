"""Errors of reading a terminal, as classes a person can act on.

Only the classes and their wording; they are raised in `protocol` and in `terminal_info`.
"""

from __future__ import annotations

from typing import ClassVar

from zk_pipeline.devices.models import Device
from zk_pipeline.errors import ZkPipelineError


class TerminalError(ZkPipelineError):
    """Work with one terminal failed. `code` is stable: stored with the poll, shown by CLI and API alike.

    The text names the device, its address, what was attempted, what went wrong and what to do about it; it
    never holds a comm key or data of people.
    """

    code: ClassVar[str]
    advice: str  # of the class; an instance may know better

    def __init__(self, device: Device, attempted: str, problem: str, *, advice: str | None = None) -> None:
        if advice is not None:
            self.advice = advice
        host = f"[{device.ip_address}]" if ":" in device.ip_address else device.ip_address
        self.device_name = device.name
        self.address = f"{host}:{device.port}"
        self.attempted = attempted
        self.problem = problem
        super().__init__(f"{device.name} ({self.address}): {attempted} failed: {problem}. {self.advice}")


class Unreachable(TerminalError):
    """Nothing at that address can be reached."""

    code = "unreachable"
    advice = "Check the terminal's power and cable, its address, and the route to it."


class Refused(TerminalError):
    """The address answers, and turns the connection away."""

    code = "refused"
    advice = "Check the port, and that no other program holds the terminal's only connection."


class NoAnswer(TerminalError):
    """The terminal fell silent for longer than the time one answer may take."""

    code = "no_answer"
    advice = "The terminal may be busy or frozen: try again, then restart it; ZKTECO_TIMEOUT sets the patience."


class WrongCommKey(TerminalError):
    """The terminal asks for another comm key."""

    code = "wrong_comm_key"
    advice = "Set the comm key of the terminal's menu in the variable that --comm-key-env names."


class UnsupportedCommand(TerminalError):
    """The firmware turns down a request that reading it depends on, also when it is asked again."""

    code = "refuses_protocol"
    advice = "Enable the PC connection in the terminal's menu, or ask its vendor for firmware with that protocol."


class TerminalBusy(TerminalError):
    """The terminal serves somebody else: it turns down a session, or what it was asked to repeat, several times."""

    code = "terminal_busy"
    advice = "It is busy, or the line to it garbles requests: poll it again; if it stays, restart the terminal."


class LogRefused(TerminalError):
    """The terminal counts no records and refuses its log: nothing shows that the log is empty."""

    code = "log_refused"
    advice = (
        "If nobody has punched there yet, this ends with the first punch. Otherwise its firmware keeps the log from "
        "this protocol (known of SpeedFace-H5L): ask its vendor for firmware that gives it."
    )


class ProtocolViolation(TerminalError):
    """What arrived is not what the protocol allows: nothing of it is used."""

    code = "protocol_violation"
    advice = "Try again; if it stays, check that the address is a ZKTeco terminal, and the network between."


class DeadlineExceeded(TerminalError):
    """The whole poll took longer than it may."""

    code = "deadline_exceeded"
    advice = "The terminal or the line to it is slow: ZKTECO_POLL_DEADLINE sets how long one poll may take."


class IncompleteTransfer(TerminalError):
    """Not everything that was announced arrived: nothing of it is used."""

    code = "incomplete_transfer"
    advice = "Nothing was taken over; the next poll reads it again."


class LayoutUnknown(TerminalError):
    """Nothing in a log tells how its records are written: nothing of it is used."""

    code = "layout_unknown"
    advice = (
        "If the terminal's clock is wrong or was reset, set it with `zk-pipeline device set-clock NAME`, punch three "
        "times and poll again: records of a right clock tell the layout. Otherwise its firmware is not supported."
    )


class UserListUnreadable(TerminalError):
    """A user list has the right size, and entries that make no sense: nothing of it is used."""

    code = "user_list_unreadable"
    advice = "The people known from earlier readings stay; `zk-pipeline poll NAME --full` reads the list again."


class ClockInvalid(TerminalError):
    """The terminal's clock shows no real date, or does not take the one it is given."""

    code = "clock_invalid"
    advice = "Set the date and time in the terminal's menu; a clock that loses it again needs a new battery."


class SerialChanged(TerminalError):
    """Another terminal answers under the address than the one that was registered."""

    code = "serial_changed"
    advice = (
        "If it was replaced on purpose, confirm it with `zk-pipeline device update NAME --accept-new-serial`; "
        "otherwise check the address."
    )


class SerialUnverified(TerminalError):
    """The terminal does not tell its serial number where one is registered: it may be another terminal."""

    code = "serial_unverified"
    advice = (
        "Poll it again. If it stays, see that the right terminal has this address; if it was replaced by one that "
        "tells no serial number, confirm it with `zk-pipeline device update NAME --accept-new-serial`."
    )


class Busy(TerminalError):
    """Another process, or another thread of this one, holds the terminal's only connection."""

    code = "busy"
    advice = "Wait for the other poll or command to end; a terminal serves one connection at a time."


class DeviceLeftDisabled(TerminalError):
    """The terminal was locked, for a reading or to clear its log, and could not be unlocked."""

    code = "still_disabled"
    advice = (
        "People may not be able to punch: each contact with it (a poll, `zk-pipeline test-device NAME`) tries to "
        "unlock it again, and restarting the terminal unlocks it, too."
    )


class NotCleared(TerminalError):
    """The log was not cleared, because not all of it is proven to be safe, or the terminal did not do it."""

    code = "not_cleared"
    advice = "Poll the terminal, look at what is missing, and try again."
